"""Key sets: which keys count, and for what."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from jwt.utils import base64url_encode, to_base64url_uint

from authentication.issuers import IssuerKey, key_set, new_key
from kubemint.authentication.jwks import KEY_SET_MAX_OCTETS, parse_key_set
from kubemint.errors import InvalidDocument

RSA, EC, ED = new_key("rsa", "RS256"), new_key("ec", "ES256"), new_key("ed", "EdDSA")
ALL = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "none")


def fitting(*keys: IssuerKey | dict[str, Any], key_id: str | None = None) -> set[str]:
    """Name the algorithms for which a key set has a key."""
    found = parse_key_set(key_set(*keys))
    return {algorithm for algorithm in ALL if found.find(key_id, algorithm) is not None}


@pytest.mark.parametrize("key", [RSA, EC, ED, new_key("p384", "ES384"), new_key("p521", "ES512")])
def test_a_key_is_found_by_its_id_and_algorithm(key: IssuerKey) -> None:
    """A key counts for its algorithm, and is the key that the issuer showed."""
    found = parse_key_set(key_set(key)).find(key.key_id, key.algorithm)
    assert found == key.private.public_key()
    assert fitting(key, key_id=key.key_id) == {key.algorithm}
    assert fitting(key, key_id="another") == set()


def test_without_alg_a_key_counts_for_what_its_kind_can() -> None:
    """The kind and the curve of a key say which algorithms fit; none is symmetric."""
    assert fitting(RSA.jwk(alg=None)) == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    assert fitting(EC.jwk(alg=None)) == {"ES256"}
    assert fitting(ED.jwk(alg=None)) == {"EdDSA"}


@pytest.mark.parametrize(
    "jwk",
    [
        new_key("small", "RS256", bits=1024).jwk(),
        RSA.jwk(use="enc"),
        RSA.jwk(use=None, key_ops=["encrypt"]),
        RSA.jwk(key_ops="verify"),
        RSA.jwk(alg="ES256"),
        RSA.jwk(alg="RSA-OAEP"),
        RSA.jwk(alg=["RS256"]),
        RSA.jwk(e=to_base64url_uint(2**80 + 1).decode()),
        RSA.jwk(n=to_base64url_uint(2**9000 + 1).decode()),
        RSA.jwk(n=None),
        RSA.jwk(n=7),
        RSA.jwk(n="!"),
        RSA.jwk(kid=7),
        RSA.jwk(kid="k" * 2000),
        RSA.jwk(kty="EC"),
        RSA.jwk(kty=["RSA"]),
        RSA.jwk(kty="oct", k=base64url_encode(b"s" * 32).decode()),
        {"kty": "oct", "k": base64url_encode(b"s" * 32).decode(), "kid": "rsa", "alg": "HS256"},
        EC.jwk(crv="secp256k1"),
        EC.jwk(crv="P-384"),
        EC.jwk(y=EC.jwk()["x"]),
        ED.jwk(crv="Ed448"),
        ED.jwk(x="AAAA"),
    ],
    ids=lambda jwk: " ".join(
        f"{name}={str(value)[:9]}" for name, value in jwk.items() if name not in {"kid", "n", "x", "y"}
    ),
)
def test_what_cannot_verify_is_left_out(jwk: dict[str, Any]) -> None:
    """A weak, foreign, symmetric or broken key is as if it were not there, and takes no other with it."""
    other = new_key("other", "ES384")
    assert fitting(jwk) == set()
    assert fitting(jwk, other) == {"ES384"}


def test_which_of_two_is_meant_is_not_guessed() -> None:
    """Without a key id exactly one key must fit; nor do two keys of one id count."""
    one, two = new_key("one"), new_key("two")
    assert fitting(one, ED) == {"ES256", "EdDSA"}
    assert fitting(one, two) == set()
    assert fitting(one, two, key_id="two") == {"ES256"}
    assert fitting(one, new_key("one"), key_id="one") == set()


def test_a_private_key_is_read_as_its_public_half() -> None:
    """An issuer that shows too much is no reason to hold its private key."""
    private = rsa.generate_private_key(65537, 2048)
    shown = {**RSAAlgorithm.to_jwk(private, as_dict=True), "key_ops": ["verify"]}
    found = parse_key_set(key_set(shown)).find(None, "RS256")
    assert isinstance(found, rsa.RSAPublicKey)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        key_set(*[EC] * 101),
        b'{"keys": []}'.ljust(KEY_SET_MAX_OCTETS + 1),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_key_set(text: bytes) -> None:
    """What is no key set, or more than an honest one, is refused as a whole."""
    with pytest.raises(InvalidDocument):
        parse_key_set(text)


def test_an_empty_set_is_a_set() -> None:
    """An issuer that says it has no keys is believed."""
    assert parse_key_set(b'{"keys": [1, null, "key", []]}').keys == ()


@given(
    st.dictionaries(
        st.sampled_from(["kty", "n", "e", "crv", "x", "y", "kid", "use", "alg", "key_ops"]),
        st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB", "", "é", 1, None, [], {}]),
    )
)
def test_garbage_is_no_key(jwk: dict[str, Any]) -> None:
    """Whatever stands in a key, reading it raises nothing."""
    assert fitting(jwk) == set()
