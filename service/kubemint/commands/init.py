"""`kubemint init`: a folder with everything a service needs."""

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from kubemint.commands.workspace import CaSource, ClusterAddress, Listen, create_workspace
from kubemint.config import host_problem, server_address_problem
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
    cluster_server: str | None,
    cluster_name: str,
) -> None:
    """Create a folder with a CA, a configuration, a policy and two tokens.

    The CA is a new one, or one that you import: on a kubeadm cluster, /etc/kubernetes/pki/ca.crt
    and ca.key. It must not be the front-proxy CA or etcd's. Secrets get mode 0600. A folder that
    has something in it is left alone.
    """
    if (ca_certificate is None) != (ca_key is None):
        raise click.UsageError("--ca-certificate and --ca-key go together.")
    if problem := next(filter(None, map(host_problem, (host, *tls_names))), None):
        raise click.UsageError(problem)
    if cluster_server is not None and (message := server_address_problem(cluster_server)):
        raise click.UsageError(f"--cluster-server: {message}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no draft is left behind
    create_workspace(
        directory,
        CaSource(
            certificate_file=ca_certificate, key_file=ca_key, passphrase_file=passphrase_file, key_type=key_type
        ),
        Listen(port=port, host=host, tls_names=tls_names),
        ClusterAddress(name=cluster_name, server=cluster_server) if cluster_server else None,
        datetime.now(UTC),
    )
    ca = "the imported CA" if ca_certificate else "a new CA"
    click.echo(f"Created {directory} with {ca}.")
    click.echo(f"Read {directory / 'policy.yaml'}, then: kubemint serve --config {directory / 'kubemint.yaml'}")
