"""`kubemint revoke` and `kubemint revocations`: wrong use, services that answer strangely, and what is sent."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import dsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509 import load_pem_x509_csr
from hypothesis import given, settings
from hypothesis import strategies as st

from client.peers import Peer, document, listening, problem
from commands.cli import Ran, failed_cleanly, kubemint
from kubemint.client.key_statement import sign_key_statement
from kubemint.client.revocation_terms import checked_revocation, describe_revocation, selector_text
from kubemint.commands.main import kubemint as command_line
from kubemint.errors import ConfigurationError, ServiceUnavailable
from kubemint.x509.generate import GENERATED_KEY_TYPES, generate_key

REVOCATION = "4f1d5a0c9be2476d8c3e17a2b05f6d98"
REVOKED: dict[str, Any] = {
    "revocation": REVOCATION,
    "state": "revoked",
    "select": {"user": "jane"},
    "reason": "unspecified",
    "note": "",
    "time": "2026-11-23T05:00:00Z",
    "requester": "token:operator",
    "method": "token",
    "blocksKeys": False,
    "certificates": 3,
    "logIndex": 7,
}
WRONG = [
    {"revocation": None},
    {"select": ["user"]},
    {"select": {"user": 1}},
    {"certificates": "3"},
    {"blocksKeys": None},
    {"note": None},
    {"suspendUntil": 1},
    {"lifted": "yes"},
    {"lifted": {"by": "x"}},
]


def run(peer: Peer, place: Path, *arguments: str | Path) -> Ran:
    """Run a command against a peer."""
    return kubemint(*arguments, "--url", peer.url, cwd=place)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--reason", "keyCompromise"),
        ("--user", "jane", "--reason", "boredom"),
        ("--user", "jane", "--suspend-for", "7d", "--suspend-until", "2999-01-01T00:00:00Z"),
        ("--user", "jane", "--suspend-for", "soon"),
        ("--user", "tim", "--group", "viewers", "--suspend-for", "7d"),
        ("--user", "tim", "--group", "viewers", "--suspend-until", "2999-01-01T00:00:00Z", "--preview"),
        ("--group", "viewers", "--issued-since", "8h", "--suspend-for", "7d"),
        ("--requester", "token:ci", "--suspend-for", "7d"),
        ("--user", "jane", "--suspend-until", "7d"),
        ("--user", "jane", "--suspend-until", "2026-12-01T00:00:00"),
        ("--user", ""),
        ("--serial", ""),
        ("--serial", "xyz"),
        ("--serial", "00" * 21),
        ("--credential-id", "X509SHA256=ab"),
        ("--credential-id", "JTI=" + "ab" * 32),
        ("--credential-id", "ab" * 32, "--certificate", "x.crt"),
        ("--key-sha256", "ab" * 31),
        ("--issued-since", "yesterday"),
        ("--issued-since", "999999d"),
        ("--user", "jane", "--passphrase-file", "x"),
        ("--private-key", "x", "--user", "jane"),
        ("--private-key", "x", "--reason", "superseded"),
        ("--private-key", "x", "--preview"),
        ("--private-key", "x", "--allow-none"),
        ("--private-key", "x", "--suspend-for", "7d"),
        ("--private-key", "x", "--token-file", "x"),
    ],
)
def test_wrong_use_sends_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What means everything, nothing or two things ends with code 2 before a service is asked."""
    with listening() as peer:
        assert run(peer, tmp_path, "revoke", *arguments, "--yes").code == 2
    assert peer.seen == []


@pytest.mark.parametrize("command", ["show", "lift"])
@pytest.mark.parametrize("name", ["../ca", REVOCATION.upper(), REVOCATION[1:], ""])
def test_an_id_is_an_id(tmp_path: Path, command: str, name: str) -> None:
    """What goes into the path of an address must be one."""
    with listening() as peer:
        assert run(peer, tmp_path, "revocations", command, name).code == 2
    assert peer.seen == []


def test_what_is_sent(tmp_path: Path) -> None:
    """The selection as JSON has it, what else was said, and no member that was not."""
    digest = "ab" * 32
    arguments = ("--serial", "0A", "--key-sha256", digest, "--issued-since", "2026-11-23T06:00:00+01:00")
    with listening(document(**REVOKED)) as peer:
        assert run(peer, tmp_path, "revoke", *arguments, "--yes").code == 0
        assert (
            run(peer, tmp_path, "revoke", "--user", "jane", "--yes", "--note", "x", "--reason", "superseded").code
            == 0
        )
    first, second = (json.loads(seen.body) for seen in peer.seen)
    select = {"serialNumber": "0a", "publicKeySha256": digest, "issuedSince": "2026-11-23T05:00:00Z"}
    assert first == {"select": select}
    assert second == {"select": {"user": "jane"}, "note": "x", "reason": "superseded"}
    assert {(seen.method, seen.path) for seen in peer.seen} == {("POST", "/v1/revocations")}


def test_many_are_told_plainly(tmp_path: Path) -> None:
    """More than a hundred are said to be many, before the question, which is sent as a preview alone."""
    with listening(document(certificates=101)) as peer:
        ran = CliRunner().invoke(command_line, ["revoke", "--group", "x", "--url", peer.url], input="n\n")
    assert ran.exit_code == 1
    assert "These are more than 100." in ran.stderr
    assert "Revoke 101 certificates?" in ran.stderr
    (seen,) = peer.seen
    assert json.loads(seen.body)["preview"] is True


def test_a_count_that_is_none(tmp_path: Path) -> None:
    """Nothing is asked, and nothing revoked, on an answer that is no count."""
    with listening(document(certificates="3")) as peer:
        assert failed_cleanly(run(peer, tmp_path, "revoke", "--user", "jane"))
    assert len(peer.seen) == 1


@pytest.mark.parametrize("members", WRONG)
def test_what_is_no_revocation(tmp_path: Path, members: dict[str, Any]) -> None:
    """An answer of another shape is a sentence, in each command that shows one."""
    with listening(document(**REVOKED | members)) as peer:
        assert failed_cleanly(run(peer, tmp_path, "revoke", "--user", "jane", "--yes"))
        assert failed_cleanly(run(peer, tmp_path, "revocations", "show", REVOCATION))
        assert failed_cleanly(run(peer, tmp_path, "revocations", "lift", REVOCATION, "--yes"))
    with listening(document(items=[REVOKED | members])) as peer:
        assert failed_cleanly(run(peer, tmp_path, "revocations", "list"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: st.dictionaries(st.sampled_from([*REVOKED, "suspendUntil", "lifted"]), inner, max_size=14),
        max_leaves=20,
    ).map(lambda found: REVOKED | found if isinstance(found, dict) else found)
)
@settings(deadline=None, derandomize=True)
def test_garbage_raises_our_error(found: Any) -> None:
    """Whatever a service answers is shown, or is our error and no other."""
    try:
        revocation = checked_revocation(found)
    except ServiceUnavailable:
        return
    assert describe_revocation(revocation).startswith("Revocation:")
    assert selector_text(revocation["select"]).isprintable()


@pytest.mark.parametrize("members", [{}, {"items": "none"}, {"items": [1]}])
def test_what_is_no_list(tmp_path: Path, members: dict[str, Any]) -> None:
    """An answer that is no list is a sentence."""
    with listening(document(**members)) as peer:
        assert failed_cleanly(run(peer, tmp_path, "revocations", "list"))


def test_a_list_is_walked_to_its_limit(tmp_path: Path) -> None:
    """Pages are asked for one after the other, no longer than needed; one without items ends it."""
    pages = [document(items=[REVOKED] * 2, nextCursor="7"), document(items=[REVOKED] * 2, nextCursor="5")]
    with listening(*pages) as peer:
        found = run(peer, tmp_path, "revocations", "list", "--limit", "3", "--output", "json")
    assert len(json.loads(found.output)) == 3
    assert [seen.path for seen in peer.seen] == ["/v1/revocations?limit=3", "/v1/revocations?cursor=7&limit=1"]
    with listening(document(items=[], nextCursor="5")) as peer:
        assert json.loads(run(peer, tmp_path, "revocations", "list", "--output", "json").output) == []


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Control characters are shown as what they are."""
    evil = "jane\x1b[2J\r\u202e"
    lifted = {"by": evil, "time": "now", "note": evil}
    revocation = REVOKED | {"select": {"user": evil}, "note": evil, "requester": evil, "lifted": lifted}
    with listening(document(**revocation, items=[revocation])) as peer:
        shown = run(peer, tmp_path, "revocations", "show", REVOCATION)
        listed = run(peer, tmp_path, "revocations", "list")
    for output in (shown.output, listed.output):
        assert not {"\x1b", "\r", "\u202e"} & set(output)
        assert "jane\\x1b[2J\\r\\u202e" in output


def test_a_refusal_has_its_reasons(tmp_path: Path) -> None:
    """Every reason of the service is told."""
    reasons = [{"code": "not-on-hold", "message": "only once", "path": "revocation"}]
    with listening(problem(409, reasons=reasons)) as peer:
        ran = run(peer, tmp_path, "revocations", "lift", REVOCATION, "--yes")
    assert failed_cleanly(ran)
    assert "only once" in ran.errors


def test_the_key_and_the_token_stay_here(tmp_path: Path) -> None:
    """What is sent is a CSR that says what it is for: no key, and no token though the folder has one."""
    key = generate_key("ecdsa-p256")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "found.key").write_bytes(pem)
    (tmp_path / ".kubemint").mkdir()
    (tmp_path / ".kubemint" / "requester.token").write_text("secret-token\n")
    with listening(document(**REVOKED | {"method": "key"})) as peer:
        settings_text = json.dumps({"url": peer.url, "tokenFile": "requester.token"})
        (tmp_path / ".kubemint" / "client.yaml").write_text(settings_text)
        ran = kubemint("revoke", "--private-key", "found.key", "--yes", "--note", "x", cwd=tmp_path)
    assert ran.code == 0, ran.errors
    (seen,) = peer.seen
    assert (seen.path, "Authorization" in seen.headers) == ("/v1/revocations/by-key", False)
    sent = json.loads(seen.body)
    csr = load_pem_x509_csr(sent.pop("csr").encode())
    assert sent == {"note": "x"}
    assert csr.subject.rfc4514_string() == "CN=kubemint:revoke-this-key"
    assert csr.public_key() == key.public_key()
    assert csr.is_signature_valid
    assert b"PRIVATE" not in seen.body


@pytest.mark.parametrize("members", [{"revocation": None}, {"time": 1}])
def test_an_answer_about_a_key_that_is_none(tmp_path: Path, members: dict[str, Any]) -> None:
    """A key counts as revoked only if the service says so."""
    key = generate_key("ecdsa-p256")
    (tmp_path / "a.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with listening(document(**REVOKED | members)) as peer:
        assert failed_cleanly(run(peer, tmp_path, "revoke", "--private-key", "a.key", "--yes"))


@pytest.mark.parametrize(
    "key_type", [name for name in GENERATED_KEY_TYPES if name not in {"rsa-3072", "rsa-4096"}]
)
def test_each_kind_of_key_signs(tmp_path: Path, key_type: str) -> None:
    """Every key that can be certified can be revoked by its holder."""
    key = generate_key(key_type)
    (tmp_path / "a.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert load_pem_x509_csr(sign_key_statement(tmp_path / "a.key", None).csr_pem.encode()).is_signature_valid


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    """No file, no key, locked, or of a kind that is not certified: a sentence, with nothing of the file in it."""
    key = generate_key("ecdsa-p256")
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right"))
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    other = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    old = dsa.generate_private_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "passphrase").write_text("wrong\n")
    cases = [
        (None, (), "cannot be read"),
        (b"secret", (), "no private key in PEM"),
        (locked, (), "needs --passphrase-file"),
        (locked, ("--passphrase-file", "passphrase"), "the passphrase is wrong"),
        (plain, ("--passphrase-file", "passphrase"), "leave out --passphrase-file"),
        (plain, ("--passphrase-file", "gone"), "cannot be read"),
        (other, (), "neither RSA, ECDSA nor Ed25519"),
        (old, (), "neither RSA, ECDSA nor Ed25519"),
    ]
    with listening() as peer:
        for content, options, said in cases:
            file = tmp_path / "a.key"
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_bytes(content)
            ran = run(peer, tmp_path, "revoke", "--private-key", "a.key", "--yes", *options)
            assert failed_cleanly(ran), ran.errors
            assert said in ran.errors
            assert "secret" not in ran.errors
    assert peer.seen == []


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda found: b"-----BEGIN PRIVATE KEY-----\n" + found))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_a_garbage_key_raises_our_error(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    """What is no key is our error and no other."""
    file = tmp_path_factory.getbasetemp() / "garbage.key"
    file.write_bytes(garbage)
    with pytest.raises(ConfigurationError):
        sign_key_statement(file, None)


@pytest.mark.parametrize("content", [None, b"", b"secret", b"-----BEGIN CERTIFICATE-----\nsecret\n"])
def test_a_certificate_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    """A file without a certificate is a sentence, and nothing is revoked."""
    if content is not None:
        (tmp_path / "a.crt").write_bytes(content)
    with listening() as peer:
        ran = run(peer, tmp_path, "revoke", "--certificate", "a.crt", "--yes")
    assert failed_cleanly(ran)
    assert "secret" not in ran.errors
    assert peer.seen == []
