"""`kubemint policy replay`: what another policy would have decided about what was asked since a day."""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from kubemint import config
from kubemint.audit import reason_fields, requester_from
from kubemint.client.options import DurationType
from kubemint.commands.config_option import config_option
from kubemint.documents import read_file
from kubemint.errors import ConfigurationError
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.stores import SqliteStore, Store
from kubemint.policy.cases import UNBOUND_ISSUER, written_request
from kubemint.policy.decision import Decision, Granted, decide
from kubemint.policy.rules import Policy
from kubemint.policy_file import read_policy
from kubemint.record import Entry, EventKind, rfc3339
from kubemint.wiring import store_of

_KINDS: Final = (EventKind.ISSUED, EventKind.REFUSED, EventKind.REQUESTED)
_VERDICTS: Final = {
    EventKind.ISSUED: "granted",
    EventKind.REQUESTED: "granted with approval",
    EventKind.REFUSED: "refused",
}
_REFUSED_BY_THE_LEDGER: Final = frozenset({"quota-exceeded", "token-used", "entry-too-large"})
_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_file)
@click.option("--since", type=DurationType(), default="30d", show_default=True, help="How far to go back.")
@config_option("Configuration that names the ledger")
@click.option("--ledger", "ledger_file", type=_file, help="The ledger's file, in place of a configuration.")
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
def replay(file: Path, since: timedelta, config_file: Path | None, ledger_file: Path | None, output: str) -> None:
    """Decide past requests again, by the policy in FILE.

    The verdicts that change are listed.

    Each request is judged at its own time, by what was known of its requester then; the CA's end
    sets no bound. A verdict is granted, refused, or granted with approval. A CSR that was unfit, a
    refusal for a quota or a token that counts once, and the certificate that came of an approval
    were not decided by the policy and are left out. Nothing is signed or recorded.

    \b
    kubemint policy replay new-policy.yaml --since 30d
    kubemint policy replay new-policy.yaml --ledger copy-of-ledger.db --output json
    """
    if config_file is not None and ledger_file is not None:
        raise click.UsageError("--config or --ledger, not both.")
    policy = read_policy(read_file(file), str(file), {})
    reader = _open(ledger_file, config_file)
    start = datetime.now(UTC) - since
    decided, left_out = 0, 0
    changes: list[dict[str, Any]] = []
    for entry in _with_progress(reader, start):
        if not _was_decided_by_policy(entry):
            left_out += 1
            continue
        decided += 1
        if (change := _change(entry, _decide_again(entry, policy))) is not None:
            changes.append(change)
    summary = {"policy": policy.version, "since": rfc3339(start), "decisions": decided, "leftOut": left_out}
    if output == "json":
        click.echo(json.dumps(summary | {"changes": changes}, indent=2))
        return
    for change in changes:
        click.echo("\n".join(_lines(change)))
    counts = f"decisions: {decided}, left out: {left_out}, verdicts that change: {len(changes)}"
    click.echo(f"{counts} (policy {policy.version})")


def _open(ledger_file: Path | None, config_file: Path | None) -> LedgerReader:
    store: Store
    archive = NO_ARCHIVE
    if ledger_file is not None:
        store = SqliteStore(ledger_file)
    else:
        settings = config.load(config.find_config(config_file))
        store, archive = store_of(settings), Archive(settings.ledger.archive)
    if not store.exists():
        raise ConfigurationError(str(ledger_file or "ledger.url"), ["there is no ledger"])
    return LedgerReader(store.for_reading(readers=1), archive)


def _with_progress(reader: LedgerReader, since: datetime) -> Iterator[Entry]:
    with click.progressbar(
        reader.entries(_KINDS, since),
        length=reader.count(_KINDS, since),
        label="Deciding again",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as entries:
        yield from entries


def _was_decided_by_policy(entry: Entry) -> bool:
    codes = {reason["code"] for reason in entry.fields.get("reasons", ())}
    is_approved = entry.kind is EventKind.ISSUED and "request" in entry.fields  # its request was decided
    is_whole = "user" in entry.fields and "shortened" not in entry.fields
    return is_whole and not is_approved and not (codes and codes <= _REFUSED_BY_THE_LEDGER)


def _decide_again(entry: Entry, policy: Policy) -> Decision:
    fields = entry.fields
    request = written_request(
        user=fields["user"],
        groups=_asked_groups(entry),
        key_type=fields["keyType"],
        expiration_seconds=fields["requestedExpirationSeconds"],
        profile=fields["requestedProfile"],
    )
    return decide(request, requester_from(fields), policy, datetime.fromisoformat(fields["time"]), UNBOUND_ISSUER)


def _asked_groups(entry: Entry) -> tuple[str, ...]:
    """Give what the CSR had: a certificate may have groups that its profile added."""
    return tuple(entry.fields.get("requestedGroups", entry.fields["groups"]))


def _change(entry: Entry, decision: Decision) -> dict[str, Any] | None:
    """Describe a verdict that is another one now, with the reasons of its refusal; None if it stays."""
    before, after = _VERDICTS[entry.kind], _verdict(decision)
    if before == after:
        return None
    reasons = [] if isinstance(decision, Granted) else [reason_fields(reason) for reason in decision.reasons]
    return {
        "logIndex": entry.index,
        "time": entry.fields["time"],
        "requester": entry.fields["requester"],
        "user": entry.fields["user"],
        "groups": list(_asked_groups(entry)),
        "before": before,
        "after": after,
        "reasons": reasons or entry.fields.get("reasons", []),
    }


def _verdict(decision: Decision) -> str:
    if not isinstance(decision, Granted):
        return _VERDICTS[EventKind.REFUSED]
    return _VERDICTS[EventKind.ISSUED if decision.approval is None else EventKind.REQUESTED]


def _lines(change: Mapping[str, Any]) -> Iterator[str]:
    groups = ", ".join(change["groups"]) or "none"
    yield (
        f"{change['logIndex']}  {change['time']}  {change['before']} → {change['after']}  "
        f"{change['requester']} for {change['user']} (groups: {groups})"
    )
    for reason in change["reasons"]:
        yield f"    {reason['code']}: {reason['message']} [{reason['path']}]"
