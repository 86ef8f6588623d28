"""Keys in a file, for where there is no network; what the file may hold is its parser's to say."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubemint.authentication.jwks import KeySet, PublicKey
from kubemint.errors import ConfigurationError, InvalidDocument

_State = tuple[int, int, int]
_log = logging.getLogger(__name__)


class FileKeys:
    """The keys of a file, read again when it changes; a file that cannot be read leaves the last good ones.

    A fault is logged when it begins or changes, not for each token. Threads share it.
    """

    def __init__(self, file: Path, parse: Callable[[bytes], KeySet]) -> None:
        """Read it. `parse` raises `InvalidDocument` for what must not take the place of good keys.

        Raises:
            ConfigurationError: it cannot be read, or the parser refuses it.
        """
        self._file = file
        self._parse = parse
        self._problem: str | None = None
        try:
            self._loaded = self._load(self._state())
        except (OSError, ValueError) as fault:  # ValueError: a NUL in the path
            cause = fault.strerror if isinstance(fault, OSError) else str(fault)
            raise ConfigurationError(str(file), [f"cannot be read: {cause}"]) from None
        except InvalidDocument as fault:
            raise ConfigurationError(str(file), [fault.message]) from None

    def find(self, key_id: str | None, algorithm: str, *, refused: PublicKey | None = None) -> PublicKey | None:
        """Keep `KeySource.find`."""
        key = self._keys().find(key_id, algorithm)
        return None if key == refused else key

    def start(self) -> None:
        """Keep `KeySource.start`: nothing runs."""

    def await_first(self, deadline: float) -> None:
        """Keep `KeySource.await_first`: they are here."""

    def close(self) -> None:
        """Keep `KeySource.close`: nothing runs."""

    def _keys(self) -> KeySet:
        loaded = self._loaded
        try:
            state = self._state()
            if state != loaded.state:
                # One assignment: a slower thread may put older keys in its place, but with their own state.
                self._loaded = loaded = self._load(state)
            self._problem = None
        except (OSError, InvalidDocument) as fault:
            problem = str(fault)
            if self._problem != problem:
                self._problem = problem
                extra = {"file": str(self._file), "problem": problem}
                _log.error("keys file not loaded, the last good keys stay", extra=extra)
        return loaded.keys

    def _load(self, state: _State) -> "_Loaded":
        """Read the content after the state: what changes in between is noticed next time."""
        return _Loaded(state=state, keys=self._parse(self._file.read_bytes()))

    def _state(self) -> _State:
        status = self._file.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    state: _State
    keys: KeySet
