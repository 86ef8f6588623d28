"""Tokens of OpenID Connect issuers: what a good one proves, to whom it counts, and for how long."""

import hashlib
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from authentication.issuers import claims_of, key_set, new_key
from authentication.oidc_door import CORP, KEY, LAB, LAB_KEY, NOW, SECONDS, STRANGER, Door, good
from kubemint.authentication.oidc import OidcAuthenticator, OidcIssuer
from kubemint.errors import ConfigurationError
from kubemint.policy.claims import ClaimRule, Pattern
from kubemint.requester import Method, Requester, SingleUse


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """Give two issuers."""
    return Door(tmp_path)


def test_a_good_token_proves_who_asks(door: Door) -> None:
    """The requester is named after the issuer and the subject, and brings the claims that say who asks."""
    about_the_token = {"jti": "1", "sid": "s", "nonce": "n", "at_hash": "a", "c_hash": "c", "auth_time": SECONDS}
    token = KEY.token(good(groups=["dev", "ops"], kubernetes={"namespace": "shop"}, **about_the_token))
    requester = door.ask(token)
    assert requester == Requester(
        method=Method.OIDC,
        authority="corp",
        identity="oidc:corp:jane",
        evidence=f"token sha256:{hashlib.sha256(token.encode()).hexdigest()[:16]}",
        claims={
            "iss": CORP,
            "aud": "kubemint",
            "sub": "jane",
            "groups": ["dev", "ops"],
            "kubernetes": {"namespace": "shop"},
        },
    )
    with pytest.raises(TypeError):
        requester.claims["sub"] = "root"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer kubemint_abc",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer a.b.c",
        "Bearer W10.W10.",
        "Bearer é.é.é",
        "Bearer a.b.c=",
        "Token " + KEY.token(good()),
    ],
)
def test_what_is_no_token_of_ours_is_somebody_elses_to_judge(door: Door, header: str | None) -> None:
    """No bearer token, or none with three parts and one of our issuers in it, is no evidence of this kind."""
    assert door.show(header) is None


def test_what_nobody_can_read_is_not_ours(door: Door) -> None:
    """A payload nested without end names no issuer, and is no fault."""
    for end in (b"[" * 5000, b"[" * 5000 + b"]" * 5000 + b"}"):
        token = KEY.token(json.dumps(good())[:-1].encode() + b', "a": ' + end)
        assert door.ask(token) is None


@pytest.mark.parametrize(
    "issuer",
    [
        CORP + "/",
        CORP.upper(),
        "http://corp.example",
        CORP + ".evil.example",
        "https://evil.example",
        "",
        7,
        [CORP],
        {},
        True,
        None,
    ],
)
def test_another_issuer_is_not_ours(door: Door, issuer: Any) -> None:
    """The issuer is compared character by character, a slash at the end included; another one proves nothing."""
    for key in (KEY, STRANGER):
        assert door.ask(key.token(good(iss=issuer))) is None


def test_the_scheme_is_read_in_any_case(door: Door) -> None:
    """RFC 9110 11.1: the scheme's case is free."""
    for scheme in ("bearer", "BEARER", "Bearer "):
        assert door.show(f"{scheme} {KEY.token(good())}") is not None


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
)
def test_each_algorithm(tmp_path: Path, algorithm: str) -> None:
    """Every asymmetric algorithm verifies, and does not where the configuration leaves it out."""
    key = new_key("k", algorithm)
    for allowed, accepted in (({}, True), ({"algorithms": ("ES512",)}, False)):
        door = Door(tmp_path, **allowed)
        (tmp_path / "corp.json").write_bytes(key_set(key))
        if accepted:
            assert door.ask(key.token(good())) is not None
        else:
            door.refuses(key.token(good()))


@pytest.mark.parametrize(
    ("name", "seconds", "accepted"),
    [
        ("exp", -29, True),
        ("exp", -30, False),
        ("exp", -31, False),
        ("exp", -29.5, True),
        ("nbf", 30, True),
        ("nbf", 31, False),
        ("nbf", 30.5, False),
        ("iat", 30, True),
        ("iat", 31, False),
    ],
)
def test_times(door: Door, name: str, seconds: float, accepted: bool) -> None:
    """A token holds from its nbf to its exp, half a minute of leeway on both sides; issued tomorrow is forged."""
    times = {"iat": SECONDS - 600, "nbf": SECONDS - 600, name: SECONDS + seconds}
    if accepted:
        assert door.ask(KEY.token(good(**times))) is not None
    else:
        door.refuses(KEY.token(good(**times)))


def test_the_same_token_later(door: Door) -> None:
    """A token that held does not for ever: nothing remembers that it did."""
    token = KEY.token(good())
    assert door.ask(token) is not None
    door.refuses(token, NOW + timedelta(minutes=11))
    assert door.ask(token) is not None


def test_no_leeway_is_none(tmp_path: Path) -> None:
    """Without leeway the second of the expiry is too late."""
    door = Door(tmp_path, leeway=timedelta(0))
    assert door.ask(KEY.token(good(exp=SECONDS + 1))) is not None
    door.refuses(KEY.token(good(exp=SECONDS)))


def test_one_of_several_audiences_is_enough(door: Door) -> None:
    """A token may be for several, and the configuration may accept several."""
    for audience in ("kubemint", "other", ["evil", "other"]):
        assert door.ask(KEY.token(good(aud=audience))) is not None


def test_without_a_key_id_exactly_one_key_must_fit(door: Door, tmp_path: Path) -> None:
    """One ES256 key: it is meant. Two: neither is."""
    assert door.ask(KEY.token(good(), kid=None)) is not None
    (tmp_path / "corp.json").write_bytes(key_set(KEY, new_key("two")))
    door.refuses(KEY.token(good(), kid=None))
    assert door.ask(KEY.token(good())) is not None


def test_a_claim_comes_through_as_it_is(door: Door) -> None:
    """What a claim holds is for the policy to judge: newlines, wildcards and NUL are not touched here."""
    odd = "main\n*{claims.sub}\x00\u202e,O=admins"
    requester = door.ask(KEY.token(good(ref=odd, nested={"a": [odd, 1.5, None, True]})))
    assert (requester.claims["ref"], requester.claims["nested"]) == (odd, {"a": [odd, 1.5, None, True]})


@pytest.mark.parametrize("subject", ["a\nb", "a\x00", "a\u202eb", "\u200b", "a\u2028b", "", "s" * 1025, "\x7f"])
def test_an_identity_can_be_seen(door: Door, subject: str) -> None:
    """Who asks has a name that is text, neither empty nor without end, and without what does not show."""
    door.refuses(KEY.token(good(sub=subject)))
    assert door.ask(KEY.token(good(sub="s" * 1024))).identity == "oidc:corp:" + "s" * 1024


def test_the_same_subject_of_another_issuer_is_another(door: Door) -> None:
    """Each issuer has its own jane."""
    lab = door.ask(LAB_KEY.token(claims_of(LAB, NOW)))
    assert lab.identity == "oidc:lab:jane"
    door.refuses(KEY.token(claims_of(LAB, NOW)))


def test_a_required_claim(tmp_path: Path) -> None:
    """A token without what the configuration requires proves nothing."""
    rule = ClaimRule(path="org.id", wanted=(Pattern("acme"), Pattern("acme-*")))
    door = Door(tmp_path, required_claims=(rule, ClaimRule(path="admin", wanted=(False,))))
    assert door.ask(KEY.token(good(org={"id": "acme-lab"}, admin=False))) is not None
    for claims in (
        {},
        {"org": {"id": "acme"}},
        {"org": {"id": "evil"}, "admin": False},
        {"org": "acme", "admin": 0},
    ):
        door.refuses(KEY.token(good(**claims)))


def test_another_claim_may_name_who_asks(tmp_path: Path) -> None:
    """With the e-mail address as the name, the issuer must not say that it is unverified."""
    door = Door(tmp_path, identity_claim="email")
    for verified in ({}, {"email_verified": True}):
        assert (
            door.ask(KEY.token(good(email="jane@example.com", **verified))).identity
            == "oidc:corp:jane@example.com"
        )
    door.refuses(KEY.token(good()))
    for unverified in (False, "true", 1):
        door.refuses(KEY.token(good(email="jane@example.com", email_verified=unverified)))
    assert (
        Door(tmp_path, identity_claim="user.id").ask(KEY.token(good(user={"id": "7"}))).identity == "oidc:corp:7"
    )


def test_an_address_that_nobody_has_verified(tmp_path: Path) -> None:
    """What somebody typed is no claim: rules and names are made of what the issuer has verified."""
    door = Door(tmp_path)
    for verified, kept in ((True, True), (False, False), ("false", False), (None, True)):
        said = {} if verified is None else {"email_verified": verified}
        requester = door.ask(KEY.token(good(email="boss@example.com", **said)))
        assert requester is not None
        assert ("email" in requester.claims) == kept


def test_a_token_that_counts_once(tmp_path: Path) -> None:
    """Where it is configured, the requester says by which id; a token without one is refused."""
    door = Door(tmp_path, single_use=True)
    requester = door.ask(KEY.token(good(jti="7f")))
    assert requester.single_use == SingleUse(token_id="7f")
    assert "jti" not in requester.claims
    for token_id in (None, "", "\n", "j" * 1025):
        door.refuses(KEY.token(good(jti=token_id)))
    assert Door(tmp_path).ask(KEY.token(good(jti="7f"))).single_use is None


def test_the_log_says_why_and_not_what(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """Why a token does not hold is logged with the issuer's name; the token and what it says are not."""
    token = KEY.token(good(exp=SECONDS - 900, sub="somebody"))
    with caplog.at_level(logging.INFO):
        door.refuses(token)
    (record,) = caplog.records
    assert (record.levelname, record.issuer, record.reason) == ("INFO", "corp", "it has expired")
    logged = repr(vars(record))
    assert not any(part in logged for part in (*token.split("."), "somebody"))


def test_two_issuers_of_one_address(tmp_path: Path) -> None:
    """One address under two names could not tell whose token it is."""
    (tmp_path / "keys.json").write_bytes(key_set(KEY))
    issuers = [
        OidcIssuer(name=name, issuer=CORP, audiences=(name,), keys_file=tmp_path / "keys.json") for name in "ab"
    ]
    with pytest.raises(ConfigurationError):
        OidcAuthenticator(issuers)
