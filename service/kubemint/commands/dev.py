"""`kubemint dev`: everything on this machine in one command."""

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubemint import config
from kubemint.commands.serve import check_address, run
from kubemint.commands.workspace import CONFIG_NAME, CaSource, Listen, client_settings, create_workspace
from kubemint.errors import ConfigurationError
from kubemint.signing import open_key
from kubemint.transparency.checkpoint import NoteSigner

_ANOTHER_PORT: Final = '; another port: make run ARGS="--port 9443"'


@click.command()
@click.option(
    "--directory",
    default=".kubemint",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to create once and to serve from.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1  [default: 8443, or the folder's].")
def dev(directory: Path, port: int | None) -> None:
    """Make a throw-away CA, and serve it on this machine.

    For trying things out, on https://127.0.0.1:8443. The folder is what `kubemint init` makes; it
    is created once, and the CA, the tokens and the ledger in it stay for the next time.

    \b
    kubemint dev
    kubemint dev --directory second --port 9443
    """
    if not (directory / CONFIG_NAME).exists():
        create_workspace(directory, CaSource(), Listen(port=port or 8443), None, datetime.now(UTC))
    settings = config.load(directory / CONFIG_NAME)
    settings = replace(
        settings, server=replace(settings.server, host="127.0.0.1", port=port or settings.server.port)
    )
    # Before client.yaml: where another service has the port, the commands must go on finding that of this folder.
    check_address(settings.server, _ANOTHER_PORT)

    def greet() -> None:
        (directory / "client.yaml").write_text(client_settings(settings.server.port, _log_vkey(settings)))
        click.echo(_greeting(directory, settings.server.port))

    run(settings, greet)


def _log_vkey(settings: config.Config) -> str:
    """Give the public key of the log, without what `wiring` imports: metrics come after the directory for them."""
    key = open_key(settings.log.key_uri, settings.directory, settings.log.passphrase_file)
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError("log.key", ["must be an Ed25519 key: checkpoints are signed notes"])
    return NoteSigner(settings.log.origin, key).vkey


def _program() -> str:
    """Name the program as it can be called from here, whether or not its folder is on the PATH."""
    installed = Path(sys.executable).with_name("kubemint")
    return os.path.relpath(installed) if installed.exists() else "kubemint"


def _greeting(directory: Path, port: int) -> str:
    url = f"https://127.0.0.1:{port}"
    return f"""\
kubemint serves {url} from {directory} (Ctrl-C stops it). In another terminal:

  {_program()} request --user jane --group developers --group team-a

or, step by step:

  openssl genrsa -out myuser.key 3072
  openssl req -new -key myuser.key -subj "/CN=myuser" -out myuser.csr
  curl --cacert {directory}/tls.crt -H "Authorization: Bearer $(cat {directory}/requester.token)" \\
    -H 'Content-Type: application/x-pem-file' -H 'Accept: application/pem-certificate-chain' \\
    --data-binary @myuser.csr {url}/v1/certificates

The log, as its auditor reads it:

  curl --cacert {directory}/tls.crt -H "Authorization: Bearer $(cat {directory}/operator.token)" \\
    {url}/v1/certificates

API: {url}/docs    Policy: {directory}/policy.yaml
"""
