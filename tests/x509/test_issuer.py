"""The issuer: which CAs may sign client certificates, and which stop the start."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from csrs import KEY_TYPES, private_key, spki
from kubemint.x509.generate import GENERATED_KEY_TYPES, generate_key, self_signed_ca
from kubemint.x509.issuer import Issuer, issuer_from, issuer_problems
from x509.authorities import ca_certificate, intermediate_of, issuer_of

SECOND = timedelta(seconds=1)


def problems(issuer: Issuer, now: datetime) -> list[str]:
    return list(issuer_problems(issuer, now))


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_kubeadms_own_ca_is_accepted(key_type: str, now: datetime) -> None:
    """A self-signed CN=kubernetes with kubeadm's key usages may sign, whatever its type of key."""
    assert problems(issuer_of(key_type, now), now) == []


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_an_intermediate_with_its_root_is_accepted(key_type: str, now: datetime) -> None:
    """An online CA below an offline root may sign; its file holds it first and the root after it."""
    assert problems(intermediate_of(key_type, now), now) == []


@pytest.mark.parametrize("key_type", GENERATED_KEY_TYPES)
def test_a_generated_ca_is_accepted(key_type: str, now: datetime) -> None:
    """What `init` makes is what the service starts with."""
    key = generate_key(key_type)
    certificate = self_signed_ca(key, "kubemint", now, timedelta(days=365))
    assert problems(issuer_from((certificate,), key), now) == []


@pytest.mark.parametrize(
    "common_name",
    ["kubernetes", "kubernetes-ca", "k3s-client-ca@1763640000", "rke2-client-ca@1763640000", "talos"],
)
def test_the_client_cas_of_distributions_are_accepted(common_name: str, now: datetime) -> None:
    """The CAs that clusters have for their clients are known by no name that is refused."""
    assert problems(issuer_of("ecdsa-p256", now, common_name=common_name), now) == []


@pytest.mark.parametrize(
    ("common_name", "owner"),
    [
        ("front-proxy-ca", "the API server's front proxy"),  # kubeadm
        ("kubernetes-front-proxy-ca", "the API server's front proxy"),  # k0s
        ("k3s-request-header-ca@1763640000", "the API server's front proxy"),
        ("rke2-request-header-ca@1763640000", "the API server's front proxy"),
        ("Front-Proxy-CA", "the API server's front proxy"),
        ("etcd-ca", "etcd"),  # kubeadm
        ("etcd-server-ca@1763640000", "etcd"),  # k3s and RKE2
        ("etcd-peer-ca@1763640000", "etcd"),
        ("ETCD", "etcd"),
    ],
)
def test_the_cas_that_must_stay_apart_are_refused(common_name: str, owner: str, now: datetime) -> None:
    """A CA whose certificates impersonate anyone, or are root in etcd, signs no client certificate."""
    (problem,) = problems(issuer_of("ecdsa-p256", now, common_name=common_name), now)
    assert common_name in problem
    assert owner in problem


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"is_ca": False, "usages": ["digital_signature", "key_cert_sign"]}, "CA:FALSE"),
        ({"is_ca": None}, "no basicConstraints"),
        ({"usages": ["digital_signature", "key_encipherment"]}, "keyCertSign"),
        ({"usages": ["crl_sign"]}, "keyCertSign"),
        ({"purposes": ["server_auth"]}, "CN=kubernetes may not stand above client certificates"),
        ({"purposes": ["server_auth", "code_signing"]}, "extended key usage"),
        ({"ends": -SECOND}, "expired at 2026-11-20T11:59:59Z"),
        ({"begins": SECOND}, "not valid before 2026-11-20T12:00:01Z"),
    ],
)
def test_a_certificate_that_may_not_sign_now_is_refused(
    options: dict[str, Any], problem: str, now: datetime
) -> None:
    """Not a CA, not for certificates, not any more, not yet: each stops the start by name."""
    (found,) = problems(issuer_of("ecdsa-p256", now, **options), now)
    assert problem in found


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"is_ca": False}, "CA:FALSE"),
        ({"is_ca": None}, "no basicConstraints"),
        ({"usages": ["crl_sign"]}, "keyCertSign"),
        ({"purposes": ["server_auth"]}, "CN=acme root may not stand above client certificates"),
        ({"ends": -SECOND}, "expired at 2026-11-20T11:59:59Z"),
        ({"begins": SECOND}, "not valid before 2026-11-20T12:00:01Z"),
    ],
)
def test_a_root_that_may_not_stand_above_it_now_is_refused(
    options: dict[str, Any], problem: str, now: datetime
) -> None:
    """Every CA in the file is held to what the issuer is: a chain is as good as each part of it."""
    (found,) = problems(intermediate_of("ecdsa-p256", now, **options), now)
    assert problem in found


@pytest.mark.parametrize("purposes", [["client_auth"], ["server_auth", "client_auth"], ["any_extended_key_usage"]])
def test_a_purpose_that_covers_clients_is_accepted(purposes: list[str], now: datetime) -> None:
    """An extended key usage that allows clientAuth bounds nothing that is issued here."""
    assert problems(issuer_of("ecdsa-p256", now, purposes=purposes), now) == []
    assert problems(intermediate_of("ecdsa-p256", now, purposes=purposes), now) == []


@pytest.mark.parametrize("options", [{"ends": timedelta()}, {"begins": timedelta()}, {"usages": None}])
def test_the_edges_of_what_may_sign_are_accepted(options: dict[str, Any], now: datetime) -> None:
    """The first and the last second count as valid (RFC 5280 4.1.2.5), and no key usage means any (4.2.1.3)."""
    assert problems(issuer_of("ecdsa-p256", now, **options), now) == []


@pytest.mark.parametrize(
    ("key_type", "problem"),
    [
        ("rsa-1024", "1024 bits"),
        ("rsa-2056", "2056 bits"),
        ("exponent-3", "exponent"),
        ("ecdsa-p521", "secp521r1"),
        ("secp256k1", "secp256k1"),
    ],
)
def test_a_weak_key_is_refused(key_type: str, problem: str, now: datetime) -> None:
    """An issuer's key is held to what a client's key is held to."""
    (found,) = problems(issuer_of(key_type, now), now)
    assert problem in found


@pytest.mark.parametrize(("mine", "theirs"), [("ecdsa-p256", "ecdsa-p256"), ("rsa-2048", "ed25519")])
def test_a_key_of_another_certificate_is_refused(mine: str, theirs: str, now: datetime) -> None:
    """Key and certificate belong together, or nothing starts."""
    certificate = ca_certificate(private_key(mine, "issuer"), now)
    assert problems(issuer_from((certificate,), private_key(theirs, "another")), now) == [
        "the key does not belong to the certificate"
    ]


def other_root(issuer: Issuer, now: datetime) -> tuple[x509.Certificate, ...]:
    key = private_key("ecdsa-p384", "another root")
    return (issuer.certificate, ca_certificate(key, now, common_name="acme root"))


@pytest.mark.parametrize(
    "rearrange",
    [
        pytest.param(other_root, id="another root of the same name"),
        pytest.param(lambda issuer, _: (issuer.certificate, issuer.certificate), id="itself twice"),
        pytest.param(
            lambda issuer, now: (issuer.certificate, issuer_of("ecdsa-p256", now).certificate), id="a stranger"
        ),
        pytest.param(
            lambda issuer, now: (*issuer.file_order, issuer_of("ecdsa-p256", now).certificate), id="one too many"
        ),
    ],
)
def test_a_file_that_is_no_chain_is_refused(
    rearrange: Callable[[Issuer, datetime], tuple[x509.Certificate, ...]], now: datetime
) -> None:
    """Each certificate of the file is issued by the one after it, and each that is not is named."""
    issuer = intermediate_of("ecdsa-p256", now)
    (problem,) = problems(issuer_from(rearrange(issuer, now), issuer.key), now)
    assert "not a chain" in problem


def test_a_file_with_the_root_first_is_refused(now: datetime) -> None:
    """The first certificate is the issuer: a file in the other order has a key of another certificate."""
    issuer = intermediate_of("ecdsa-p256", now)
    found = problems(issuer_from(issuer.file_order[::-1], issuer.key), now)
    assert "the key does not belong to the certificate" in found


def test_all_problems_are_named_at_once(now: datetime) -> None:
    """Whoever mends the files learns everything that is wrong with them."""
    key = private_key("rsa-1024", "issuer")
    ended, usages = timedelta(days=-1), ["digital_signature"]
    certificate = ca_certificate(key, now, common_name="etcd-ca", is_ca=False, usages=usages, ends=ended)
    found = problems(issuer_from((certificate,), private_key("ecdsa-p256")), now)
    expected = ["does not belong", "1024 bits", "expired", "CA:FALSE", "keyCertSign", "etcd"]
    assert len(found) == len(expected)
    assert all(part in problem for part, problem in zip(expected, found, strict=True))


def test_a_root_has_no_chain(now: datetime) -> None:
    """Holders of a root's certificates send nothing after them; verifiers trust the root."""
    issuer = issuer_of("ecdsa-p256", now)
    assert (issuer.chain, issuer.trust_bundle) == ((), (issuer.certificate,))


def test_an_intermediate_is_its_chain_and_its_root_is_trusted(now: datetime) -> None:
    """Holders send the intermediate; the root stays with the verifiers."""
    issuer = intermediate_of("ecdsa-p256", now)
    assert (issuer.chain, issuer.trust_bundle) == (issuer.file_order[:1], issuer.file_order[1:])


def test_an_intermediate_alone_is_what_must_be_trusted(now: datetime) -> None:
    """Without a root in the file, the last certificate of it is the best that verifiers can have."""
    issuer = intermediate_of("ecdsa-p256", now)
    alone = issuer_from((issuer.certificate,), issuer.key)
    assert problems(alone, now) == []
    assert (alone.chain, alone.trust_bundle) == ((issuer.certificate,), (issuer.certificate,))


def test_the_limits_are_those_of_the_certificate(now: datetime) -> None:
    """A decision is bounded by the issuer's own validity, and knows its key."""
    issuer = issuer_of("rsa-2048", now, begins=timedelta(days=-1), ends=timedelta(days=1))
    limits = issuer.limits
    assert (limits.not_before, limits.not_after) == (now - timedelta(days=1), now + timedelta(days=1))
    assert limits.spki_der == spki(issuer.key)
