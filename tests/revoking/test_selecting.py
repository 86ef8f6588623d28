"""Which certificates a revocation hits: those on record before it that fit every value, and no other."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from kubemint.audit import revoked_event
from kubemint.ledger import tables
from kubemint.record import Entry, RevocationOrder
from kubemint.selector import Selector
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, stored
from ledger.events import NOW, issued, refused, requested
from ledger.ways import WAYS, Way, unit
from revoking.bureau import ANN, ASKER, HOUR, OTHER, Bureau, of_key

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of a selector, and of which certificates it is true."""

    name: str
    value: Any
    fits: Callable[[Entry], bool]


def _issue_some(bureau: Bureau) -> list[Entry]:
    """Issue certificates that differ in all that can be selected by, one a minute."""
    entries = []
    for user, groups, requester, key in (
        ("jane", ("developers", "team-a"), ASKER, "one"),
        ("jane", ("viewers",), OTHER, "one"),
        ("joe", ("developers",), ASKER, "two"),
        ("Jane", (), OTHER, "three"),
    ):
        entries.append(bureau.issue(user, *groups, by=requester, key=key))
        bureau.now += HOUR / 60
    entries.append(bureau.issue("jane", "team-a", profile="marked", key="two"))
    return entries


def _values(entries: list[Entry]) -> list[list[_Value]]:
    """Give for each field of a selector some values that fit, and one that fits nothing."""
    first, third = entries[0].fields, entries[2].fields
    since = NOW + HOUR / 60

    def equal(name: str, field: str, *wanted: str) -> list[_Value]:
        return [_Value(name, one, lambda entry, one=one: entry.fields[field] == one) for one in wanted]  # type: ignore[misc]  # one for each

    return [
        equal("serial_number", "serialNumber", first["serialNumber"], "7f"),
        equal("credential_id", "credentialId", third["credentialId"], "X509SHA256=" + "0" * 64),
        equal("user", "user", "jane", "Jane", "jan"),
        [
            _Value("group", one, lambda entry, one=one: one in entry.fields["groups"])
            for one in ("team-a", "team-")
        ],  # type: ignore[misc]  # one for each
        equal("public_key_sha256", "publicKeySha256", of_key(entries[0]), "0" * 64),
        equal("requester", "requester", "token:other", "token:nobody"),
        equal("profile", "profile", "marked", "nothing"),
        [_Value("issued_since", since, lambda entry: entry.fields["time"] >= since.isoformat()[:19])],
        [_Value("issued_until", since, lambda entry: entry.fields["time"] < since.isoformat()[:19])],
    ]


def test_every_value_and_all_pairs_of_them(bureau: Bureau) -> None:
    """Whatever values are combined, the preview counts exactly the certificates for which all of them are true."""
    entries = _issue_some(bureau)
    fields = _values(entries)
    singles = [(value,) for values in fields for value in values]
    pairs = [pair for one, other in itertools.combinations(fields, 2) for pair in itertools.product(one, other)]
    counts = set()
    for wanted in (*singles, *pairs, tuple(values[0] for values in fields)):
        hit = [entry for entry in entries if all(value.fits(entry) for value in wanted)]
        selector = Selector(**{value.name: value.value for value in wanted})
        assert bureau.revocations.count_hits(selector, bureau.now) == len(hit), selector
        counts.add(len(hit))
    assert counts == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("place", range(9))
def test_what_was_counted_is_what_is_hit(bureau: Bureau, place: int) -> None:
    """A revocation by any value hits the certificates that fit, as many as the preview counted."""
    entries = _issue_some(bureau)
    value = _values(entries)[place][0]
    wish = {value.name: value.value}
    counted = bureau.preview(**wish)
    assert bureau.is_revoked(*entries) == [False] * len(entries)
    assert "revoked" not in bureau.kinds()
    record = bureau.revoke(**wish)
    assert bureau.is_revoked(*entries) == [value.fits(entry) for entry in entries]
    assert record.certificates == counted == sum(map(value.fits, entries)) > 0


def test_serial_numbers_with_zeros_before_them(bureau: Bureau) -> None:
    """A serial number is a number: zeros before it, as some programs print them, mean the same."""
    entry = bureau.issue()
    assert bureau.preview(serial_number="00" + entry.fields["serialNumber"]) == 1


def test_parts_of_a_second(bureau: Bureau) -> None:
    """Times of certificates are kept to the second: what may have been issued within a window is hit."""
    bureau.now += timedelta(milliseconds=400)
    entry = bureau.issue()
    assert bureau.preview(issued_until=NOW + timedelta(milliseconds=401)) == 1
    assert bureau.preview(issued_until=NOW) == 0
    assert bureau.preview(issued_since=NOW + timedelta(milliseconds=400)) == 1
    assert bureau.preview(issued_since=NOW + SECOND) == 0
    bureau.revoke(issued_until=NOW + timedelta(milliseconds=500))
    assert bureau.is_revoked(entry) == [True]


def test_what_comes_later_is_not_hit(bureau: Bureau) -> None:
    """A certificate that is issued after a revocation counts, though it fits."""
    before = bureau.issue(key="one")
    record = bureau.revoke(user="jane")
    after = bureau.issue(key="two")
    assert bureau.is_revoked(before, after) == [True, False]
    assert record.certificates == 1


def test_expired_certificates_are_not_hit(bureau: Bureau) -> None:
    """What has expired is neither counted nor hit; what expires this second still is."""
    old = bureau.issue()
    bureau.now += HOUR
    assert bureau.preview(user="jane") == 1
    bureau.now += SECOND
    assert bureau.preview(user="jane") == 0
    new = bureau.issue()
    assert bureau.revoke(user="jane").certificates == 1
    assert bureau.is_revoked(old, new) == [False, True]


def test_refusals_and_requests_are_no_certificates(adapter: Adapter) -> None:
    """What was refused, or waits, is in the same groups and is not hit."""
    ledger = adapter.open()
    ledger.append(refused(groups=("developers",)), requested("r1", groups=("developers",)))
    ledger.append(_revoked(Selector(group="developers")))
    assert stored(adapter, tables.revoked_certificates) == []


@every_way
def test_of_one_batch_what_came_before(adapter: Adapter, way: Way) -> None:
    """In whichever way they come, a revocation hits the entries before it and none after it."""
    units = [
        unit(issued(1)),
        unit(issued(2, groups=("viewers",))),
        unit(_revoked(Selector(group="developers"), "a")),
        unit(issued(3), _revoked(Selector(user="jané"), "b"), issued(4)),
        unit(_revoked(Selector(user="eve"), "c")),
    ]
    way(adapter, units)
    hits = [
        (row["revocation_index"], row["certificate_index"]) for row in stored(adapter, tables.revoked_certificates)
    ]
    assert hits == [(2, 0), (4, 0), (4, 1), (4, 3)]


def test_the_first_revocation_counts(bureau: Bureau) -> None:
    """Of a certificate that is revoked twice, the first one's moment and reason are told; both may be found."""
    entry = bureau.issue()
    first = bureau.revoke(user="jane", reason=RevocationReason.SUPERSEDED)
    bureau.now += HOUR / 2
    second = bureau.revoke(requester="token:requester", reason=RevocationReason.KEY_COMPROMISE)
    assert (first.certificates, second.certificates) == (1, 1)
    found = bureau.revocations.of_serial(entry.fields["serialNumber"])
    assert found is not None
    assert (found.revocation, found.reason, found.revoked_at) == (
        first.entry.fields["revocation"],
        RevocationReason.SUPERSEDED,
        NOW,
    )
    assert bureau.revocations.of_credential(entry.fields["credentialId"]) == found
    assert [one.serial_number for one in bureau.revocations.revoked(NOW)] == [
        int(entry.fields["serialNumber"], 16)
    ]


def _revoked(selector: Selector, name: str = "a") -> Any:
    return revoked_event(
        RevocationOrder(
            revocation=name * 32,
            selector=selector,
            reason=RevocationReason.UNSPECIFIED,
            note="",
            ordered_by=ANN,
            time=NOW,
            policy_version="sha256:" + "0" * 64,
        )
    )
