"""Services whose ledger has many entries from the start."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kubemint import config
from kubemint.ledger.writer import LedgerWriter
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.wiring import log_keys_of, migrate_ledger, store_of
from ledger.events import issued
from running_service import RunningService
from service.workspaces import change_yaml, make_workspace

OLD_ENTRIES: Final = 600  # two full tiles and a bit


@contextmanager
def serve_public_log(directory: Path) -> Iterator[RunningService]:
    """Serve a log of `OLD_ENTRIES` and the first policy, which everybody may read."""
    file = make_workspace(directory)
    change_yaml(file, lambda settings: settings["log"].update(public=True))
    fill(file, OLD_ENTRIES)
    with RunningService(directory, config=file) as running:
        yield running


def fill(config_file: Path, count: int) -> None:
    """Put entries into the ledger of a service that does not run."""
    configured = config.load(config_file)
    migrate_ledger(configured)
    database = store_of(configured).writable()
    LedgerWriter(database, log_keys_of(configured), lambda _: None).append(*map(issued, range(1, count + 1)))
    database.close()


def log_key(service: RunningService) -> NoteVerifier:
    """Give the key that the owner of a service tells everybody."""
    return log_keys_of(config.load(service.directory / "kubemint.yaml")).signer.verifier
