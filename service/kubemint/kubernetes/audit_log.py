"""A cluster's audit log (audit.k8s.io/v1, one Event a line), joined with what this service has issued.

It is read as the API server wrote it, and no more strictly: request bodies stand in it, and a body that
repeats a member or is not Unicode must not hide the line that it stands in. Lines that are no events are
counted and named. What is kept grows with the certificates that are met, never with the lines.
Types from k8s.io/apiserver pkg/apis/audit/v1/types.go.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, assert_never

from kubemint.errors import InvalidDocument
from kubemint.kubernetes.access_review import read_credential_values, serials_of, sort_credential_ids

API_VERSION: Final = "audit.k8s.io/v1"
SOURCE_IPS_MAX: Final = 16  # kept for each certificate, and as many of its use after a revocation
NOT_EVENTS_MAX: Final = 16  # lines that are named, of all that are counted

_LAST_STAGES: Final = frozenset({"ResponseComplete", "Panic"})  # one of them for each request, and once


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One stage of one request, as far as it tells who made it.

    `source_ip` is the connection's own: those before it in the log were claimed by the client.
    `credentials` are the credential ids of X.509 certificates; where there are none, as before 1.32, the serial
    numbers that groups carry.
    """

    received_at: datetime
    stage: str
    verb: str
    resource: str
    user: str
    groups: tuple[str, ...]
    credentials: tuple[str, ...]
    status_code: int | None
    source_ip: str | None

    @property
    def is_last(self) -> bool:
        """Tell whether the request is over, so that each is counted once."""
        return self.stage in _LAST_STAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnEvent:
    """A line that says nothing; lines count from 1."""

    line_number: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCertificate:
    """What the record has of a certificate; `revoked_at` is None where it is not revoked."""

    serial_number: str
    user: str
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedAfterRevocation:
    """Requests from the moment of the revocation on; `codes` are pairs of an HTTP status and its count."""

    first_at: datetime
    last_at: datetime
    requests: int
    codes: tuple[tuple[int, int], ...]
    source_ips: tuple[str, ...]
    more_source_ips: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateUse:
    """What the log tells of one certificate; `certificate` is None where this service never issued it.

    `requests` counts those that ended: a watch that is still open is in `last_at` alone.
    """

    credential: str
    certificate: KnownCertificate | None
    user: str
    first_at: datetime
    last_at: datetime
    requests: int
    source_ips: tuple[str, ...]
    more_source_ips: bool
    tried_after_revocation: TriedAfterRevocation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """Who used which certificate, by first use; `events_without_certificate` are of tokens and the like."""

    uses: tuple[CertificateUse, ...]
    events: int
    events_without_certificate: int
    not_events: int
    first_not_events: tuple[NotAnEvent, ...]

    @property
    def used(self) -> frozenset[str]:
        """Give the credentials that were met: what is on record and not among them was never used."""
        return frozenset(use.credential for use in self.uses)

    @property
    def never_issued(self) -> tuple[CertificateUse, ...]:
        """Give the uses of certificates that this service did not issue."""
        return tuple(use for use in self.uses if use.certificate is None)

    @property
    def revoked_and_tried(self) -> tuple[CertificateUse, ...]:
        """Give the uses of certificates after their revocation."""
        return tuple(use for use in self.uses if use.tried_after_revocation is not None)


def read_audit_log(lines: Iterable[bytes]) -> Iterator[AuditEvent | NotAnEvent]:
    """Read line by line; empty lines are passed over. Raises nothing of its own."""
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _read_event(_parse(line))
        except InvalidDocument as fault:
            yield NotAnEvent(line_number=line_number, problem=fault.message)


def join(lines: Iterable[bytes], find: Callable[[str], KnownCertificate | None]) -> AuditReport:
    """Read a log and say of each certificate in it what became of it.

    `find` is asked once for each: by credential id, or by serial number in lower-case hex.
    """
    uses: dict[str, _Use] = {}
    events, without_certificate, not_events = 0, 0, 0
    first_not_events: list[NotAnEvent] = []
    for line in read_audit_log(lines):
        match line:
            case AuditEvent() as event:
                events += 1
                without_certificate += not event.credentials
                for credential in event.credentials:
                    if credential not in uses:
                        uses[credential] = _Use(find(credential), event)
                    uses[credential].add(event)
            case NotAnEvent() as other:
                not_events += 1
                first_not_events += [other] if not_events <= NOT_EVENTS_MAX else []
            case _:
                assert_never(line)
    return AuditReport(
        uses=tuple(use.freeze(credential) for credential, use in uses.items()),
        events=events,
        events_without_certificate=without_certificate,
        not_events=not_events,
        first_not_events=tuple(first_not_events),
    )


@dataclass(slots=True)
class _Span:
    """Requests between two times; lines of several API servers need not be in order."""

    first_at: datetime
    last_at: datetime
    requests: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    source_ips: dict[str, None] = field(default_factory=dict)
    more_source_ips: bool = False

    def add(self, event: AuditEvent) -> None:
        self.first_at, self.last_at = min(self.first_at, event.received_at), max(self.last_at, event.received_at)
        if event.is_last:
            self.requests += 1
            if event.status_code is not None:
                self.codes[event.status_code] += 1
        if event.source_ip is None or event.source_ip in self.source_ips:
            return
        if len(self.source_ips) < SOURCE_IPS_MAX:
            self.source_ips[event.source_ip] = None
        else:
            self.more_source_ips = True


class _Use:
    """A certificate's requests so far."""

    def __init__(self, certificate: KnownCertificate | None, event: AuditEvent) -> None:
        self._certificate = certificate
        self._user = event.user
        self._all = _Span(event.received_at, event.received_at)
        self._revoked: _Span | None = None

    def add(self, event: AuditEvent) -> None:
        self._all.add(event)
        revoked_at = self._certificate.revoked_at if self._certificate else None
        if revoked_at is not None and event.received_at >= revoked_at:
            self._revoked = self._revoked or _Span(event.received_at, event.received_at)
            self._revoked.add(event)

    def freeze(self, credential: str) -> CertificateUse:
        revoked = self._revoked
        return CertificateUse(
            credential=credential,
            certificate=self._certificate,
            user=self._user,
            first_at=self._all.first_at,
            last_at=self._all.last_at,
            requests=self._all.requests,
            source_ips=tuple(self._all.source_ips),
            more_source_ips=self._all.more_source_ips,
            tried_after_revocation=None
            if revoked is None
            else TriedAfterRevocation(
                first_at=revoked.first_at,
                last_at=revoked.last_at,
                requests=revoked.requests,
                codes=tuple(sorted(revoked.codes.items())),
                source_ips=tuple(revoked.source_ips),
                more_source_ips=revoked.more_source_ips,
            ),
        )


def _parse(line: bytes) -> Any:
    try:
        # Numbers as floats: a body may hold an integer that Python takes an age to read, or refuses.
        return json.loads(line.decode("utf-8", "replace"), parse_int=float)
    except (ValueError, RecursionError):
        raise InvalidDocument("not JSON") from None


def _read_event(event: Any) -> AuditEvent:
    if not isinstance(event, dict) or (event.get("apiVersion"), event.get("kind")) != (API_VERSION, "Event"):
        raise InvalidDocument(f"not an Event of {API_VERSION}")
    user = event.get("user")
    if not isinstance(user, dict):
        raise InvalidDocument("user: must be an object")
    groups = _texts(user.get("groups"))
    credential_ids, _ = sort_credential_ids(read_credential_values(user.get("extra"), "user.extra"))
    source_ips = _texts(event.get("sourceIPs"))
    return AuditEvent(
        received_at=_time(event.get("requestReceivedTimestamp")),
        stage=_text(event.get("stage")),
        verb=_text(event.get("verb")),
        resource=_resource(event.get("objectRef")),
        user=_text(user.get("username")),
        groups=groups,
        credentials=credential_ids or serials_of(groups),
        status_code=_status_code(event.get("responseStatus")),
        source_ip=source_ips[-1] if source_ips else None,
    )


def _resource(reference: Any) -> str:
    """Write `namespace/resource/name/subresource`, without what is not there."""
    if not isinstance(reference, Mapping):
        return ""
    parts = (_text(reference.get(part)) for part in ("namespace", "resource", "name", "subresource"))
    return "/".join(part for part in parts if part)


def _status_code(status: Any) -> int | None:
    code = status.get("code") if isinstance(status, Mapping) else None
    return int(code) if isinstance(code, float) and 100 <= code < 600 else None  # RFC 9110 section 15


def _time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(_text(value))
        if time.tzinfo is None:
            raise ValueError("no zone")  # noqa: TRY301 - the same refusal as that of other wrong times
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidDocument("requestReceivedTimestamp: must be a time with its zone (RFC 3339)") from None


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(filter(None, map(_text, values))) if isinstance(values, list) else ()


def _text(value: Any) -> str:
    """Give a text that is there; half of a surrogate pair, which JSON can write, becomes a question mark."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
