"""Service account tokens by the cluster's own keys: a signature, our audience, the time, and one meaning."""

import base64
import hashlib
import hmac
import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from authentication.api_servers import AUDIENCE, ISSUER, token
from kubemint.authentication import Evidence
from kubemint.authentication.cluster_keys import parse_cluster_keys
from kubemint.authentication.kubernetes import KubernetesAuthenticator, KubernetesCluster
from kubemint.errors import ConfigurationError, InvalidDocument, NotAuthenticated
from kubemint.requester import Method, Requester

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RSA = rsa.generate_private_key(65537, 2048)
EC, NEW_EC = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
SUBJECT = "system:serviceaccount:shop:deployer"
PRIVATE: dict[str, Any] = {"namespace": "shop", "serviceaccount": {"name": "deployer", "uid": "u-1"}}


def public_pem(*keys: Any, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    """Give keys as kubeadm writes `sa.pub`."""
    return b"".join(key.public_key().public_bytes(Encoding.PEM, form) for key in keys)


def key_id(key: Any) -> str:
    """Name a key as kube-apiserver does."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def jwk(key: Any, **changed: Any) -> dict[str, Any]:
    """Give a public key as kube-apiserver publishes it."""
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    members: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**members, "use": "sig", "kid": key_id(key), **changed}


def jwk_set(*members: dict[str, Any]) -> bytes:
    """Give a JWK set."""
    return json.dumps({"keys": members}).encode()


def door(file: Path, content: bytes) -> KubernetesAuthenticator:
    """Give an authenticator that has these keys."""
    file.write_bytes(content)
    cluster = KubernetesCluster(name="lab", issuer=ISSUER, audience=AUDIENCE, keys_file=file)
    return KubernetesAuthenticator((cluster,))


def ask(way: KubernetesAuthenticator, shown: str, now: datetime = NOW) -> Requester | None:
    """Show a token."""
    return way.authenticate(Evidence(authorization=f"Bearer {shown}", client_certificate_der=None), now)


@pytest.fixture
def way(tmp_path: Path) -> KubernetesAuthenticator:
    """Give an authenticator that has an RSA and an EC key."""
    return door(tmp_path / "sa.pub", public_pem(RSA, EC))


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
@pytest.mark.parametrize(
    "write",
    [
        public_pem,
        lambda key: public_pem(RSA, EC, NEW_EC),
        lambda key: jwk_set(jwk(key)),
        lambda key: jwk_set(jwk(RSA), jwk(EC), {"kty": "oct", "k": "AA"}),
        lambda key: jwk_set({name: value for name, value in jwk(key).items() if name not in {"use", "kid"}}),
    ],
    ids=["sa.pub", "several in sa.pub", "JWK set", "several in a JWK set", "a JWK without a name"],
)
def test_a_token_of_the_cluster_proves_its_account(
    tmp_path: Path, key: Any, write: Callable[[Any], bytes]
) -> None:
    """Each form of the keys, and each kind of key, gives the account of the claims."""
    unnamed = write(key) == jwk_set(
        {name: value for name, value in jwk(key).items() if name not in {"use", "kid"}}
    )
    shown = signed(key, {} if unnamed else {"kid": key_id(key)})
    requester = ask(door(tmp_path / "keys", write(key)), shown)
    assert requester is not None
    assert (requester.method, requester.identity) == (Method.KUBERNETES, "kubernetes:lab:shop:deployer")
    assert dict(requester.claims) == {
        "namespace": "shop",
        "name": "deployer",
        "uid": "u-1",
        "pod": "web-0",
        "podUid": "p-1",
        "node": "node-7",
    }


def signed(key: Any, header: dict[str, Any], algorithm: str | None = None, **changed: Any) -> str:
    """Sign a projected token with a header of its own."""
    claims = jwt.decode(token(NOW, **changed), options={"verify_signature": False})
    default = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(claims, key, algorithm or default, headers=header)


def test_pkcs1_is_read_too(tmp_path: Path) -> None:
    """`RSA PUBLIC KEY` is what older tools write."""
    way = door(tmp_path / "sa.pub", public_pem(RSA, form=PublicFormat.PKCS1))
    assert ask(way, signed(RSA, {"kid": key_id(RSA)})) is not None


def test_a_larger_curve(tmp_path: Path) -> None:
    """P-384 signs with ES384."""
    way = door(tmp_path / "sa.pub", public_pem(P384))
    assert ask(way, signed(P384, {"kid": key_id(P384)}, "ES384")) is not None


def forged_with_public_key() -> str:
    """Give a token whose HMAC secret is the public key (RFC 8725 2.1)."""
    claims = jwt.decode(token(NOW), options={"verify_signature": False})
    body = jwt.encode(claims, "x" * 32, "HS256", headers={"kid": key_id(EC)}).rsplit(".", 1)[0]
    mac = hmac.digest(public_pem(EC), body.encode(), "sha256")
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "shown",
    [
        signed(NEW_EC, {"kid": key_id(NEW_EC)}),
        signed(NEW_EC, {"kid": key_id(EC)}),
        signed(EC, {"kid": key_id(RSA)}),
        signed(EC, {"kid": "x"}),
        signed(RSA, {"kid": key_id(RSA)}, "RS512"),
        signed(RSA, {"kid": key_id(RSA)}, "PS256"),
        signed(EC, {"kid": key_id(EC), "crit": ["x"], "x": 1}),
        signed(EC, {"kid": key_id(EC)})[:-4] + "AAAA",
        forged_with_public_key(),
    ],
    ids=["key", "key, kid", "kid", "no kid", "RS512", "PS256", "crit", "signature", "HS256"],
)
def test_a_signature_that_does_not_hold(way: KubernetesAuthenticator, shown: str) -> None:
    """Another key, another algorithm, and a name of the wrong key are refused."""
    with pytest.raises(NotAuthenticated, match=r"^The bearer token is not valid\.$"):
        ask(way, shown)


@pytest.mark.parametrize(
    "header", [{"alg": "none"}, {"alg": None}, {}, {"alg": []}, {"alg": "none", "typ": "JWT"}]
)
def test_an_unsigned_token_is_refused(way: KubernetesAuthenticator, header: dict[str, Any]) -> None:
    """`none` is no algorithm, with a signature part of any content."""
    _, payload, signature = signed(EC, {"kid": key_id(EC)}).split(".")
    first = base64.urlsafe_b64encode(json.dumps({**header, "kid": key_id(EC)}).encode()).rstrip(b"=").decode()
    with pytest.raises(NotAuthenticated):
        ask(way, f"{first}.{payload}.{signature}")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 8000,
        b"[]",
        b"null",
        b"\xff",
        b'{"alg": "ES256", "kid": []}',
        b'{"alg": {}}',
        b'{"kid": 1' + b"0" * 5000,
    ],
    ids=range(7),
)
def test_a_header_that_is_none(way: KubernetesAuthenticator, header: bytes) -> None:
    """A header of any content ends in a refusal and in no other error."""
    _, payload, signature = signed(EC, {"kid": key_id(EC)}).split(".")
    first = base64.urlsafe_b64encode(header).rstrip(b"=").decode()
    with pytest.raises(NotAuthenticated):
        ask(way, f"{first}.{payload}.{signature}")


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": None},
        {"aud": []},
        {"aud": "kubemint2"},
        {"aud": ["https://kubernetes.default.svc"]},
        {"aud": "KUBEMINT"},
        {"aud": {"kubemint": 1}},
        {"iat": None},
        {"iat": int(NOW.timestamp()) + 31},
        {"nbf": int(NOW.timestamp()) + 31},
        {"exp": None},
        {"exp": int(NOW.timestamp())},
        {"exp": True},
        {"sub": None},
        {"sub": "jane"},
        {"sub": "system:serviceaccount:shop:operator"},
        {"sub": "system:serviceaccount:bank:deployer"},
        {"sub": SUBJECT + "\n"},
        {"kubernetes.io": None},
        {"kubernetes.io": []},
        {"kubernetes.io": {}},
        {"kubernetes.io": {**PRIVATE, "namespace": "bank"}},
        {"kubernetes.io": {"namespace": "shop"}},
        {"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "deployer"}}},
        {"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "operator", "uid": "u-1"}}},
        {"kubernetes.io": {**PRIVATE, "pod": ["x"]}},
    ],
)
def test_claims_that_do_not_hold(way: KubernetesAuthenticator, changed: dict[str, Any]) -> None:
    """Our audience, the time, and a subject that says the same as the private claims."""
    with pytest.raises(NotAuthenticated):
        ask(way, unchecked(changed))


def unchecked(changed: dict[str, Any]) -> str:
    """Sign claims that an honest library would not write."""
    claims = jwt.decode(token(NOW), options={"verify_signature": False}) | changed
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.api_jws.encode(json.dumps(present).encode(), EC, "ES256", headers={"kid": key_id(EC)})


def test_a_token_ends_at_its_expiry_and_not_after(way: KubernetesAuthenticator) -> None:
    """The last second counts, the next does not: no leeway for the end."""
    shown = signed(EC, {"kid": key_id(EC)})
    assert ask(way, shown, NOW + timedelta(seconds=599)) is not None
    with pytest.raises(NotAuthenticated):
        ask(way, shown, NOW + timedelta(seconds=600))


def test_a_clock_that_is_a_little_behind(way: KubernetesAuthenticator) -> None:
    """A token that was made some seconds ahead of our clock holds."""
    assert ask(way, signed(EC, {"kid": key_id(EC)}), NOW - timedelta(seconds=30)) is not None


def test_one_audience_may_stand_alone(way: KubernetesAuthenticator) -> None:
    """RFC 7519 4.1.3: a string or a list, and other audiences beside ours."""
    for audience in (AUDIENCE, ["vault", AUDIENCE]):
        assert ask(way, signed(EC, {"kid": key_id(EC)}, aud=audience)) is not None


def test_new_keys_count_when_the_file_changes(tmp_path: Path) -> None:
    """A rotated key is known with the next request, and one that was taken out is not."""
    file = tmp_path / "sa.pub"
    way = door(file, public_pem(EC))
    replace(file, public_pem(NEW_EC))
    assert ask(way, signed(NEW_EC, {"kid": key_id(NEW_EC)})) is not None
    with pytest.raises(NotAuthenticated):
        ask(way, signed(EC, {"kid": key_id(EC)}))


@pytest.mark.parametrize("bad", [b"", b"{", None])
def test_a_bad_file_leaves_the_last_good_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: bytes | None
) -> None:
    """A file that is empty, broken or gone changes nothing, and the log says so."""
    file = tmp_path / "sa.pub"
    way = door(file, public_pem(EC))
    file.unlink() if bad is None else replace(file, bad)
    with caplog.at_level(logging.ERROR):
        assert ask(way, signed(EC, {"kid": key_id(EC)})) is not None
    assert caplog.records[0].getMessage() == "keys file not loaded, the last good keys stay"


def replace(file: Path, content: bytes) -> None:
    """Write another file in its place."""
    other = file.with_name("other")
    other.write_bytes(content)
    os.replace(other, file)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "holds no public key"),
        (b"garbage", "holds no public key"),
        (b'{"keys": []}', "holds no public key"),
        (b"{}", "no list of keys"),
        (b"{", "not JSON"),
        (jwk_set({"kty": "oct", "k": "AAAA"}), "holds no public key"),
        (jwk_set(jwk(EC, use="enc")), "holds no public key"),
        (jwk_set(jwk(EC, alg="HS256")), "holds no public key"),
        (jwk_set(jwk(EC, kid=1)), "holds no public key"),
        (jwk_set(jwk(EC, x=1)), "holds no public key"),
        (jwk_set(jwk(EC, x="AAAA")), "holds no public key"),
        (jwk_set(jwk(rsa.generate_private_key(65537, 1024))), "holds no public key"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "a weak one"),
        (public_pem(ed25519.Ed25519PrivateKey.generate()), "does not sign with"),
        (EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "holds a private key"),
        (public_pem(EC) + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no public key"),
        (b" " * 1024 * 1024 + b"{}", "at most 1048576 octets"),
        (b" " * 1024 * 1024 + public_pem(EC), "at most 1048576 octets"),
        (public_pem(*[EC] * 101), "at most 100 keys"),
        (jwk_set(jwk(EC, key_ops=["deriveKey"])), "holds no public key"),
        (jwk_set(jwk(RSA, alg="RS512")), "holds no public key"),
        (None, "cannot be read"),
    ],
    ids=range(22),
)
def test_a_file_without_good_keys_stops_the_start(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """With the file's path and what is wrong with it."""
    file = tmp_path / "sa.pub"
    if content is not None:
        file.write_bytes(content)
    cluster = KubernetesCluster(name="lab", issuer=ISSUER, audience=AUDIENCE, keys_file=file)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        KubernetesAuthenticator((cluster,))
    assert str(file) in str(caught.value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b'{"keys": [' + tail))
def test_garbage_is_no_key(garbage: bytes) -> None:
    """Any bytes end in our error and nothing else."""
    with pytest.raises(InvalidDocument):
        parse_cluster_keys(garbage)
