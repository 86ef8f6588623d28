"""Folders as `kubemint init` makes them, with a ledger on either store; and copies without their ledger."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from kubemint import config
from kubemint.commands.workspace import CaSource, Listen, create_workspace
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.writer import LedgerWriter
from kubemint.record import Event
from kubemint.wiring import log_keys_of, migrate_ledger, store_of
from postgres import postgres_cluster
from running_service import free_port
from service.workspaces import change_yaml

STORES = ("sqlite", "postgres")


class Workspace:
    """A folder with a configuration, keys and a ledger."""

    def __init__(self, directory: Path, store: str = "sqlite") -> None:
        create_workspace(directory, CaSource(), Listen(port=free_port()), None, datetime.now(UTC))
        self._take(directory, store)

    @classmethod
    def copy(cls, of: "Workspace", directory: Path, store: str = "sqlite") -> Self:
        """Give a folder with the same keys and settings, and an empty ledger of its own."""
        shutil.copytree(of.directory, directory, ignore=shutil.ignore_patterns("ledger.db*"))
        made = cls.__new__(cls)
        made._take(directory, store)
        return made

    def change(self, **log: Any) -> None:
        """Change what the configuration says under `log`."""
        change_yaml(self.config, lambda settings: settings["log"].update(log))

    def append(self, *events: Event) -> str:
        """Add to the ledger, as a service does; give the checkpoint after it."""
        settings = config.load(self.config)
        migrate_ledger(settings)
        database, keys = store_of(settings).writable(), log_keys_of(settings)
        LedgerWriter(database, keys, lambda _: None).append(*events)
        note, _ = LedgerLog(database.engine, keys).head()
        database.close()
        return note

    def size(self) -> int | None:
        """Give the size of the ledger; None if there is none."""
        store = store_of(config.load(self.config))
        if not store.exists():
            return None
        engine = store.for_reading(1)
        try:
            return LedgerReader(engine).size()
        finally:
            engine.dispose()

    @property
    def vkey(self) -> str:
        """Give the public key of the log."""
        return log_keys_of(config.load(self.config)).signer.vkey

    def _take(self, directory: Path, store: str) -> None:
        self.directory, self.config = directory, directory / "kubemint.yaml"
        url = "sqlite:///ledger.db"
        if store == "postgres":
            url = postgres_cluster().create_database().render_as_string()
        change_yaml(self.config, lambda settings: settings["ledger"].update(url=url))
