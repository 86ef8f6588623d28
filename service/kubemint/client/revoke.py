"""`kubemint revoke`: take certificates back, after a look at how many that would be."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click

from kubemint.client.confirmation import ask_for_yes
from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.key_statement import sign_key_statement
from kubemint.client.options import DurationType, service_options
from kubemint.client.revocation_terms import (
    changes_nothing,
    checked_revocation,
    counted,
    describe_revocation,
    lined_up,
    selector_lines,
    suspension_text,
    why_not_lifted,
)
from kubemint.client.selection import MomentType, selector_of, selector_options
from kubemint.client.terms import printable
from kubemint.errors import ServiceRefused, ServiceUnavailable
from kubemint.record import rfc3339
from kubemint.selector import Selector
from kubemint.x509.revocation import RevocationReason

_NOTHING_HIT: Final = (
    "kubemint: nothing was hit, so nothing is revoked: the order is on record, and neither what is valid now nor"
    " what is issued later is refused by it. Is each name right?"
)
_NOT_REVOKED: Final = "Nothing was revoked"
MANY: Final = 100  # certificates from which on the question says so

_NOT_WITH_A_KEY: Final = ("reason", "suspend_for", "suspend_until", "token_file")
_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@selector_options
@click.option("--private-key", "key_file", type=_file, help="Revoke this key by holding it; no token is needed.")
@click.option("--passphrase-file", type=_file, help="File whose first line opens the private key.")
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in RevocationReason]),
    help="Why (RFC 5280); certificateHold alone can be lifted  [default: unspecified].",
)
@click.option("--note", default="", help="What people should know; it is kept in the ledger.")
@click.option(
    "--suspend-for", type=DurationType(), help="Refuse new certificates to the user, or with the group: 7d."
)
@click.option("--suspend-until", type=MomentType(ago=False), help="The same, until a time: 2026-12-01T08:00:00Z.")
@click.option("--preview", is_flag=True, help="Count what it would hit, and revoke nothing.")
@click.option("--yes", is_flag=True, help="Do not look first and ask.")
@click.option("--allow-none", is_flag=True, help="Hitting nothing is no error.")
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
@service_options
def revoke(**options: Any) -> None:
    """Revoke the certificates for which everything given is true.

    It counts at once, and for what is on record now: a certificate that is issued later is not meant,
    unless --suspend-for keeps its user or group from getting one. A reason of keyCompromise, or a
    selection by key, refuses the keys in later requests too. Operators revoke anything, requesters
    what they asked for themselves, and whoever holds a private key revokes that key.

    What would be hit is counted, and a yes is asked for. Exit code 0 if it was done, 1 if not, 2 for wrong
    use. Where nothing is hit, it is 1 as well, for a name may be misspelt: unless --allow-none is given,
    or somebody is suspended, or a key refused.

    \b
    kubemint revoke --user jane --reason keyCompromise --suspend-for 7d --note "laptop stolen"
    kubemint revoke --requester oidc:github:repo:acme/shop --issued-since 8h
    kubemint revoke --certificate jane.crt --reason certificateHold
    kubemint revoke --private-key found.key --url https://kubemint.example.com:8443
    """
    selector = selector_of(options)
    _check_options(options, selector)
    if options["key_file"] is not None:
        _revoke_key(options)
        return
    wish = {"select": selector.fields} | _further(options)
    connection = ServiceConnection(find_service(options["url"], options["ca"], options["token_file"]))
    if options["preview"]:
        _show_preview(_count(connection, wish), wish, options["output"])
        return
    if not options["yes"]:
        _ask(wish, _count(connection, wish))
    _order(connection, wish, options)


def _check_options(options: Mapping[str, Any], selector: Selector) -> None:
    is_empty = not selector.fields
    if options["suspend_for"] is not None and options["suspend_until"] is not None:
        raise click.UsageError("--suspend-for or --suspend-until, not both.")
    if options["key_file"] is None:
        if options["passphrase_file"] is not None:
            raise click.UsageError("--passphrase-file opens --private-key, which is not given.")
        if is_empty:
            raise click.UsageError("Say what is to be revoked: --user, --serial, … (--help has all).")
        if _is_suspension(options) and not selector.is_suspendable:
            raise click.UsageError(
                "A suspension keeps out a whole user or a whole group: select by --user or --group, and no more."
            )
        return
    wrong = [name for name in _NOT_WITH_A_KEY if options[name] is not None]
    if wrong or not is_empty or options["preview"] or options["allow_none"]:
        raise click.UsageError(
            "--private-key revokes that key, as keyCompromise; give --note and no other choice."
        )


def _is_suspension(options: Mapping[str, Any]) -> bool:
    return options["suspend_for"] is not None or options["suspend_until"] is not None


def _further(options: Mapping[str, Any]) -> dict[str, str]:
    until: datetime | None = options["suspend_until"]
    lasts: timedelta | None = options["suspend_for"]
    if lasts is not None:
        until = datetime.now(UTC) + lasts
    further = {"suspendUntil": None if until is None else rfc3339(until)}
    further |= {name: options[name] for name in ("reason", "note")}
    return {name: text for name, text in further.items() if text}


def _count(connection: ServiceConnection, wish: Mapping[str, Any]) -> int:
    count = connection.post("/v1/revocations", {**wish, "preview": True}).get("certificates")
    if not isinstance(count, int):
        raise ServiceUnavailable("the service's answer holds no count; is it kubemint?")
    return count


def _show_preview(count: int, wish: Mapping[str, Any], output: str) -> None:
    if output == "json":
        told = {name: wish[name] for name in ("select", "suspendUntil") if name in wish}
        click.echo(json.dumps({"certificates": count, **told}, indent=2))
        return
    click.echo(lined_up(_question_lines(wish, count)))
    click.echo(f"{_NOT_REVOKED}.")


def _ask(wish: Mapping[str, Any], count: int) -> None:
    click.echo(lined_up(_question_lines(wish, count)), err=True)
    if count > MANY:
        click.echo(f"These are more than {MANY}. Is the selection as narrow as it should be?", err=True)
    ask_for_yes(f"Revoke {counted(count)}?", _NOT_REVOKED)


def _question_lines(wish: Mapping[str, Any], count: int) -> Iterator[tuple[str, str]]:
    yield from selector_lines(wish["select"])
    yield "Certificates", f"{counted(count)} that {'has' if count == 1 else 'have'} not expired"
    yield "Reason", wish.get("reason", RevocationReason.UNSPECIFIED.value)
    if "note" in wish:
        yield "Note", wish["note"]
    if "suspendUntil" in wish:
        yield "Suspended", suspension_text(wish["select"], wish["suspendUntil"])


def _revoke_key(options: Mapping[str, Any]) -> None:
    """Send the statement and no token: its signature is the proof, and the key stays here.

    The service says no more than that it is revoked: who holds a key is a stranger to it.
    """
    address = replace(find_service(options["url"], options["ca"], None), token_file=None)
    statement = sign_key_statement(options["key_file"], options["passphrase_file"])
    if not options["yes"]:
        click.echo(f"Public key:   sha256:{statement.public_key_sha256}", err=True)
        ask_for_yes("Revoke this key, and each certificate for it, for good?", _NOT_REVOKED)
    document = {"csr": statement.csr_pem, "note": options["note"]}
    wish = {name: text for name, text in document.items() if text}
    answer = ServiceConnection(address).post("/v1/revocations/by-key", wish)
    if not all(isinstance(answer.get(name), str) for name in ("revocation", "time")):
        raise ServiceUnavailable("the service's answer holds no revocation; is it kubemint?")
    if options["output"] == "json":
        click.echo(json.dumps(answer | {"publicKeySha256": statement.public_key_sha256}, indent=2))
        return
    said = f"is revoked since {answer['time']}, by revocation {answer['revocation']}"
    click.echo(printable(f"The key sha256:{statement.public_key_sha256} {said}."))


def _order(connection: ServiceConnection, wish: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    try:
        answer = connection.post("/v1/revocations", wish)
    except ServiceRefused as refusal:
        is_none = refusal.status == HTTPStatus.NOT_FOUND and options["allow_none"]
        # Counted as well: 404 is also what another address says.
        if not is_none or _count(connection, wish):
            raise
        _show_preview(0, wish, options["output"])
        return
    revocation = checked_revocation(answer)
    is_json = options["output"] == "json"
    click.echo(json.dumps(revocation, indent=2) if is_json else describe_revocation(revocation))
    if changes_nothing(revocation):
        if options["allow_none"]:
            return
        click.echo(_NOTHING_HIT, err=True)
        sys.exit(1)
    if not is_json and why_not_lifted(revocation) is None:
        click.echo(printable(f"To lift it: kubemint revocations lift {revocation['revocation']}"))
