"""Forged, replaced, malformed and oversized tokens: the answer is one refusal, and never a fault."""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import HMACAlgorithm
from jwt.utils import base64url_encode

from authentication.issuers import IssuerKey, unsigned
from authentication.oidc_door import KEY, LAB_KEY, NOW, RSA_KEY, STRANGER, Door, good
from kubemint.authentication import Evidence, authenticate
from kubemint.errors import NotAuthenticated


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """Give two issuers."""
    return Door(tmp_path)


def hmac_token(secret: bytes, claims: dict[str, Any], **header: Any) -> str:
    """Sign as a forger does who knows the public key alone."""
    content = unsigned({"alg": "HS256", "typ": "JWT", **header}, claims)
    signature = HMACAlgorithm(HMACAlgorithm.SHA256).sign(content.encode(), secret)
    return f"{content}.{base64url_encode(signature).decode()}"


def public_forms(key: IssuerKey) -> list[bytes]:
    """Give the ways in which a public key may be taken for a secret."""
    public = key.private.public_key()
    return [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(key.jwk()).encode(),
        b"",
    ]


def test_the_public_key_is_no_secret(door: Door) -> None:
    """HS256 with a public key as the secret, under the key's id or none, is refused."""
    for key in (KEY, RSA_KEY):
        for secret in public_forms(key):
            for header in ({"kid": key.key_id}, {}):
                door.refuses(hmac_token(secret, good(), **header))


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", None, 7, ["ES256"], {}, "HS256", "ES256K"]
)
def test_no_algorithm_of_the_tokens_own(door: Door, algorithm: Any) -> None:
    """`none` and whatever else is not configured is refused, with a signature and without."""
    assert door.ask(unsigned({"alg": algorithm, "kid": "one"}, good()) + ".") is None
    door.refuses(KEY.signed({"alg": algorithm, "kid": "one"}, good()))


FORGERIES: dict[str, Callable[[], str]] = {
    "another key under the id of the issuer's": lambda: STRANGER.token(good()),
    "the key of another issuer, with its id": lambda: LAB_KEY.token(good()),
    "the key of another issuer, with an id of ours": lambda: LAB_KEY.token(good(), kid="one"),
    "a signature that is cut": lambda: KEY.token(good())[:-4],
    "an algorithm of another kind than the key's": lambda: RSA_KEY.token(good(), kid="one"),
    "another algorithm than the key's alg": lambda: replace(RSA_KEY, algorithm="PS256").token(good()),
    "an unknown key id": lambda: KEY.token(good(), kid="two"),
    "an empty key id": lambda: KEY.token(good(), kid=""),
    "a key id that is a number": lambda: KEY.token(good(), kid=1),
    "a key id that is a list": lambda: KEY.token(good(), kid=["one"]),
    "a key id that is null": lambda: KEY.signed(b'{"alg": "ES256", "kid": null}', good()),
    "a key that the token brings": lambda: STRANGER.token(good(), kid=None, jwk=STRANGER.jwk()),
    "an address that the token brings": lambda: STRANGER.token(
        good(), kid="evil", jku="https://evil.example/jwks"
    ),
    "a chain that the token brings": lambda: STRANGER.token(good(), x5u="https://evil.example/x", x5c=["AAAA"]),
    "a critical extension": lambda: KEY.token(good(), crit=["exp"]),
    "an empty list of critical extensions": lambda: KEY.token(good(), crit=[]),
    "an unencoded payload": lambda: KEY.token(good(), b64=False),
    "a logout token": lambda: KEY.token(good(), typ="logout+jwt"),
    "a proof of possession": lambda: KEY.token(good(), typ="dpop+jwt"),
    "a type that is no text": lambda: KEY.token(good(), typ=7),
    "a header that names alg twice": lambda: KEY.signed(b'{"alg": "ES256", "alg": "ES256", "kid": "one"}', good()),
    "a header that names kid twice": lambda: KEY.signed(b'{"alg": "ES256", "kid": "x", "kid": "one"}', good()),
    "a header that is a list": lambda: KEY.signed(b"[]", good()),
    "a header that is no JSON": lambda: KEY.signed(b"alg", good()),
    "half of a surrogate pair": lambda: KEY.token(json.dumps(good())[:-1].encode() + b', "a": "\\ud800"}'),
    "a number that loses digits": lambda: KEY.token(good(a=2**53)),
    "depth": lambda: KEY.token(json.dumps(good())[:-1].encode() + b', "a": ' + b"[" * 40 + b"]" * 40 + b"}"),
    "claims without end": lambda: KEY.token(good(a="a" * 8200)),
    "another audience": lambda: KEY.token(good(aud="evil")),
    "an audience that begins like ours": lambda: KEY.token(good(aud="kubemint.evil")),
    "a list of other audiences": lambda: KEY.token(good(aud=["evil", "Kubemint"])),
    "no other audiences at all": lambda: KEY.token(good(aud=[])),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_forgeries(door: Door, forge: Callable[[], str]) -> None:
    """Whatever is wrong with a token of ours, the answer is the same, and never a fault."""
    door.refuses(forge())


UNREADABLE: dict[str, Callable[[], str]] = {
    "no signature": lambda: unsigned({"alg": "ES256", "kid": "one"}, good()) + ".",
    "a payload that names sub twice": lambda: KEY.token(json.dumps(good())[:-1].encode() + b', "sub": "root"}'),
    "a payload that names iss twice": lambda: KEY.token(b'{"iss": "x", ' + json.dumps(good())[1:].encode()),
    "a member twice, deep down": lambda: KEY.token(json.dumps(good())[:-1].encode() + b', "a": {"b": 1, "b": 2}}'),
    "NaN": lambda: KEY.token(json.dumps(good())[:-1].encode() + b', "a": NaN}'),
    "a number without end": lambda: KEY.token(json.dumps(good())[:-1].encode() + b', "a": 1e999}'),
}


@pytest.mark.parametrize("forge", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_has_two_meanings_is_nobodys(door: Door, forge: Callable[[], str]) -> None:
    """A token that two readers could read in two ways names no issuer, and proves nothing to the service."""
    token = forge()
    assert door.ask(token) is None
    with pytest.raises(NotAuthenticated):
        authenticate(
            Evidence(authorization=f"Bearer {token}", client_certificate_der=None), [door.authenticator], NOW
        )


@pytest.mark.parametrize("name", ["aud", "exp", "sub", "iat", "nbf", "jti"])
@pytest.mark.parametrize("value", [None, True, [], {}, [[]], "soon", "", -1, 1e300, [7], {"a": 1}])
def test_claims_of_another_type(tmp_path: Path, name: str, value: Any) -> None:
    """A standard claim that is missing, or of a type or value that it cannot have, is refused and no fault."""
    door = Door(tmp_path, single_use=True)
    fine = (name, value) in (("nbf", None), ("nbf", -1), ("iat", -1), ("sub", "soon"), ("jti", "soon"))
    token = KEY.token(good(**{"jti": "1", name: value}))
    if fine:
        assert door.ask(token) is not None
    else:
        door.refuses(token)


def test_null_is_no_value(door: Door) -> None:
    """A claim that is null is as if it were missing."""
    for name in ("exp", "iat", "iss", "aud", "sub", "nbf"):
        payload = json.dumps({**good(), name: None}).encode()
        if name == "iss":
            assert door.ask(KEY.token(payload)) is None
        else:
            door.refuses(KEY.token(payload))


@pytest.mark.parametrize("parts", ["token", "dots", "one dot", "no dot"])
def test_a_megabyte_is_not_read(door: Door, parts: str, caplog: pytest.LogCaptureFixture) -> None:
    """Above 16 KiB nothing is parsed, whatever it is."""
    token = {
        "token": KEY.token(good(a="a" * 1_000_000)),
        "dots": "." * 1_000_000,
        "one dot": "a." + "a" * 1_000_000,
        "no dot": "a" * 1_000_000,
    }[parts]
    with caplog.at_level(logging.INFO):
        door.refuses(token)
    assert caplog.records[0].reason == "it is too large"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "HS256"}, "its algorithm is not allowed"),
        ({"crit": ["exp"]}, "its header has critical extensions"),
        ({"b64": True}, "its header has critical extensions"),
        ({"kid": 1}, "its key id is no string"),
        ({"kid": "two"}, "no key of the issuer fits its key id and algorithm"),
        ({"typ": "logout+jwt"}, "it is a token of another type"),
    ],
    ids=str,
)
def test_a_header_is_judged_before_the_signature(
    door: Door, caplog: pytest.LogCaptureFixture, header: dict[str, Any], reason: str
) -> None:
    """What is wrong with a header is found by its own check, and not by luck further on."""
    with caplog.at_level(logging.INFO):
        door.refuses(KEY.token(good(), **header))
    assert [record.reason for record in caplog.records] == [reason]


GOOD_TOKEN = KEY.token(good())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, len(GOOD_TOKEN) - 1), character=st.characters(max_codepoint=255))
def test_a_token_with_one_character_changed(door: Door, position: int, character: str) -> None:
    """Not one character of a token can be another; two spellings of one signature are two tokens."""
    changed = GOOD_TOKEN[:position] + character + GOOD_TOKEN[position + 1 :]
    if changed.strip(" ") == GOOD_TOKEN:
        return
    with suppress(NotAuthenticated):
        assert door.ask(changed) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "cty"]), JSON),
    claims=st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "aud", "sub", "jti", "x"]), JSON),
)
def test_any_json_in_a_signed_token(door: Door, header: dict[str, Any], claims: dict[str, Any]) -> None:
    """Whatever an issuer signs, the answer is a requester or a refusal."""
    with suppress(NotAuthenticated):
        assert door.ask(KEY.token({**good(), **claims}, **header)) is not None
