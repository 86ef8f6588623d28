"""The issuer of a token that nothing has proven: read strictly, or not at all."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authentication.api_servers import ISSUER, token
from kubemint.authentication.unverified import TOKEN_MAX_OCTETS, unverified_claims, unverified_issuer

GOOD = token(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")


def encoded(payload: Any) -> str:
    """Encode a payload as a JWT has it."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_the_issuer_of_a_token() -> None:
    """A JWT says who made it, as far as anybody may believe."""
    assert unverified_issuer(GOOD) == ISSUER
    assert (unverified_claims(GOOD) or {})["iss"] == ISSUER


PAYLOADS = [
    [],
    ISSUER,
    {},
    {"iss": None},
    {"iss": ""},
    {"iss": [ISSUER]},
    b'{"iss": "a", "iss": "b"}',
    b"[" * 5000,
    b"\xff",
    b'{"iss": NaN}',
]
SHAPES = [
    "",
    "..",
    "a.b.c",
    f"{HEADER}.{PAYLOAD}",
    f"{HEADER}.{PAYLOAD}.",
    f"{GOOD}.x",
    f" {GOOD}",
    f"{GOOD}\n",
    f"{HEADER}.{PAYLOAD}=.{SIGNATURE}",
    f"{HEADER}.{PAYLOAD}+/.{SIGNATURE}",
]


@pytest.mark.parametrize("shown", SHAPES + [f"{HEADER}.{encoded(payload)}.{SIGNATURE}" for payload in PAYLOADS])
def test_what_is_no_jwt_names_no_issuer(shown: str) -> None:
    """Other than three parts, another alphabet, no object, no text, and a member that is there twice."""
    assert unverified_issuer(shown) is None


def test_a_token_that_is_too_long_is_not_read() -> None:
    """At the limit it is, beyond it not."""
    room = TOKEN_MAX_OCTETS - len(GOOD)
    assert unverified_issuer(GOOD + "A" * room) == ISSUER
    assert unverified_issuer(GOOD + "A" * (room + 1)) is None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: f"{HEADER}.{encoded(raw)}.{SIGNATURE}"))
def test_garbage_names_no_issuer(garbage: str) -> None:
    """Any text ends in None and in no error."""
    assert unverified_issuer(garbage) is None
