"""The pages of docs/identity as a test reads them: fenced blocks, each under a comment that says what it is.

`<!-- policy -->` marks the only policy of a page, `<!-- policy: dex -->` one of several.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from kubemint.documents import parse_yaml

FOLDER: Final = Path(__file__).parents[2] / "docs" / "identity"
_BLOCK: Final = re.compile(
    r"^<!-- (?P<kind>[a-z]+)(?:: (?P<name>[a-z-]+))? -->\n```(?P<language>[a-z]+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A marked block of a page; `name` is empty where the page has one of its kind."""

    kind: str
    name: str
    language: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page and its marked blocks, in their order."""

    file: Path
    text: str
    blocks: tuple[Block, ...]

    @classmethod
    def read(cls, name: str, folder: Path = FOLDER) -> Self:
        """Read NAME.md, of docs/identity unless told otherwise."""
        file = folder / f"{name}.md"
        text = file.read_text()
        blocks = (Block(**{k: v or "" for k, v in match.groupdict().items()}) for match in _BLOCK.finditer(text))
        return cls(file=file, text=text, blocks=tuple(blocks))

    def of_kind(self, kind: str) -> tuple[Block, ...]:
        """Give the blocks of a kind."""
        return tuple(block for block in self.blocks if block.kind == kind)

    def block(self, kind: str, name: str = "") -> str:
        """Give the text of the one block of this kind and name."""
        (found,) = (block.text for block in self.blocks if (block.kind, block.name) == (kind, name))
        return found

    def yaml(self, kind: str, name: str = "") -> Any:
        """Give the document that a block holds, read as strictly as the service reads its files."""
        return parse_yaml(self.block(kind, name).encode())

    def json(self, kind: str, name: str = "") -> Any:
        """Give the JSON of a block."""
        return json.loads(self.block(kind, name))
