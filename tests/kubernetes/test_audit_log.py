"""An audit log tells who used which certificate, and what a revoked one was still tried for."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.kubernetes.access_review import CREDENTIAL_ID_KEY
from kubemint.kubernetes.audit_log import (
    NOT_EVENTS_MAX,
    SOURCE_IPS_MAX,
    AuditEvent,
    AuditReport,
    CertificateUse,
    KnownCertificate,
    NotAnEvent,
    TriedAfterRevocation,
    join,
    read_audit_log,
)

FRIENDLY = settings(max_examples=200, deadline=None, derandomize=True)
START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
ALICE, BOB, STRANGER = ("X509SHA256=" + digits * 32 for digits in ("a1", "b0", "57"))
RECORD = {
    ALICE: KnownCertificate(serial_number="0a", user="alice", revoked_at=None),
    BOB: KnownCertificate(serial_number="0b", user="bob", revoked_at=START + timedelta(minutes=10)),
    "0b": KnownCertificate(serial_number="0b", user="bob", revoked_at=START + timedelta(minutes=10)),
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(credential: str | None = ALICE, minutes: float = 0, **changes: Any) -> dict[str, Any]:
    """Make an Event as kube-apiserver writes it at level Metadata."""
    extra = {"extra": {CREDENTIAL_ID_KEY: [credential]}} if credential else {}
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "3b3f9a52-0000-4000-8000-000000000000",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/pods/cart-0/log?follow=true",
        "verb": "get",
        "user": {"username": "alice", "groups": ["developers", "system:authenticated"], **extra},
        "sourceIPs": ["203.0.113.9", "10.0.0.7"],
        "userAgent": "kubectl/v1.37.1",
        "objectRef": {
            "resource": "pods",
            "namespace": "shop",
            "name": "cart-0",
            "apiVersion": "v1",
            "subresource": "log",
        },
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": at(minutes),
        "stageTimestamp": at(minutes),
        "annotations": {"authorization.k8s.io/decision": "allow"},
    } | changes


def line(document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


def report(*documents: Any) -> AuditReport:
    return join(map(line, documents), RECORD.get)


def only(*documents: Any) -> CertificateUse:
    (use,) = report(*documents).uses
    return use


def refused(minutes: float, code: int = 403) -> dict[str, Any]:
    return event(BOB, minutes, responseStatus={"code": code})


def test_an_event_is_read() -> None:
    """Who, with which certificate, when, what, from where and with which result is there."""
    assert list(read_audit_log([line(event())])) == [
        AuditEvent(
            received_at=START,
            stage="ResponseComplete",
            verb="get",
            resource="shop/pods/cart-0/log",
            user="alice",
            groups=("developers", "system:authenticated"),
            credentials=(ALICE,),
            status_code=200,
            source_ip="10.0.0.7",
        )
    ]


def test_what_kubernetes_may_leave_out_is_empty() -> None:
    """A request for no resource has no object, a stage before the answer no status, an old server no extra."""
    bare = {key: event(None)[key] for key in ("kind", "apiVersion", "stage", "user", "requestReceivedTimestamp")}
    (read,) = read_audit_log([line(bare)])
    assert isinstance(read, AuditEvent)
    assert (read.verb, read.resource, read.status_code, read.source_ip) == ("", "", None, None)
    assert read.credentials == ()


def test_an_older_server_names_the_serial_in_a_group() -> None:
    """Where there is no credential id, the group with the serial number stands for it."""
    user = {"username": "bob", "groups": ["kubemint:serial:0b", "deployers"]}
    use = only(event(None, user=user))
    assert (use.credential, use.certificate) == ("0b", RECORD["0b"])
    both = {**user, "extra": {CREDENTIAL_ID_KEY: [BOB]}}
    assert only(event(user=both)).credential == BOB


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"not json", "not JSON"),
        (b'{"kind": "Event"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"null", "not an Event"),
        (b"[]", "not an Event"),
        (line({**event(), "kind": "EventList"}), "not an Event"),
        (line({**event(), "apiVersion": "audit.k8s.io/v1beta1"}), "not an Event"),
        (line({**event(), "user": "alice"}), "user: must be an object"),
        (line({**event(), "user": {"extra": []}}), "user.extra: must be an object"),
        (line({**event(), "user": {"extra": {CREDENTIAL_ID_KEY: ALICE}}}), "user.extra"),
        (line({**event(), "requestReceivedTimestamp": None}), "requestReceivedTimestamp"),
        (line({**event(), "requestReceivedTimestamp": 1}), "requestReceivedTimestamp"),
        (line({**event(), "requestReceivedTimestamp": "2026-11-22T10:00:00"}), "requestReceivedTimestamp"),
        (line({**event(), "requestReceivedTimestamp": "0001-01-01T00:00:00+23:00"}), "requestReceivedTimestamp"),
        (line({**event(), "requestReceivedTimestamp": "2026-13-22T10:00:00Z"}), "requestReceivedTimestamp"),
    ],
)
def test_a_line_that_is_no_event_is_named_and_the_next_is_read(text: bytes, problem: str) -> None:
    """One bad line hides no other; it has its number and its reason."""
    first, second, third = read_audit_log([b"\n", text, line(event()), text])
    assert isinstance(first, NotAnEvent)
    assert (first.line_number, problem in first.problem) == (2, True)
    assert isinstance(second, AuditEvent)
    assert isinstance(third, NotAnEvent)
    assert third.line_number == 4


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a": 1, "a": 2}', id="a member twice"),
        pytest.param(b'{"a": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"a": "\\ud800"}', id="half of a surrogate pair"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": ' + b"9" * 10_000 + b"}", id="an integer of ten thousand digits"),
        pytest.param(b'{"a": 1e999}', id="a number out of range"),
    ],
)
def test_a_strange_body_does_not_hide_the_line_that_it_stands_in(body: bytes) -> None:
    """The body is the requester's: whoever may write it may not write themselves out of the log."""
    text = line(event(BOB, 11)).replace(b'"annotations"', b'"requestObject": ' + body + b', "annotations"')
    assert text != line(event(BOB, 11))
    result = join([text], RECORD.get)
    assert (result.events, result.not_events) == (1, 0)
    assert [use.credential for use in result.revoked_and_tried] == [BOB]


def test_texts_of_the_log_can_be_written_again() -> None:
    """Half of a surrogate pair in a name is a question mark, so that no later step fails on it."""
    (read,) = read_audit_log([line(event(user={"username": "a\ud800"}))])
    assert isinstance(read, AuditEvent)
    assert read.user == "a?"


def test_each_request_is_counted_once() -> None:
    """A request has a line for each of its stages: the last one counts, and the times come from all of them."""
    stages = ("RequestReceived", "ResponseStarted", "ResponseComplete")
    use = only(*(event(minutes=2, stage=stage) for stage in stages), event(minutes=5, stage="Panic"))
    assert use.requests == 2
    assert (use.first_at, use.last_at) == (START + timedelta(minutes=2), START + timedelta(minutes=5))


def test_a_watch_that_is_still_open_is_seen() -> None:
    """It has not ended, so it is no count yet; that the certificate was used, and when, is known."""
    use = only(event(BOB, 12, stage="ResponseStarted"))
    assert use.requests == 0
    tried = use.tried_after_revocation
    assert tried is not None
    assert (tried.first_at, tried.requests) == (START + timedelta(minutes=12), 0)


def test_lines_need_not_be_in_order() -> None:
    """Logs of several API servers, one after the other, give the first and the last time all the same."""
    use = only(event(minutes=9), event(minutes=1), event(minutes=4))
    assert (use.first_at, use.last_at) == (START + timedelta(minutes=1), START + timedelta(minutes=9))


def test_a_time_in_another_zone_is_the_same_time() -> None:
    """Times come out in UTC."""
    assert only(event(requestReceivedTimestamp="2026-11-22T12:00:00.000000+02:00")).first_at == START


def test_requests_after_the_revocation_are_told_with_what_they_got() -> None:
    """From the moment of the revocation on, the statuses say whether the cluster knew of it."""
    before = event(BOB, 9, sourceIPs=["10.0.0.8"])
    use = only(before, refused(10, 200), refused(10.5), refused(11), event(BOB, 12, responseStatus=None))
    assert use == CertificateUse(
        credential=BOB,
        certificate=RECORD[BOB],
        user="alice",
        first_at=START + timedelta(minutes=9),
        last_at=START + timedelta(minutes=12),
        requests=5,
        source_ips=("10.0.0.8", "10.0.0.7"),
        more_source_ips=False,
        tried_after_revocation=TriedAfterRevocation(
            first_at=START + timedelta(minutes=10),
            last_at=START + timedelta(minutes=12),
            requests=4,
            codes=((200, 1), (403, 2)),
            source_ips=("10.0.0.7",),
            more_source_ips=False,
        ),
    )


def test_use_before_the_revocation_is_no_attempt() -> None:
    """What was allowed when it was done is not told as a breach."""
    result = report(refused(9.99, 200), event(ALICE, 20))
    assert result.revoked_and_tried == ()
    assert result.used == {ALICE, BOB}


def test_certificates_that_were_never_issued_here_stand_out() -> None:
    """A certificate of the cluster's CA that the record does not have is named, with its use."""
    result = report(event(), event(STRANGER, 3), event(STRANGER, 4))
    (stranger,) = result.never_issued
    assert (stranger.credential, stranger.requests, stranger.certificate) == (STRANGER, 2, None)
    assert stranger.tried_after_revocation is None


def test_requests_without_a_certificate_are_counted_alone() -> None:
    """Tokens, service accounts and nobody at all are no use of a certificate."""
    token = event(user={"username": "a", "extra": {CREDENTIAL_ID_KEY: ["JTI=1"]}})
    result = report(event(None), token, event(), {"kind": "Event"})
    assert (result.events, result.events_without_certificate, result.not_events) == (3, 2, 1)
    assert result.used == {ALICE}


def test_the_address_is_the_connection_s_own() -> None:
    """What stands before the last address was written by the client, and is not told as where it came from."""
    forged = event(sourceIPs=["198.51.100.1", "198.51.100.2", "10.0.0.8"])
    assert only(event(), forged, event(sourceIPs=[])).source_ips == ("10.0.0.7", "10.0.0.8")


@pytest.mark.parametrize(("count", "more"), [(SOURCE_IPS_MAX, False), (SOURCE_IPS_MAX + 1, True)])
def test_addresses_are_bounded_and_it_is_said(count: int, more: bool) -> None:
    """A certificate that is used from everywhere fills no memory, and the report does not seem complete."""
    use = only(*(event(sourceIPs=[f"10.0.1.{number}"]) for number in [*range(count), 0]))
    assert use.source_ips == tuple(f"10.0.1.{number}" for number in range(SOURCE_IPS_MAX))
    assert use.more_source_ips is more
    tried = only(
        *(event(BOB, 11, sourceIPs=[f"10.0.1.{number}"]) for number in range(count))
    ).tried_after_revocation
    assert tried is not None
    assert (len(tried.source_ips), tried.more_source_ips) == (SOURCE_IPS_MAX, more)


def test_lines_that_are_no_events_are_counted_beyond_those_named() -> None:
    """A log that is no log gives a count and a few places to look at."""
    result = join([b"x\n"] * (NOT_EVENTS_MAX + 5), RECORD.get)
    assert result.not_events == NOT_EVENTS_MAX + 5
    assert [other.line_number for other in result.first_not_events] == list(range(1, NOT_EVENTS_MAX + 1))
    assert result.uses == ()


def test_the_record_is_asked_once_for_each_certificate() -> None:
    """A million lines of one certificate are one question to the ledger."""
    asked: list[str] = []

    def find(credential: str) -> KnownCertificate | None:
        asked.append(credential)
        return None

    join([line(event(credential)) for credential in (ALICE, STRANGER, ALICE, STRANGER)], find)
    assert asked == [ALICE, STRANGER]


def peak_bytes(read: Callable[[], object]) -> int:
    """Give how much memory was in use at most beside what there was before."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_certificates_and_not_with_lines() -> None:
    """What is kept at any time is a small part of what was read."""
    read_bytes = 0

    def lines() -> Iterator[bytes]:
        nonlocal read_bytes
        for number in range(3_000):
            text = line(event(BOB, number % 20, responseStatus={"code": 403}, sourceIPs=[f"10.1.{number}"]))
            read_bytes += len(text)
            yield text
            yield b"no event\n"

    assert peak_bytes(lambda: join(lines(), RECORD.get)) < read_bytes / 4


@FRIENDLY
@given(
    lines=st.lists(
        st.binary(max_size=60)
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.builds(
            lambda changes: json.dumps(event() | changes).encode(),
            st.dictionaries(st.sampled_from(sorted(event())), JSON, max_size=2),
        ),
        max_size=5,
    )
)
def test_garbage_is_counted_and_raises_nothing(lines: list[bytes]) -> None:
    """Whatever stands in the lines, each that is not empty is an event or is counted as none."""
    result = join(lines, RECORD.get)
    assert result.events + result.not_events == len([text for text in lines if text.strip()])
