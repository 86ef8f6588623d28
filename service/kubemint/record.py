"""What the record is made of: a try, the event that comes of it, and the entry that tells of it for ever.

An event is what the ledger keeps and what the log line on standard output shows. The keys of its fields are
part of the contract: entries written today are read by every later version. Some of what is written is true
only if nothing else was written meanwhile: those are the conditions, judged in the transaction that writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import orjson

from kubemint.policy.rules import Policy
from kubemint.requester import Requester
from kubemint.selector import Selector
from kubemint.transparency.receipt import Receipt
from kubemint.x509.request import Submission
from kubemint.x509.revocation import RevocationReason

IDEMPOTENCY_KEY: Final = "idempotencyKey"


class EventKind(StrEnum):
    """What an entry of the ledger tells."""

    ISSUED = "issued"
    REFUSED = "refused"
    REQUESTED = "requested"
    APPROVED = "approved"
    DENIED = "denied"
    POLICY_CHANGED = "policy-changed"
    REVOKED = "revoked"
    REINSTATED = "reinstated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A request that has all its approvals: its name, by whom, and when it was made."""

    request: str
    by: tuple[str, ...]
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to get a certificate: who, what, when, and under which policy.

    `request_id` is the door's name for it, by which the log line is found; the record does without.
    """

    requester: Requester
    submission: Submission
    time: datetime
    policy: Policy
    idempotency_key: str | None
    request_id: str | None = None
    approved: Approved | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingApproval:
    """A request that waits: its name, how many operators must approve it, and until when."""

    request: str
    approvals: int
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an operator said of a request, and of exactly which terms."""

    approver: Requester
    request: str
    digest: str
    reason: str
    time: datetime
    policy_version: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationOrder:
    """Take certificates back: which, why, by whom, and whether what they name gets no new ones.

    `revocation` is its name. `suspend_until` keeps the user and the group that the selector names from getting
    certificates until then; `blocks_keys` keeps the keys of all that is hit out for ever. Under the same
    `idempotency_key` the same order is recorded once.
    """

    revocation: str
    selector: Selector
    reason: RevocationReason
    note: str
    ordered_by: Requester
    time: datetime
    policy_version: str
    suspend_until: datetime | None = None
    blocks_keys: bool = False
    idempotency_key: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinstatementOrder:
    """Lift a hold: which, why, by whom. Under the same `idempotency_key` it is recorded once."""

    revocation: str
    note: str
    ordered_by: Requester
    time: datetime
    policy_version: str
    idempotency_key: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One fact for the record. `fields` are JSON values; `body` is what is stored and hashed."""

    kind: EventKind
    time: datetime
    fields: Mapping[str, Any]
    request_id: str | None = None

    @cached_property
    def body(self) -> bytes:
        """The canonical bytes: JSON, keys sorted, no spaces, UTF-8; a reader can rebuild them from the fields."""
        return orjson.dumps(self.fields, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the ledger: an event that is durable, and its place."""

    index: int
    kind: EventKind
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinQuota:
    """Fewer than `certificates` were issued to this requester under this profile since `since`."""

    requester: str
    profile: str
    certificates: int
    since: datetime
    per: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUnused:
    """No entry tells of a use of this token, which counts once."""

    authority: str
    token_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOpen:
    """The request waits for approval, and has so many of them."""

    request: str
    approvals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDiffers:
    """The last `policy-changed` entry names another version, or there is none."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FewWaiting:
    """Fewer than `most` requests of this requester wait for approval at this time."""

    requester: str
    most: int
    now: datetime


class BlockKind(StrEnum):
    """What may be kept from getting certificates."""

    USER = "user"
    GROUP = "group"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBlocked:
    """Neither the user, nor a group, nor the key of a certificate is suspended or revoked at this time."""

    user: str
    groups: tuple[str, ...]
    public_key_sha256: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LineInForce:
    """No certificate of this line of renewals, named by the serial number of its first, is revoked or on hold."""

    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SomethingToRevoke:
    """The selector means a certificate that has not expired at this time and is not revoked for good.

    With `blocks_keys` it may be revoked, if its key is not kept out for good yet. A hold may stand beside another:
    each is lifted by itself.
    """

    selector: Selector
    blocks_keys: bool
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHold:
    """This revocation is a hold (certificateHold) that nobody has lifted."""

    revocation: str


Condition = (
    WithinQuota
    | TokenUnused
    | RequestOpen
    | PolicyDiffers
    | FewWaiting
    | NotBlocked
    | LineInForce
    | SomethingToRevoke
    | OnHold
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A condition that does not hold; `retry_at` is when it will, if time alone makes it so.

    Of what is blocked, `blocked` tells what it is.
    """

    condition: Condition
    retry_at: datetime | None = None
    blocked: BlockKind | None = None


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What stands in the ledger for what was appended.

    Its own entries or, if `repeated`, that of an earlier event; or, where `unmet` is set, the entry that
    tells of it, and none if there is nothing to tell. `receipt` proves the last entry to whoever holds it, if
    that is a certificate issued just now.
    """

    entries: tuple[Entry, ...]
    repeated: bool = False
    unmet: Unmet | None = None
    receipt: Receipt | None = None

    @property
    def entry(self) -> Entry:
        """The last of the entries: the one that an answer is about."""
        return self.entries[-1]


def rfc3339(moment: datetime) -> str:
    """Write an aware moment in UTC, to the second or, where it has a fraction, to the microsecond."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
