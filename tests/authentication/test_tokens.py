"""Bearer tokens: who holds one is who its name says, and nothing near a token is one."""

import hashlib
import json
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path, PosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubemint.authentication import Evidence
from kubemint.authentication.tokens import (
    TOKEN_PREFIX,
    TokenAuthenticator,
    load_tokens,
    new_token,
    save_tokens,
)
from kubemint.errors import ConfigurationError, NotAuthenticated
from kubemint.requester import Method, Requester

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CI_TOKEN, CI = new_token("ci", NOW + timedelta(days=1))
CD_TOKEN, CD = new_token("cd", NOW + timedelta(days=1))
LOGGER = "kubemint.authentication.tokens"


class Clock:
    """A monotonic clock that is moved by hand."""

    seconds = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.seconds


class Door:
    """A tokens file, the clock, and who looks the tokens up."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clock = Clock()
        save_tokens(file, (CI,))
        self.authenticator = TokenAuthenticator(file, self.clock)

    def knows(self, token: str, now: datetime = NOW) -> bool:
        """Tell whether a token proves its holder."""
        try:
            return self.ask(f"Bearer {token}", now) is not None
        except NotAuthenticated:
            return False

    def ask(self, header: str | None, now: datetime = NOW) -> Requester | None:
        """Show an Authorization header."""
        return self.authenticator.authenticate(Evidence(authorization=header, client_certificate_der=None), now)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """Give a door that knows the token `ci`."""
    return Door(tmp_path / "tokens.yaml")


def test_a_token_proves_its_name(door: Door) -> None:
    """Who shows a token is the requester of its name, and the evidence tells which token, not the token."""
    requester = door.ask(f"Bearer {CI_TOKEN}")
    assert requester == Requester(
        method=Method.TOKEN, authority="ci", identity="token:ci", evidence=f"token sha256:{CI.sha256[:16]}"
    )
    assert CI_TOKEN not in repr(requester)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(door: Door, scheme: str) -> None:
    """The scheme's case says nothing (RFC 9110 11.1)."""
    assert door.ask(f"{scheme} {CI_TOKEN}") is not None


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="a space"),
        pytest.param("Bearer", id="scheme alone"),
        pytest.param("Bearer ", id="scheme and a space"),
        pytest.param(CI_TOKEN, id="no scheme"),
        pytest.param(f"Basic {CI_TOKEN}", id="Basic"),
        pytest.param(f"Negotiate {CI_TOKEN}", id="Negotiate"),
        pytest.param(f"Bearer{CI_TOKEN}", id="no space"),
        pytest.param(f"Bearer\t{CI_TOKEN}", id="tab"),
        pytest.param(f"Bearer {CD_TOKEN}", id="another token"),
        pytest.param(f"Bearer {CI_TOKEN[:-1]}", id="cut off"),
        pytest.param(f"Bearer {CI_TOKEN}x", id="a letter more"),
        pytest.param(f"Bearer {CI_TOKEN.upper()}", id="another case"),
        pytest.param(f"Bearer {CI_TOKEN.removeprefix(TOKEN_PREFIX)}", id="no prefix"),
        pytest.param(f"Bearer {CI_TOKEN} {CI_TOKEN}", id="twice"),
        pytest.param(f"Bearer {CI_TOKEN}, Bearer {CD_TOKEN}", id="a list"),
        pytest.param(f"Bearer {CI.sha256}", id="its hash"),
        pytest.param("Bearer ci", id="its name"),
        pytest.param("Bearer ñöñ-ascii-üñï", id="no ASCII"),
        pytest.param("Bearer \udcff\udc80", id="no Unicode"),
        pytest.param("Bearer " + "x" * 1024 * 1024, id="a megabyte"),
        pytest.param("\0", id="NUL"),
    ],
)
def test_anything_else_is_refused(door: Door, header: str) -> None:
    """Another scheme, another token, a part of one, its hash, garbage: not authenticated, and never None."""
    with pytest.raises(NotAuthenticated) as fault:
        door.ask(header)
    assert fault.value.message == "The bearer token is not valid."


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.text(st.characters()))
def test_garbage_is_refused_and_nothing_else(door: Door, header: str) -> None:
    """Whatever stands in the header, it is not authenticated, and no other error."""
    with pytest.raises(NotAuthenticated):
        door.ask(header)


def test_no_header_is_somebody_elses_to_judge(door: Door) -> None:
    """Without an Authorization header there is no evidence of this kind."""
    assert door.ask(None) is None


def test_a_token_ends_at_its_expiry(door: Door) -> None:
    """A token is good up to the moment before its expiry."""
    assert door.knows(CI_TOKEN, CI.expires - timedelta(microseconds=1))
    assert not door.knows(CI_TOKEN, CI.expires)
    assert not door.knows(CI_TOKEN, CI.expires + timedelta(days=365))


def test_new_tokens_are_long_and_never_the_same() -> None:
    """A token has 256 bits of chance and a prefix by which scanners know it."""
    tokens = {new_token("ci", NOW)[0] for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert token.startswith(TOKEN_PREFIX)
        assert len(token) - len(TOKEN_PREFIX) == 43  # 32 octets in base64url


def test_only_the_hash_is_kept(door: Door) -> None:
    """The file holds a name, an expiry and the SHA-256; not the token, and no part of it."""
    text = door.file.read_text()
    assert CI_TOKEN not in text
    assert CI_TOKEN.removeprefix(TOKEN_PREFIX)[:8] not in text
    (kept,) = json.loads(text)["tokens"]
    assert kept == {
        "name": "ci",
        "sha256": hashlib.sha256(CI_TOKEN.encode()).hexdigest(),
        "expires": CI.expires.isoformat(),
    }
    assert CI_TOKEN not in repr(CI)


def test_the_file_is_its_owners_alone(door: Door) -> None:
    """The file has mode 0600, though the old one and the umask were wider, and nothing is left beside it."""
    door.file.chmod(0o644)
    before = os.umask(0)
    try:
        save_tokens(door.file, (CI, CD))
    finally:
        os.umask(before)
    assert stat.S_IMODE(door.file.stat().st_mode) == 0o600
    assert list(door.file.parent.iterdir()) == [door.file]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Saving and loading give the same records, none included."""
    for records in ((), (CI,), (CI, CD)):
        save_tokens(tmp_path / "tokens.yaml", records)
        assert load_tokens(tmp_path / "tokens.yaml") == records


def test_a_new_token_works_within_a_second(door: Door) -> None:
    """A token that is added to the file is known once a second has passed."""
    assert not door.knows(CD_TOKEN)
    save_tokens(door.file, (CI, CD))
    door.clock.seconds += 1.0
    assert door.knows(CD_TOKEN)
    assert door.knows(CI_TOKEN)


def test_a_deleted_token_stops_within_a_second(door: Door) -> None:
    """A token that is taken out of the file proves nothing once a second has passed."""
    assert door.knows(CI_TOKEN)
    save_tokens(door.file, (CD,))
    door.clock.seconds += 1.0
    assert not door.knows(CI_TOKEN)
    assert door.knows(CD_TOKEN)


def test_the_file_is_not_looked_at_for_each_request(door: Door) -> None:
    """Between two looks at the file there is a second."""
    door.knows(CI_TOKEN)
    save_tokens(door.file, (CD,))
    door.clock.seconds += 0.9
    assert door.knows(CI_TOKEN)
    door.clock.seconds += 0.2
    assert not door.knows(CI_TOKEN)


@pytest.mark.parametrize(
    "content", [b"{", b"tokens: []", b"\xff", b""], ids=["torn", "no kind", "no UTF-8", "empty"]
)
def test_a_broken_file_keeps_the_old_tokens(door: Door, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """While the file cannot be read, the tokens of before count, and an error says so; mended, it counts again."""
    door.knows(CI_TOKEN)
    door.file.write_bytes(content)
    door.clock.seconds += 1.0
    with caplog.at_level(logging.ERROR, LOGGER):
        assert door.knows(CI_TOKEN)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "tokens.yaml" in vars(caplog.records[0])["problem"]
    save_tokens(door.file, (CD,))
    door.clock.seconds += 1.0
    assert door.knows(CD_TOKEN)
    assert not door.knows(CI_TOKEN)


def test_a_file_that_is_gone_keeps_the_old_tokens(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was removed is an error in the log; it does not lock everybody out."""
    door.knows(CI_TOKEN)
    door.file.unlink()
    door.clock.seconds += 1.0
    with caplog.at_level(logging.ERROR, LOGGER):
        assert door.knows(CI_TOKEN)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"kind": "Other"}, "kind"),
        ({"apiVersion": "kubemint/v2"}, "apiVersion"),
        ({"extra": 1}, "extra"),
        ({"tokens": None}, "tokens"),
        ({"tokens": [{"name": "ci", "sha256": "00", "expires": "2026-11-20T12:00:00Z"}]}, r"tokens\.0\.sha256"),
        ({"tokens": [{"name": "CI", "sha256": "0" * 64, "expires": "2026-11-20T12:00:00Z"}]}, r"tokens\.0\.name"),
        ({"tokens": [{"name": "ci", "sha256": "0" * 64, "expires": "soon"}]}, r"tokens\.0\.expires"),
        ({"tokens": [{"name": "ci", "sha256": "0" * 64}]}, r"tokens\.0\.expires"),
        ({"tokens": [{"name": "ci", "token": CI_TOKEN}]}, r"tokens\.0\.token"),
    ],
)
def test_a_mistake_in_the_file_stops_the_start(tmp_path: Path, document: dict[str, object], path: str) -> None:
    """A file with a mistake does not load, and the error has the mistake's path."""
    file = tmp_path / "tokens.yaml"
    file.write_text(json.dumps({"apiVersion": "kubemint/v1", "kind": "Tokens", "tokens": []} | document))
    with pytest.raises(ConfigurationError, match=f"(?m)tokens.yaml: {path}: "):
        TokenAuthenticator(file)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    """Without the file nobody could be recognised: the start says so."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        TokenAuthenticator(tmp_path / "tokens.yaml")


def test_two_tokens_of_one_name_both_work(tmp_path: Path) -> None:
    """A file may hold two tokens of one name while one takes the other's place."""
    token, record = new_token("ci", NOW + timedelta(days=2))
    save_tokens(tmp_path / "tokens.yaml", (CI, record))
    authenticator = TokenAuthenticator(tmp_path / "tokens.yaml")
    for shown in (CI_TOKEN, token):
        evidence = Evidence(authorization=f"Bearer {shown}", client_certificate_der=None)
        found = authenticator.authenticate(evidence, NOW)
        assert found is not None
        assert found.identity == "token:ci"


class ReplacedWhileRead(PosixPath):
    """A file that another process replaces right after its old content was read."""

    def read_bytes(self) -> bytes:
        """Give the old content; from now on the new one is there."""
        content = super().read_bytes()
        save_tokens(Path(self), ())
        return content


def test_a_token_that_is_deleted_while_the_file_is_read_stops_working(tmp_path: Path) -> None:
    """A change that falls between reading the file and looking at its state is noticed at the next look."""
    token, record = new_token("ci", NOW + timedelta(days=1))
    save_tokens(tmp_path / "tokens.yaml", (record,))
    seconds = iter(range(1000))
    authenticator = TokenAuthenticator(ReplacedWhileRead(tmp_path / "tokens.yaml"), lambda: float(next(seconds)))
    for _ in range(3):  # a look each: a second passes at each call of the clock
        try:
            authenticator.authenticate(Evidence(authorization=f"Bearer {token}", client_certificate_der=None), NOW)
        except NotAuthenticated:
            return
    raise AssertionError("the deleted token still works")
