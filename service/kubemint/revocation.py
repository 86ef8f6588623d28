"""Taking certificates back, and giving back what was only held.

    order → who may → entry → what it hit

Operators may revoke whatever a selector means; others what they asked for themselves; and whoever holds a
private key may revoke that key (kubemint.key_revocation). A revocation is an entry like a decision:
it counts as soon as it is durable, and it is undone by another entry, if it was a hold, or never.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol, assert_never

from kubemint.audit import reinstated_event, revoked_event
from kubemint.errors import (
    IdempotencyConflict,
    NotFound,
    NotPermitted,
    Reason,
    RequestError,
    RevocationConflict,
)
from kubemint.policy.rules import Policy
from kubemint.record import (
    Condition,
    Entry,
    Event,
    EventKind,
    OnHold,
    Recorded,
    ReinstatementOrder,
    RevocationOrder,
    SomethingToRevoke,
    TokenUnused,
)
from kubemint.requester import Requester
from kubemint.selector import Selector
from kubemint.x509.revocation import RevocationReason

_OrderCondition = SomethingToRevoke | TokenUnused | OnHold

_WISHED: Final = {
    EventKind.REVOKED: ("select", "reason", "note", "suspendUntil"),
    EventKind.REINSTATED: ("revocation", "note"),
}


class Ledger(Protocol):
    """The record, as revoking needs it."""

    def append(self, *events: Event, conditions: tuple[Condition, ...] = ...) -> Recorded:
        """Keep `kubemint.issuance.Ledger.append`."""


class RevocationRecord(Protocol):
    """A revocation as the ledger has it."""

    @property
    def entry(self) -> Entry:
        """The `revoked` entry."""

    @property
    def certificates(self) -> int:
        """How many certificates it hit."""

    @property
    def lifted(self) -> Entry | None:
        """The `reinstated` entry that undid it, if it was a hold."""


class Revocations(Protocol):
    """What is read of the record. Each answer is at least as new as what this process has appended."""

    def find(self, revocation: str) -> RevocationRecord | None:
        """Give the revocation of this name, or None. Raises LedgerUnavailable."""

    def count_hits(self, selector: Selector, now: datetime) -> int:
        """Count the certificates that have not expired and that a selector means. Raises LedgerUnavailable."""

    def has_something(self, wanted: SomethingToRevoke) -> bool:
        """Tell whether there is something to revoke now. Raises LedgerUnavailable."""

    def of_key(self, public_key_sha256: str) -> RevocationRecord | None:
        """Give the first revocation for good of all that has this key, or None. Raises LedgerUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants taken back; `http_request_id` is the door's name for it, for the log.

    A wish with an `idempotency_key` is recorded once, however often the requester sends it.
    """

    selector: Selector
    reason: RevocationReason = RevocationReason.UNSPECIFIED
    note: str = ""
    suspend_until: datetime | None = None
    http_request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What stands on record for a wish; `repeated` if it stood there before, under the same idempotency key."""

    record: RevocationRecord
    repeated: bool


@dataclass(frozen=True, kw_only=True)
class RevocationDesk:
    """Where certificates are taken back."""

    current_policy: Callable[[], Policy]
    ledger: Ledger
    revocations: Revocations
    clock: Callable[[], datetime]
    draw_name: Callable[[], str]

    def preview(self, wish: Wish, requester: Requester) -> int:
        """Count what a revocation would hit now; none where `revoke` finds nothing that fits.

        Raises as `revoke` does; nothing is recorded.
        """
        policy, now = self.current_policy(), self.clock()
        selector = self._permitted(wish, requester, policy, now)
        needed = _needed(wish, selector, requester, policy, now)
        if not all(map(self.revocations.has_something, needed)):
            return 0
        return self.revocations.count_hits(selector, now)

    def revoke(self, wish: Wish, requester: Requester) -> Done:
        """Take back what fits and is on record now. On return it is durable, and counts.

        An operator's revocation is kept whatever it hits; of others, nothing that changes nothing is. What was
        recorded before under the idempotency key is given as it stands, though nothing fits any longer.

        Raises:
            NotPermitted: the requester may not revoke this.
            NotFound: nothing fits of what a requester that is no operator may revoke.
            RevocationConflict: it cannot be meant like this.
            IdempotencyConflict: the key stands for something else.
            LedgerUnavailable: it is not recorded, or that cannot be told; the same may be sent again.
        """
        policy, now = self.current_policy(), self.clock()
        selector = self._permitted(wish, requester, policy, now)
        return self.record(
            RevocationOrder(
                revocation=self.draw_name(),
                selector=selector,
                reason=wish.reason,
                note=wish.note,
                ordered_by=requester,
                time=now,
                policy_version=policy.version,
                suspend_until=wish.suspend_until,
                blocks_keys=_blocks_keys(wish),  # of others than operators only keys that are theirs: one was hit
                idempotency_key=wish.idempotency_key,
                request_id=wish.http_request_id,
            ),
            *_needed(wish, selector, requester, policy, now),
        )

    def record(self, order: RevocationOrder, *needed: SomethingToRevoke) -> Done:
        """Put an order on record, whoever may have given it. Raises as `revoke` does, save for who may."""
        return self._append(revoked_event(order), (*needed, *_once(order.ordered_by)))

    def lift(
        self,
        revocation: str,
        note: str,
        requester: Requester,
        http_request_id: str | None,
        idempotency_key: str | None = None,
    ) -> Done:
        """Undo a hold: what it hit counts again. On return it is durable.

        Raises:
            NotPermitted: the requester is no operator.
            NotFound: there is no such revocation.
            RevocationConflict: it is no hold, or was lifted before.
            IdempotencyConflict: the key stands for something else.
            LedgerUnavailable: as `revoke` raises it.
        """
        policy = self.current_policy()
        if not policy.roles.may_operate(requester):
            raise NotPermitted("Only operators may lift a hold.")
        self._find(revocation)
        order = ReinstatementOrder(
            revocation=revocation,
            note=note,
            ordered_by=requester,
            time=self.clock(),
            policy_version=policy.version,
            idempotency_key=idempotency_key,
            request_id=http_request_id,
        )
        return self._append(reinstated_event(order), (OnHold(revocation=revocation), *_once(requester)))

    def _permitted(self, wish: Wish, requester: Requester, policy: Policy, now: datetime) -> Selector:
        """Give what may be revoked of what is wished: all for operators, else what the requester asked for."""
        if not wish.selector.fields:
            raise RevocationConflict(
                "Say what is to be revoked.", (_reason("selector-empty", "it means everything"),)
            )
        if wish.suspend_until is not None:
            _check_suspension(wish.selector, wish.suspend_until, now)
        if policy.roles.may_operate(requester):
            return wish.selector
        if wish.suspend_until is not None:
            raise NotPermitted("Only operators may suspend a user or a group.")
        if wish.selector == Selector(credential_id=requester.evidence):
            return wish.selector  # the certificate that proved who asks
        if wish.selector.requester not in {None, requester.identity}:
            raise NotPermitted("Only operators may revoke what others asked for.")
        return replace(wish.selector, requester=requester.identity)

    def _append(self, event: Event, conditions: tuple[_OrderCondition, ...]) -> Done:
        recorded = self.ledger.append(event, conditions=conditions)
        if recorded.unmet is not None:
            raise self._refusal(next(each for each in conditions if each == recorded.unmet.condition))
        # Durable: if the process dies here, it counts, and who asked may ask again without harm.
        if recorded.repeated and not _is_same(recorded.entry, event):
            raise IdempotencyConflict("This Idempotency-Key was used for another request.")
        return Done(record=self._find(recorded.entry.fields["revocation"]), repeated=recorded.repeated)

    def _refusal(self, unmet: _OrderCondition) -> RequestError:
        match unmet:
            case SomethingToRevoke():
                # The same, whether there is none or it is another's: who asks learns nothing of others.
                return NotFound("No certificate that counts and is yours to revoke fits; nothing was recorded.")
            case TokenUnused():
                reason = _reason("token-used", "this token counts once, and has been used; get a new one")
                return RevocationConflict("This cannot count.", (reason,))
            case OnHold():
                reason = _reason("not-on-hold", _why_not_on_hold(self._find(unmet.revocation)))
                return RevocationConflict("This cannot be lifted.", (reason,))
            case _ as never:
                assert_never(never)

    def _find(self, revocation: str) -> RevocationRecord:
        if (record := self.revocations.find(revocation)) is None:
            raise NotFound("There is no such revocation, or it is not yours to see.")
        return record


def _is_same(earlier: Entry, event: Event) -> bool:
    """Tell whether an entry is what the same wish led to; names of revocations are drawn anew for each."""
    wished = _WISHED.get(earlier.kind, ())
    return earlier.kind is event.kind and all(
        earlier.fields.get(name) == event.fields.get(name) for name in wished
    )


def _blocks_keys(wish: Wish) -> bool:
    return wish.reason is RevocationReason.KEY_COMPROMISE or wish.selector.public_key_sha256 is not None


def _check_suspension(selector: Selector, until: datetime, now: datetime) -> None:
    if selector.user is None and selector.group is None:
        reason = _reason("suspension-of-nobody", "only a user or a group can be suspended: name one")
    elif not selector.is_suspendable:
        message = "all of a user or of a group is suspended: name one of them and nothing else"
        reason = _reason("suspension-too-wide", message)
    elif until <= now:
        reason = _reason("suspension-over", "the suspension would be over already")
    else:
        return
    raise RevocationConflict("This cannot be suspended.", (reason,))


def _needed(
    wish: Wish, selector: Selector, requester: Requester, policy: Policy, now: datetime
) -> tuple[SomethingToRevoke, ...]:
    """Give what must hold of a wish besides; nothing for operators."""
    if policy.roles.may_operate(requester):
        return ()
    return (SomethingToRevoke(selector=selector, blocks_keys=_blocks_keys(wish), now=now),)


def _once(requester: Requester) -> tuple[TokenUnused, ...]:
    use = requester.single_use
    return () if use is None else (TokenUnused(authority=requester.authority, token_id=use.token_id),)


def _why_not_on_hold(record: RevocationRecord) -> str:
    fields = record.entry.fields
    if record.lifted is None:
        return f"{fields['revocation']} is {fields['reason']}, and that is for good"
    return f"{fields['revocation']} was lifted at {record.lifted.fields['time']} already"


def _reason(code: str, message: str) -> Reason:
    return Reason(code=code, message=message, path="revocation")
