"""`kubemint init`: a folder with everything a service needs."""

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from kubemint import config
from kubemint.commands.policy_notes import warn_of_policy
from kubemint.commands.workspace import CONFIG_NAME, CaSource, ClusterAddress, Listen, create_workspace
from kubemint.commands.workspace import log_origin as named_log
from kubemint.config import host_problem, server_address_problem
from kubemint.transparency.checkpoint import key_name_problem
from kubemint.wiring import load_policy_of
from kubemint.x509.generate import GENERATED_KEY_TYPES

_existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--directory",
    default=".kubemint",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to create.",
)
@click.option("--ca-certificate", type=_existing_file, help="CA certificate to import, such as kubeadm's ca.crt.")
@click.option("--ca-key", type=_existing_file, help="Its private key, such as kubeadm's ca.key.")
@click.option(
    "--passphrase-file", type=_existing_file, help="File whose first line opens, or will open, the CA key."
)
@click.option(
    "--key-type",
    type=click.Choice(GENERATED_KEY_TYPES),
    default="ecdsa-p256",
    show_default=True,
    help="Key of a new CA.",
)
@click.option("--port", default=8443, show_default=True, type=click.IntRange(1, 65535), help="Port to serve.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 or :: for all of them."
)
@click.option(
    "--tls-name",
    "tls_names",
    multiple=True,
    help="DNS name or address by which clients will call the service; may be given again.",
)
@click.option("--log-origin", help="Name of the log, for ever  [default: the service's address, and /v1/log].")
@click.option("--cluster-server", help="Address of the API server, for kubeconfigs (https://…:6443).")
@click.option("--cluster-name", default="kubernetes", show_default=True, help="Its name in kubeconfigs.")
def init(  # noqa: PLR0913, PLR0917 - one argument an option
    directory: Path,
    ca_certificate: Path | None,
    ca_key: Path | None,
    passphrase_file: Path | None,
    key_type: str,
    port: int,
    host: str,
    tls_names: tuple[str, ...],
    log_origin: str | None,
    cluster_server: str | None,
    cluster_name: str,
) -> None:
    """Create a folder with a CA, configuration, policy and tokens.

    The CA is a new one, or one that you import: on a kubeadm cluster, /etc/kubernetes/pki/ca.crt
    and ca.key. It must not be the front-proxy CA or etcd's. Secrets get mode 0600. A folder that
    has something in it is left alone.

    \b
    kubemint init --directory /etc/kubemint --ca-certificate /etc/kubernetes/pki/ca.crt \\
      --ca-key /etc/kubernetes/pki/ca.key --log-origin mint.example.com/log --tls-name mint.example.com
    """
    if (ca_certificate is None) != (ca_key is None):
        raise click.UsageError("--ca-certificate and --ca-key go together.")
    if log_origin is not None and (problem := key_name_problem(log_origin)):
        raise click.UsageError(f"--log-origin: {problem}")
    if problem := next(filter(None, map(host_problem, (host, *tls_names))), None):
        raise click.UsageError(problem)
    if cluster_server is not None and (message := server_address_problem(cluster_server)):
        raise click.UsageError(f"--cluster-server: {message}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no draft is left behind
    place = directory.absolute()  # the folder one stands in may be replaced by the new one
    listen = Listen(port=port, host=host, tls_names=tls_names, log_origin=log_origin)
    create_workspace(
        directory,
        CaSource(
            certificate_file=ca_certificate, key_file=ca_key, passphrase_file=passphrase_file, key_type=key_type
        ),
        listen,
        ClusterAddress(name=cluster_name, server=cluster_server) if cluster_server else None,
        datetime.now(UTC),
    )
    ca = "the imported CA" if ca_certificate else "a new CA"
    click.echo(f"Created {directory} with {ca}.")
    _tell(directory, ca_key, named_log(listen))
    warn_of_policy(load_policy_of(config.load(place / CONFIG_NAME)))
    click.echo(f"Read {directory / 'policy.yaml'}, then: kubemint serve --config {directory / CONFIG_NAME}")


def _tell(directory: Path, imported_key: Path | None, origin: str) -> None:
    """Say what has to be known before it serves: where the key is now, and what stays for ever."""
    if imported_key is not None:
        copied = directory / "ca.key"
        click.echo(f"The CA's key was copied to {copied}, for its owner alone; {imported_key} is as it was.")
    click.echo(
        f"The log is named {origin} (log.origin), in every receipt and for ever: --log-origin names it otherwise. "
        "To change it, delete the folder and run init again before the first start."
    )
