"""`kubemint requests`: what waits for approval, and saying yes or no to it.

An approval is for what was shown: the digest that is sent is the one of the terms on the screen.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from kubemint.client.certificates import check_key, held_certificate, report
from kubemint.client.cluster import cluster_of, cluster_options
from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.files import check_writable, read_text
from kubemint.client.options import service_options
from kubemint.client.outputs import Outputs
from kubemint.client.pages import PAGE, walk
from kubemint.client.receipts import log_key_option
from kubemint.client.tables import show_rows
from kubemint.client.terms import checked, describe, printable
from kubemint.client.waiting import WAITING, issued_certificate

STATES: Final = ("pending", "issued", "denied", "expired")
_COLUMNS: Final = ("REQUEST", "STATE", "APPROVALS", "EXPIRES", "USER", "GROUPS", "REQUESTER")
_REQUEST: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

_file = click.Path(dir_okay=False, path_type=Path)
_output = click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)


class RequestId(click.ParamType[str]):
    """The id of a request, which goes into the path of an address."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it, or say how it is written."""
        if not isinstance(value, str) or not _REQUEST.fullmatch(value):
            self.fail(f"{value!r} is not 32 digits and letters from a to f", param, ctx)
        return value


@click.group()
def requests() -> None:
    """See and decide what waits for approval.

    Operators see all requests and decide them; a requester sees its own.
    """


@requests.command("list")
@click.option("--state", type=click.Choice(STATES), default="pending", show_default=True)
@click.option("--all", "every", is_flag=True, help="In whatever state.")
@click.option("--limit", type=click.IntRange(1), default=PAGE, show_default=True, help="How many at most.")
@_output
@service_options
def list_requests(state: str, every: bool, limit: int, output: str, **options: Any) -> None:
    """List requests, newest first.

    Columns: id, state, approvals so far and needed, until when it is open, user, groups, requester.

    \b
    kubemint requests list
    kubemint requests list --all --limit 20 --output json
    """
    query = {} if every else {"state": state}
    found = [checked(item) for item in walk(_connection(options), "/v1/requests", query, limit)]
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("nothing waits for approval" if query == {"state": "pending"} else "no such request", err=True)
        return
    show_rows(_COLUMNS, map(_row, found))


def _row(request: Mapping[str, Any]) -> tuple[object, ...]:
    groups = ",".join(request["groups"]) or "-"
    approvals = f"{len(request['approvals'])}/{request['approvalsNeeded']}"
    columns = (request["request"], request["state"], approvals, request["expires"], request["user"], groups)
    return (*columns, request["requester"])


@requests.command()
@click.argument("request", type=RequestId())
@click.option("--output", type=click.Choice(["human", "json", "pem"]), default="human", show_default=True)
@service_options
def show(request: str, output: str, **options: Any) -> None:
    """Show the request ID; with --output pem its certificate.

    The certificate comes with its chain, and only once it is issued.

    \b
    kubemint requests show 0f3c5a7b9d1e42608a4c6e8f10325476
    kubemint requests show 0f3c5a7b9d1e42608a4c6e8f10325476 --output pem > jane.crt
    """
    found = fetch(_connection(options), request)
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    elif output == "pem":
        click.echo(_pem(found), nl=False)
    else:
        click.echo(describe(found))


@requests.command("fetch")
@click.argument("request", type=RequestId())
@click.option("--key-file", type=_file, required=True, help="The key that waited; it stays where it is.")
@click.option("--certificate-file", type=_file, help="Where to write the certificate  [default: beside the key].")
@click.option("--kubeconfig", "kubeconfig_file", type=_file, help="Write a kubeconfig with both in it instead.")
@cluster_options
@log_key_option
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@_output
@service_options
def fetch_certificate(request: str, **options: Any) -> None:
    """Write the certificate of an approved request.

    For who asked with `kubemint request` and did not wait. The receipt is checked as there, and written
    beside it (.tlog-proof); a key that is not the certificate's is refused. Exit code 3 if the request ID
    still waits.

    \b
    kubemint requests fetch 0f3c5a7b9d1e42608a4c6e8f10325476 --key-file jane.key
    """
    key_file: Path = options["key_file"]
    outputs = Outputs(
        key_file=key_file,
        certificate_file=options["certificate_file"] or key_file.with_suffix(".crt"),
        kubeconfig_file=options["kubeconfig_file"],
        is_key_there=True,
    )
    key_pem = read_text(key_file)
    if key_file.resolve() in {file.resolve() for file in outputs.files}:
        raise click.UsageError(f"{key_file} is the key, which stays; name another file for what is written.")
    check_writable(outputs.files, overwrite=options["overwrite"])
    address = find_service(options["url"], options["ca"], options["token_file"])
    connection = ServiceConnection(address)
    found = fetch(connection, request)
    if found["state"] == "pending":
        click.echo(f"kubemint: request {request} waits for approval until {printable(found['expires'])}", err=True)
        sys.exit(WAITING)
    cluster = cluster_of(connection, options) if outputs.kubeconfig_file is not None else None
    certificate = held_certificate(issued_certificate(found), options["log_key"] or address.log_key)
    check_key(key_file, key_pem, certificate)
    written = outputs.write(cluster, key_pem, certificate)
    click.echo(report(certificate, outputs.kubeconfig_file, written, options["output"]))


@requests.command()
@click.argument("request", type=RequestId())
@click.option("--reason", help="Why; it is kept in the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask whether these are the terms.")
@_output
@service_options
def approve(request: str, reason: str | None, yes: bool, output: str, **options: Any) -> None:
    """Approve the request ID, after a look at what would be signed.

    \b
    kubemint requests approve 0f3c5a7b9d1e42608a4c6e8f10325476 --reason "ticket 4711"
    """
    connection = _connection(options)
    shown = fetch(connection, request)
    click.echo(describe(shown), err=True)
    if not yes:
        click.confirm("Approve exactly this?", abort=True, err=True)
    _decide(connection, shown, {"verdict": "approve"} | ({"reason": reason} if reason else {}), output)


@requests.command()
@click.argument("request", type=RequestId())
@click.option("--reason", required=True, help="Why; it is kept in the ledger, and the requester sees it.")
@_output
@service_options
def deny(request: str, reason: str, output: str, **options: Any) -> None:
    """Deny the request ID: it ends without a certificate.

    \b
    kubemint requests deny 0f3c5a7b9d1e42608a4c6e8f10325476 --reason "no ticket"
    """
    connection = _connection(options)
    _decide(connection, fetch(connection, request), {"verdict": "deny", "reason": reason}, output)


def fetch(connection: ServiceConnection, request: str) -> dict[str, Any]:
    """Get a request.

    Raises:
        ServiceRefused, ServiceUnavailable: as `ServiceConnection.get` does.
    """
    return checked(connection.get(f"/v1/requests/{request}"))


def _decide(
    connection: ServiceConnection, shown: Mapping[str, Any], verdict: Mapping[str, Any], output: str
) -> None:
    document = {**verdict, "digest": shown["digest"]}
    decided = checked(connection.post(f"/v1/requests/{shown['request']}/approval", document))
    if output == "json":
        click.echo(json.dumps(decided, indent=2))
        return
    needed = f"{len(decided['approvals'])} of {decided['approvalsNeeded']} approvals"
    click.echo(f"Request {decided['request']} is {printable(decided['state'])}, with {needed}.")


def _pem(request: Mapping[str, Any]) -> str:
    issued = request.get("issued")
    if not isinstance(issued, dict):
        raise click.ClickException(f"the request is {printable(request['state'])}: there is no certificate")
    return str(issued.get("certificate")) + "".join(issued.get("chain", ()))


def _connection(options: Mapping[str, Any]) -> ServiceConnection:
    return ServiceConnection(find_service(options["url"], options["ca"], options["token_file"]))
