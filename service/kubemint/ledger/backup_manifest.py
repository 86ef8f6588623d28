"""What a backup says of itself: what is in it, of which log, when and by which version it was made.

Entries and tiles are proven by the log's checkpoint. For the small files beside them, the manifest has their
lengths and hashes; and its own hash, so that a flipped bit in it is noticed too. Against whoever can write
to the backup it proves nothing: that is what the checkpoint is for.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import orjson
from marshmallow import ValidationError, fields, validate

from kubemint.documents import parse_json
from kubemint.errors import InvalidDocument, InvalidProof
from kubemint.fields import NamedEntries, StrictSchema, Text, problem_lines
from kubemint.record import rfc3339

REVOKED: Final = "revoked"  # the kind of the entries that must never be lost (promise P9)
_FILE_NAME: Final = r"^[a-z][a-z0-9]*(\.[a-z0-9]+)+\Z"
_SHA256: Final = validate.Regexp(r"^[0-9a-f]{64}\Z")
_COUNT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What a file of the backup must be: its octets, and their SHA-256 in hex."""

    octets: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "FileFacts":
        """Give those of a content."""
        return cls(octets=len(content), sha256=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in a backup. `time` is aware UTC, `root` hex; `kinds` counts the entries, `octets` their bodies'."""

    version: str
    time: datetime
    origin: str
    size: int
    root: str
    octets: int
    kinds: Mapping[str, int]
    files: Mapping[str, FileFacts]

    @property
    def revocations(self) -> int:
        """How many of the entries are revocations."""
        return self.kinds.get(REVOKED, 0)

    def encode(self) -> bytes:
        """Write it as JSON for people and programs."""
        document = self._document()
        return orjson.dumps(document | {"sha256": _digest(document)}, option=orjson.OPT_INDENT_2) + b"\n"

    def _document(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubemint/v1",
            "kind": "Backup",
            "version": self.version,
            "time": rfc3339(self.time),
            "log": {"origin": self.origin, "size": self.size, "root": self.root, "octets": self.octets},
            "kinds": dict(self.kinds),
            "revocations": self.revocations,
            "files": {
                name: {"octets": facts.octets, "sha256": facts.sha256} for name, facts in self.files.items()
            },
        }


def parse_manifest(octets: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        InvalidProof: it is none, or not as it was written.
    """
    try:
        document = parse_json(octets)
        if not isinstance(document, dict):
            raise InvalidProof("the manifest is no object")
        body: dict[str, Any] = _ManifestSchema().load(document)
    except InvalidDocument as fault:
        raise InvalidProof(f"the manifest is {fault.message}") from None
    except ValidationError as fault:
        path, message = next(problem_lines(fault.messages))
        raise InvalidProof(f"the manifest: {path}: {message}") from None
    stated = document.pop("sha256")
    manifest = _manifest_of(body)
    if stated != _digest(document) or manifest.encode() != octets:
        raise InvalidProof("the manifest is not as it was written")
    return manifest


class _LogSchema(StrictSchema):
    origin = Text(required=True)
    size = fields.Integer(strict=True, required=True, validate=validate.Range(0, _COUNT_MAX))
    root = Text(required=True, validate=_SHA256)
    octets = fields.Integer(strict=True, required=True, validate=validate.Range(0, _COUNT_MAX))


class _FileSchema(StrictSchema):
    octets = fields.Integer(strict=True, required=True, validate=validate.Range(0, _COUNT_MAX))
    sha256 = Text(required=True, validate=_SHA256)


class _ManifestSchema(StrictSchema):
    api_version = Text(data_key="apiVersion", required=True, validate=validate.Equal("kubemint/v1"))
    kind = Text(required=True, validate=validate.Equal("Backup"))
    version = Text(required=True)
    time = fields.AwareDateTime(required=True, format="iso", default_timezone=UTC)
    log = fields.Nested(_LogSchema, required=True)
    kinds = fields.Dict(
        keys=Text(),
        values=fields.Integer(strict=True, validate=validate.Range(1, _COUNT_MAX)),
        required=True,
    )
    revocations = fields.Integer(strict=True, required=True)
    files = NamedEntries(
        keys=Text(validate=validate.Regexp(_FILE_NAME)), values=fields.Nested(_FileSchema), required=True
    )
    sha256 = Text(required=True, validate=_SHA256)


def _manifest_of(body: Mapping[str, Any]) -> Manifest:
    return Manifest(
        version=body["version"],
        time=body["time"],
        origin=body["log"]["origin"],
        size=body["log"]["size"],
        root=body["log"]["root"],
        octets=body["log"]["octets"],
        kinds=MappingProxyType(body["kinds"]),
        files=MappingProxyType({name: FileFacts(**facts) for name, facts in body["files"].items()}),
    )


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
