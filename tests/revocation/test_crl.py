"""A revocation list says what was ordered, is as strong as its issuer, and is refused where it is not."""

import dataclasses
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from csrs import private_key
from issuance.faulty_keys import FAULTY_KEYS, FaultyKey
from kubemint.errors import SigningFailed
from kubemint.x509.crl import SHARD_MAX, crl_problems, shard_of, shards_for, sign_crl
from kubemint.x509.issuer import Issuer
from kubemint.x509.revocation import RevocationReason, RevokedCertificate
from revocation.records import DAY, LISTING_USAGES, SERIAL_NUMBER, leaf_of, list_of, revoked, write
from x509.authorities import issuer_of
from x509.der import flip_last_bit

LARGEST = (1 << 159) - 1  # RFC 5280 4.1.2.2 and 5.2.3: 20 octets
SHARD_URL = "http://mint.example/v1/crl/4/1"


def test_the_list_says_what_was_ordered(issuer: Issuer, now: datetime) -> None:
    """Version 2, issuer, window, number, key identifier and every entry in order are as given."""
    crl = x509.load_der_x509_crl(list_of(issuer, now, revoked(now, 9, SERIAL_NUMBER, 1, LARGEST)))
    assert crl.is_signature_valid(issuer.public_key)
    assert crl.issuer == issuer.certificate.subject
    assert (crl.last_update_utc, crl.next_update_utc) == (now, now + DAY)
    assert {each.value: each.critical for each in crl.extensions} == {
        x509.CRLNumber(7): False,
        x509.AuthorityKeyIdentifier(b"kubernetes-ca-ski", None, None): False,
    }
    hour_ago = now - timedelta(hours=1)
    assert [(each.serial_number, each.revocation_date_utc) for each in crl] == [
        (9, hour_ago),
        (SERIAL_NUMBER, hour_ago),
        (1, hour_ago),
        (LARGEST, hour_ago),
    ]


@pytest.mark.parametrize("reason", RevocationReason)
def test_each_reason_is_encoded_but_unspecified(
    small_issuer: Issuer, now: datetime, reason: RevocationReason
) -> None:
    """A reason is a non-critical extension of the entry; `unspecified` is none (RFC 5280 5.3.1)."""
    (entry,) = x509.load_der_x509_crl(list_of(small_issuer, now, revoked(now, 5, reason=reason)))
    found = {each.value: each.critical for each in entry.extensions}
    if reason is RevocationReason.UNSPECIFIED:
        assert found == {}
    else:
        assert found == {x509.CRLReason(x509.ReasonFlags(reason.value)): False}


def test_a_shard_says_what_it_is_about(small_issuer: Issuer, now: datetime) -> None:
    """One shard of several has its URL in a critical IssuingDistributionPoint (RFC 5280 5.2.5)."""
    crl = x509.load_der_x509_crl(list_of(small_issuer, now, distribution_point=SHARD_URL))
    scope = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert scope.critical
    assert scope.value.full_name == [x509.UniformResourceIdentifier(SHARD_URL)]
    assert scope.value.only_contains_user_certs
    assert not scope.value.only_contains_ca_certs
    assert not scope.value.indirect_crl


@pytest.mark.parametrize("year", [2049, 2050])
def test_times_are_written_in_the_form_of_their_year(small_issuer: Issuer, now: datetime, year: int) -> None:
    """Window and entries have two digits for the year through 2049, four from 2050 on (RFC 5280 5.1.2.4)."""
    then = now.replace(year=year)
    crl_der = list_of(small_issuer, then, revoked(then, 5))
    stamp = f"{then:%Y%m%d}".removeprefix("20" if year < 2050 else "").encode()
    forms = {0x17: 13, 0x18: 15}  # UTCTime and GeneralizedTime, with their lengths
    tag = 0x17 if year < 2050 else 0x18
    assert crl_der.count(bytes([tag, forms[tag]]) + stamp[:4]) == 3
    (entry,) = x509.load_der_x509_crl(crl_der)
    assert entry.revocation_date_utc == then - timedelta(hours=1)


def test_fractions_of_a_second_are_dropped(small_issuer: Issuer, now: datetime) -> None:
    """A clock's microseconds make no difference: a list has whole seconds."""
    late = now.replace(microsecond=999_999)
    crl = x509.load_der_x509_crl(list_of(small_issuer, late, revoked(late, 5)))
    assert (crl.last_update_utc, crl.next_update_utc) == (now, now + DAY)
    assert [each.revocation_date_utc for each in crl] == [now - timedelta(hours=1)]


@pytest.mark.parametrize(
    ("entries", "changes", "fault"),
    [
        ((), {"number": -1}, "number"),
        ((), {"number": LARGEST + 1}, "number"),
        ((), {"next_update": datetime.fromisoformat("2026-11-20T12:00:00.9Z")}, "window"),
        ((), {"next_update": datetime.fromisoformat("2026-11-20T11:00:00Z")}, "window"),
        ((0,), {}, "serial number"),
        ((-5,), {}, "serial number"),
        ((LARGEST + 1,), {}, "serial number"),
        ((5, 6, 5), {}, "serial number twice"),
        ((), {"distribution_point": "http://müller.example/crl"}, "cannot be written"),
        ((), {"this_update": datetime(2026, 11, 20, 12, 0)}, "cannot be written"),
    ],
)
def test_an_order_that_cannot_be_is_refused(
    small_issuer: Issuer, now: datetime, entries: tuple[int, ...], changes: dict[str, Any], fault: str
) -> None:
    """Numbers, windows, serial numbers and URLs that no list may have are named, and nothing is signed."""
    with pytest.raises(SigningFailed, match=fault):
        list_of(small_issuer, now, revoked(now, *entries), **changes)


def test_the_largest_number_is_taken(small_issuer: Issuer, now: datetime) -> None:
    """Twenty octets are allowed, for a number as for a serial number."""
    crl = x509.load_der_x509_crl(list_of(small_issuer, now, number=LARGEST))
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == LARGEST


def test_a_time_of_another_zone_is_the_same_moment(small_issuer: Issuer, now: datetime) -> None:
    """An aware time counts for what it is, or is refused; it is never read as another hour."""
    elsewhere = now.astimezone(timezone(timedelta(hours=5)))
    crl = x509.load_der_x509_crl(list_of(small_issuer, elsewhere))
    assert crl.last_update_utc == now


@pytest.mark.parametrize("faulty", FAULTY_KEYS, ids=lambda faulty: faulty.__name__)
def test_a_key_that_fails_gives_no_list(small_issuer: Issuer, now: datetime, faulty: type[FaultyKey]) -> None:
    """Whatever the key gives or raises in place of its signature, no list leaves."""
    broken = dataclasses.replace(small_issuer, key=faulty(private_key("ecdsa-p256", "issuer")))
    with pytest.raises(SigningFailed) as caught:
        list_of(broken, now, revoked(now, 5))
    assert "1234" not in caught.value.message


def test_a_hundred_thousand_entries_take_a_moment(small_issuer: Issuer, now: datetime) -> None:
    """All are in the list, and the time is that of their number: by its square it would take minutes."""
    entries = [
        RevokedCertificate(serial_number=number << 130 | 1, revoked_at=now, reason=RevocationReason.SUPERSEDED)
        for number in range(100_000)
    ]
    begin = time.process_time()
    crl_der = sign_crl(small_issuer, entries, number=1, this_update=now, next_update=now + DAY)
    assert time.process_time() - begin < 6
    assert len(x509.load_der_x509_crl(crl_der)) == 100_000


@pytest.mark.parametrize(
    ("count", "shards"),
    [(0, 1), (1, 1), (SHARD_MAX, 1), (SHARD_MAX + 1, 2), (2 * SHARD_MAX, 2), (2 * SHARD_MAX + 1, 4), (10**6, 32)],
)
def test_the_number_of_shards_is_a_power_of_two_that_suffices(count: int, shards: int) -> None:
    """As few shards as hold all that is revoked, doubled where they do not."""
    assert shards_for(count) == shards


@pytest.mark.parametrize("shards", [1, 2, 4, 32])
def test_shards_split_and_never_mix(shards: int) -> None:
    """Every certificate has one shard, and with twice as many it is in one of the two that came of it."""
    for serial_number in (1, SERIAL_NUMBER, LARGEST, *range(100, 200)):
        assert 0 <= shard_of(serial_number, shards) < shards
        assert shard_of(serial_number, 2 * shards) % shards == shard_of(serial_number, shards)
    assert {shard_of(number, shards) for number in range(64)} == set(range(shards))


def test_openssl_verifies_the_signature(
    issuer: Issuer, now: datetime, openssl: Callable[..., str], tmp_path: Path
) -> None:
    """Another implementation finds the signature good, and not with one bit changed."""
    crl_der = list_of(issuer, now, revoked(now, 5))
    files = write(tmp_path, ca=issuer.certificate, crl=crl_der, tampered=flip_last_bit(crl_der))
    checking = ("crl", "-inform", "DER", "-noout", "-verify", "-CAfile", files["ca"], "-in")
    assert "verify OK" in openssl(*checking, files["crl"])
    assert "verify failure" in openssl(*checking, files["tampered"])


def openssl_verdict(
    openssl: Callable[..., str],
    folder: Path,
    issuer: Issuer,
    at: datetime,
    certificate: x509.Certificate,
    crl: bytes,
) -> str:
    pem = openssl("crl", "-inform", "DER", "-in", write(folder, crl=crl)["crl"]).encode()
    files = write(folder, ca=issuer.certificate, leaf=certificate, pem=pem)
    checking = ("verify", "-crl_check", "-x509_strict", "-attime", int(at.timestamp()), "-CAfile", files["ca"])
    return openssl(*checking, "-CRLfile", files["pem"], files["leaf"])


def test_openssl_turns_down_what_is_listed_and_nothing_else(
    issuer: Issuer, now: datetime, openssl: Callable[..., str], tmp_path: Path
) -> None:
    """With the list, a certificate in it is revoked, one that is not is good, and an old list is no list."""
    leaf = leaf_of(issuer, now)
    listed, unlisted = (list_of(issuer, now, revoked(now, number)) for number in (SERIAL_NUMBER, 5))
    old = list_of(issuer, now - 2 * DAY, revoked(now, 5))
    assert "certificate revoked" in openssl_verdict(openssl, tmp_path, issuer, now, leaf, listed)
    assert openssl_verdict(openssl, tmp_path, issuer, now, leaf, unlisted).endswith(": OK\n")
    assert openssl_verdict(openssl, tmp_path, issuer, now, leaf, list_of(issuer, now)).endswith(": OK\n")
    assert "CRL has expired" in openssl_verdict(openssl, tmp_path, issuer, now, leaf, old)


def test_a_shard_does_not_count_for_certificates_that_do_not_name_it(
    small_issuer: Issuer, now: datetime, openssl: Callable[..., str], tmp_path: Path
) -> None:
    """A verifier that gets one shard takes it for no more: what is not in it is not good for that."""
    shard = list_of(small_issuer, now, distribution_point=SHARD_URL)
    verdict = openssl_verdict(openssl, tmp_path, small_issuer, now, leaf_of(small_issuer, now), shard)
    assert "different CRL scope" in verdict


def test_a_ca_that_may_not_sign_lists_is_known(now: datetime, openssl: Callable[..., str], tmp_path: Path) -> None:
    """A CA of kubeadm has no cRLSign: verifiers turn down its lists, and `crl_problems` says so before."""
    of_kubeadm = issuer_of("ecdsa-p256", now)
    assert any("cRLSign" in problem for problem in crl_problems(of_kubeadm))
    verdict = openssl_verdict(
        openssl, tmp_path, of_kubeadm, now, leaf_of(of_kubeadm, now), list_of(of_kubeadm, now)
    )
    assert "CRL signing" in verdict


@pytest.mark.parametrize("usages", [LISTING_USAGES, None])
def test_a_ca_that_may_sign_lists_has_no_problem(now: datetime, usages: tuple[str, ...] | None) -> None:
    """With cRLSign, or without any key usage, nothing stands against lists."""
    assert list(crl_problems(issuer_of("ecdsa-p256", now, usages=usages))) == []
