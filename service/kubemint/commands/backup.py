"""`kubemint backup`: the log, the settings and, under a passphrase, the keys into a folder, while others write."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from kubemint import config
from kubemint.commands.backup_settings import (
    ENCRYPTED,
    BackupKey,
    backup_keys,
    encrypted_keys,
    setting_files,
)
from kubemint.commands.config_option import config_option
from kubemint.commands.progress import progress
from kubemint.errors import ConfigurationError
from kubemint.ledger.archive import Archive
from kubemint.ledger.backup import CopiedLog, complete, copy_log
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.backup_manifest import FileFacts, Manifest
from kubemint.ledger.backup_tree import bundle_widths
from kubemint.ledger.log import LedgerLog
from kubemint.wiring import log_keys_of, store_of

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@config_option("Configuration of the service")
@click.option("--passphrase-file", type=_file, help="Put the private keys in, encrypted under its first line.")
def backup(directory: Path, config_file: Path | None, passphrase_file: Path | None) -> None:
    """Back the ledger and the settings up into DIR.

    It goes while the service serves. The ledger is copied as it stands when the command begins, entry
    by entry, and verified on the way, what the folder has already too. A folder that holds an earlier
    backup gets what is new. It must be kept from others: it tells who has which rights. Private keys
    are in it only with --passphrase-file. docs/backup.md tells more.

    \b
    kubemint backup /mnt/backup --config /etc/kubemint/kubemint.yaml --passphrase-file /root/backup.pass
    """
    file = config.find_config(config_file)
    settings = config.load(file)
    keys, store = log_keys_of(settings), store_of(settings)
    if not store.exists():
        raise ConfigurationError("ledger.url", ["there is no ledger"])
    needed, files = tuple(backup_keys(settings)), dict(setting_files(settings, file))
    if passphrase_file is not None:
        files |= encrypted_keys(settings, passphrase_file)
    engine = store.for_reading(readers=1)
    folder = BackupFolder(directory)
    try:
        log = LedgerLog(engine, keys, Archive(settings.ledger.archive))
        with folder.exclusive(), progress("Backing up", log.head()[1].size) as advance:
            copied = copy_log(log, keys, folder, advance)
            files |= _keys_of_earlier(folder, needed, files)
            for name, content in files.items():
                folder.write(name, content)
            complete(folder, _manifest(copied, files), copied)
    finally:
        engine.dispose()
    _tell(directory, copied, needed, files)


def _keys_of_earlier(
    folder: BackupFolder, keys: Collection[BackupKey], files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Give the encrypted keys that an earlier backup has left: what was asked for once is not taken away."""
    earlier = {key.name: folder.read(key.name) for key in keys if key.name not in files and folder.has(key.name)}
    for name, content in earlier.items():
        if not content.startswith(ENCRYPTED):
            problem = f"holds {name}, which is not encrypted: take it away"
            raise ConfigurationError(str(folder.folder), [problem])
    return earlier


def _manifest(copied: CopiedLog, files: Mapping[str, bytes]) -> Manifest:
    return Manifest(
        version=version("kubemint"),
        time=datetime.now(UTC).replace(microsecond=0),
        origin=copied.checkpoint.origin,
        size=copied.checkpoint.size,
        root=copied.checkpoint.root.hex(),
        octets=copied.octets,
        kinds=copied.kinds,
        files={name: FileFacts.of(content) for name, content in sorted(files.items())},
    )


def _tell(directory: Path, copied: CopiedLog, keys: Collection[BackupKey], files: Mapping[str, bytes]) -> None:
    bundles = len([*bundle_widths(copied.checkpoint.size)])
    kinds = ", ".join(f"{count} {kind}" for kind, count in copied.kinds.items()) or "none"
    click.echo(
        f"{directory}: {copied.checkpoint.size} entries ({kinds}); "
        f"{copied.bundles_written} of {bundles} bundles written, the others were there."
    )
    inside = [f"{key.purpose} key ({key.name})" for key in keys if key.name in files]
    outside = [f"{key.purpose} key ({key.uri})" for key in keys if key.name not in files]
    if inside:
        click.echo(f"Private keys in it, encrypted: {', '.join(inside)}.")
    if outside:
        click.echo(f"Private keys NOT in it, to be kept elsewhere: {', '.join(outside)}.")
