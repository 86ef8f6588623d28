"""The API server that a kubeconfig names: what the command line says of it, and the service knows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from kubemint.client.connection import ServiceConnection
from kubemint.client.files import KubeconfigCluster, read_text
from kubemint.errors import ConfigurationError, ServiceRefused

_file = click.Path(dir_okay=False, path_type=Path)


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a kubeconfig's cluster."""
    for option in (
        click.option(
            "--cluster-ca", type=_file, help="API server's CA in the kubeconfig  [default: the service's]."
        ),
        click.option("--cluster-server", help="API server's address in the kubeconfig  [default: the service's]."),
        click.option("--cluster-name", help="Cluster's name in the kubeconfig  [default: the service's]."),
    ):
        command = option(command)
    return command


def cluster_of(connection: ServiceConnection, options: Mapping[str, Any]) -> KubeconfigCluster:
    """Put the cluster together from the options, and from the service where they leave something open.

    Raises:
        ConfigurationError: nobody names the API server, or the CA's file cannot be read.
        ServiceRefused, ServiceUnavailable: as `ServiceConnection.get` does.
    """
    name, server, ca_file = (options[f"cluster_{part}"] for part in ("name", "server", "ca"))
    known: dict[str, Any] = {}
    if not (name and server and ca_file):
        try:
            known = connection.get("/v1/cluster")
        except ServiceRefused as refusal:
            if refusal.status != 404:
                raise
    server = server or known.get("server")
    if server is None:
        raise ConfigurationError("cluster", ["the service does not know the API server; give --cluster-server"])
    if ca_file is not None:
        authority = _certificates(ca_file)
    else:
        authority = known.get("certificateAuthority") or connection.get("/v1/ca")["trustBundle"]
    return KubeconfigCluster(
        name=name or known.get("name") or "kubernetes", server=server, certificate_authority=authority
    )


def _certificates(file: Path) -> str:
    pem = read_text(file)
    try:
        x509.load_pem_x509_certificates(pem.encode("ascii"))
    except ValueError:
        raise ConfigurationError(str(file), ["there is no certificate in PEM that can be read"]) from None
    return pem
