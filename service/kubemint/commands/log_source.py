"""Where the commands about the log read it: in the database of a configuration, or from a running service."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import click
from sqlalchemy import Engine

from kubemint import config
from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.options import service_options
from kubemint.client.published_log import PublishedLog
from kubemint.commands.config_option import config_option
from kubemint.config import Config
from kubemint.errors import ConfigurationError, LedgerUnavailable
from kubemint.ledger.verify_pages import EntryPages, StoredHead, read_head, reading
from kubemint.transparency.checkpoint import note_text, parse_checkpoint
from kubemint.transparency.tiles import TILE_WIDTH
from kubemint.transparency.tree import leaf_hash
from kubemint.wiring import store_of

_PATIENCE: Final = timedelta(hours=6)  # for one statement: a table of millions is counted, an index checked
_file = click.Path(dir_okay=False, path_type=Path)


class LogSource(Protocol):
    """A log as a command reads it."""

    def checkpoint(self) -> str:
        """Give the newest checkpoint, a note whose signatures nobody has looked at."""

    def size(self) -> int:
        """Count the entries."""

    def bundle(self, number: int, width: int) -> Sequence[bytes]:
        """Give `width` entries from `number` * 256 on."""


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where the log is."""
    return config_option("Configuration that names the ledger")(service_options(command))


def open_source(options: dict[str, Any]) -> LogSource:
    """Open the log that the options name: with --url a service's, else the one in the configuration's database.

    Raises:
        click.UsageError: they name both.
        ConfigurationError, LedgerUnavailable: it cannot be opened.
    """
    if options["url"] is None:
        settings = config.load(config.find_config(options["config_file"]))
        return StoredLog(open_ledger(settings), settings.ledger.archive)
    return ServedLog(published_log(options))


def published_log(options: dict[str, Any]) -> PublishedLog:
    """Open the log of the service that --url names."""
    if options["config_file"] is not None:
        raise click.UsageError("--config or --url, not both.")
    return PublishedLog(ServiceConnection(find_service(options["url"], options["ca"], options["token_file"])))


def open_ledger(settings: Config) -> Engine:
    """Open the database of a configuration, with patience for long statements.

    Raises:
        ConfigurationError: there is none.
    """
    place = replace(settings.ledger, statement_timeout=_PATIENCE)
    store = store_of(replace(settings, ledger=place))
    if not store.exists():
        raise ConfigurationError("ledger.url", ["there is no ledger"])
    return store.for_reading(readers=1)


@dataclass(frozen=True, slots=True)
class StoredLog:
    """Keeps `LogSource` on a database. Raises LedgerUnavailable where it cannot be read."""

    engine: Engine
    archive: Path | None

    def checkpoint(self) -> str:
        """Keep `LogSource.checkpoint`: the one with cosignatures, if there is one of this size."""
        head = self._head()
        if head.witnessed and parse_checkpoint(note_text(head.witnessed)).size == head.size:
            return head.witnessed
        return head.checkpoint

    def size(self) -> int:
        """Keep `LogSource.size`."""
        return self._head().size

    def bundle(self, number: int, width: int) -> Sequence[bytes]:
        """Keep `LogSource.bundle`; an entry that is not what was hashed is not given."""
        pages = EntryPages(self.archive, self._head().archived)
        with reading(self.engine) as connection:
            entries = pages.bundle(connection, number, number * TILE_WIDTH + width)
        bodies = []
        for offset, entry in enumerate(entries):
            if entry is None or leaf_hash(entry.body) != entry.leaf_hash:
                index = number * TILE_WIDTH + offset
                raise LedgerUnavailable(f"entry {index} is missing or changed; see kubemint log verify")
            bodies.append(entry.body)
        return bodies

    def _head(self) -> StoredHead:
        with reading(self.engine) as connection:
            head = read_head(connection)
        if head is None:
            raise LedgerUnavailable("the ledger has lost its head")
        return head


@dataclass(frozen=True, slots=True)
class ServedLog:
    """Keeps `LogSource` on a service. Raises as `ServiceConnection.get` does, and InvalidProof."""

    published: PublishedLog

    def checkpoint(self) -> str:
        """Keep `LogSource.checkpoint`."""
        return self.published.checkpoint()

    def size(self) -> int:
        """Keep `LogSource.size`."""
        return parse_checkpoint(note_text(self.checkpoint())).size

    def bundle(self, number: int, width: int) -> Sequence[bytes]:
        """Keep `LogSource.bundle`."""
        return self.published.bundle(number, width)
