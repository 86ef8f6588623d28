"""`kubemint revocations`: what was taken back, and giving back what was only held."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import click

from kubemint.client.confirmation import ask_for_yes
from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.options import service_options
from kubemint.client.pages import PAGE, walk
from kubemint.client.revocation_terms import (
    checked_revocation,
    describe_revocation,
    selector_text,
    what_lifting_does,
    why_not_lifted,
)
from kubemint.client.tables import show_rows
from kubemint.errors import RevocationConflict

_COLUMNS: Final = ("REVOCATION", "TIME", "STATE", "REASON", "CERTIFICATES", "REQUESTER", "MEANT")
_NONE_SEEN: Final = "you have ordered no revocation; auditors and operators see all (--token-file)"
_REVOCATION: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

_output = click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)


class RevocationId(click.ParamType[str]):
    """The id of a revocation, which goes into the path of an address."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it, or say how it is written."""
        if not isinstance(value, str) or not _REVOCATION.fullmatch(value):
            self.fail(f"{value!r} is not 32 digits and letters from a to f", param, ctx)
        return value


@click.group()
def revocations() -> None:
    """See what was revoked, and lift a hold.

    Auditors and operators see all revocations, others those that they ordered; operators lift.
    """


@revocations.command("list")
@click.option("--limit", type=click.IntRange(1), default=PAGE, show_default=True, help="How many at most.")
@_output
@service_options
def list_revocations(limit: int, output: str, **options: Any) -> None:
    """List revocations, newest first.

    Columns: id, time, state, reason, certificates, who, what was meant.
    """
    found = [checked_revocation(item) for item in walk(_connection(options), "/v1/revocations", {}, limit)]
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo(_NONE_SEEN, err=True)
        return
    names = ("revocation", "time", "state", "reason", "certificates", "requester")
    show_rows(_COLUMNS, ((*(one[name] for name in names), selector_text(one["select"])) for one in found))


@revocations.command()
@click.argument("revocation", type=RevocationId())
@_output
@service_options
def show(revocation: str, output: str, **options: Any) -> None:
    """Show the revocation ID."""
    _show(_fetch(_connection(options), revocation), output)


@revocations.command()
@click.argument("revocation", type=RevocationId())
@click.option("--note", default="", help="Why; it is kept in the ledger.")
@click.option("--yes", is_flag=True, help="Do not ask whether this is the one.")
@_output
@service_options
def lift(revocation: str, note: str, yes: bool, output: str, **options: Any) -> None:
    """Lift the hold ID, so that what it hit counts again.

    What another revocation hit too stays revoked. A suspension that came with it is over, too. Only a
    certificateHold can be lifted, and only once. It is undone by an entry of its own: the revocation
    stays on record.
    """
    connection = _connection(options)
    if not yes:
        held = _fetch(connection, revocation)
        click.echo(describe_revocation(held), err=True)
        if (why := why_not_lifted(held)) is not None:
            raise RevocationConflict(why, ())
        ask_for_yes(f"Lift it? {what_lifting_does(held)}", "Nothing was lifted")
    wish = {"note": note} if note else {}
    _show(checked_revocation(connection.post(f"/v1/revocations/{revocation}/lift", wish)), output)


def _fetch(connection: ServiceConnection, revocation: str) -> dict[str, Any]:
    return checked_revocation(connection.get(f"/v1/revocations/{revocation}"))


def _show(revocation: Mapping[str, Any], output: str) -> None:
    click.echo(json.dumps(revocation, indent=2) if output == "json" else describe_revocation(revocation))


def _connection(options: Mapping[str, Any]) -> ServiceConnection:
    return ServiceConnection(find_service(options["url"], options["ca"], options["token_file"]))
