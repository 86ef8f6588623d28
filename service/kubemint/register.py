"""Requests for approval as they stand on record, and what each viewer may see of them.

A request runs out of time without an entry that says so: its state is that of its entries and of the hour.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from kubemint.errors import NotFound
from kubemint.policy.rules import Roles
from kubemint.record import Entry, EventKind
from kubemint.requester import Requester


class CurrentState(StrEnum):
    """What has become of a request by now."""

    PENDING = "pending"
    ISSUED = "issued"
    DENIED = "denied"
    EXPIRED = "expired"


class RequestRecord(Protocol):
    """A request as the ledger has it: its entry, the approvals in their order, and what ended it."""

    @property
    def entry(self) -> Entry:
        """The `requested` entry."""

    @property
    def approvals(self) -> tuple[Entry, ...]:
        """The `approved` entries."""

    @property
    def outcome(self) -> Entry | None:
        """The `issued` or `denied` entry; None while the request is open, or has run out of time."""


class Register(Protocol):
    """What is read of the record. Each answer is at least as new as what this process has appended."""

    def find_request(self, request: str) -> RequestRecord | None:
        """Give the request of this name, or None.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """

    def latest_certificate_of(self, user: str) -> Entry | None:
        """Give the `issued` entry of the last certificate in this user name, or None. Raises as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a certificate would change for its user: against which earlier one, and what of it."""

    serial_number: str
    groups_added: tuple[str, ...]
    groups_removed: tuple[str, ...]
    lifetime_seconds: int
    same_key: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """What one viewer may see of a request.

    `in_full` is set for those who may read the log: they see the claims, and as long as the request is
    open the difference from that user's last certificate, which is None where there is none.
    """

    record: RequestRecord
    state: CurrentState
    in_full: bool
    difference: Difference | None


def find(register: Register, request: str) -> RequestRecord:
    """Give the request of this name.

    Raises:
        NotFound: there is none.
    """
    if (record := register.find_request(request)) is None:
        raise _not_found()
    return record


def state_of(record: RequestRecord, now: datetime) -> CurrentState:
    """Tell what has become of a request by now."""
    if record.outcome is not None:
        return CurrentState.ISSUED if record.outcome.kind is EventKind.ISSUED else CurrentState.DENIED
    return CurrentState.EXPIRED if _expires(record) <= now else CurrentState.PENDING


def view(record: RequestRecord, viewer: Requester, roles: Roles, register: Register, now: datetime) -> RequestView:
    """Give what a viewer may see of a request.

    Raises:
        NotFound: it is not the viewer's to see, and so as if it were not there.
    """
    in_full = roles.may_read_the_log(viewer)
    if not in_full and record.entry.fields["requester"] != viewer.identity:
        raise _not_found()
    state = state_of(record, now)
    earlier = None
    if in_full and state is CurrentState.PENDING:
        earlier = register.latest_certificate_of(record.entry.fields["user"])
    difference = None if earlier is None else _difference(earlier, record.entry)
    return RequestView(record=record, state=state, in_full=in_full, difference=difference)


def _difference(earlier: Entry, requested: Entry) -> Difference:
    before, after = earlier.fields["groups"], requested.fields["groups"]
    begun = datetime.fromisoformat(earlier.fields["time"]).replace(microsecond=0)
    ended = datetime.fromisoformat(earlier.fields["notAfter"])
    return Difference(
        serial_number=earlier.fields["serialNumber"],
        groups_added=tuple(group for group in after if group not in before),
        groups_removed=tuple(group for group in before if group not in after),
        lifetime_seconds=int((ended - begun).total_seconds()),
        same_key=earlier.fields["publicKeySha256"] == requested.fields["publicKeySha256"],
    )


def _expires(record: RequestRecord) -> datetime:
    return datetime.fromisoformat(record.entry.fields["expires"])


def _not_found() -> NotFound:
    return NotFound("There is no such request, or it is not yours to see.")
