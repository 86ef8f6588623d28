"""`kubemint policy explain`: every rule that stands between a CSR and its certificate."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from client.peers import Reply, listening
from commands.cli import Ran, failed_cleanly, kubemint
from commands.policies import POLICY, write
from csrs import bad_csr, good_csr, pem, private_key
from kubemint.x509.generate import generate_key, self_signed_ca

SHOP = "{oidc: github, claims: {repository: acme/shop}}"
RULES = ("users", "groups", "required", "renewal", "keys", "lifetime")


def explain(folder: Path, *options: str | Path, csr: bytes | None = None, requester: str = SHOP) -> Ran:
    """Run `kubemint policy explain` on this machine alone."""
    write(folder, "policy.yaml", POLICY)
    write(folder, "requester.yaml", requester)
    (folder / "a.csr").write_bytes(csr or good_csr(user="ci:acme/shop", groups=["deployers"]))
    files = "--policy", "policy.yaml", "--requester", "requester.yaml", "--csr", "a.csr"
    return kubemint("policy", "explain", *files, *options, cwd=folder)


def test_a_grant(tmp_path: Path) -> None:
    """The verdict, the would-be certificate with the groups that are added, and each rule."""
    ran = explain(tmp_path)
    assert ran.code == 0, ran.errors
    head, subject, validity, *steps = ran.output.splitlines()
    assert head.startswith("granted: profile ci, policy sha256:")
    assert subject == "  user ci:acme/shop, groups deployers, pipelines, key ecdsa-p256"
    assert validity.startswith("  good from ")
    assert steps == ["  passed  hard-rules", *(f"  passed  profiles.ci.{rule}" for rule in RULES)]


def test_a_refusal(tmp_path: Path) -> None:
    """The rule that failed has its reason under it; the others passed."""
    ran = explain(tmp_path, "--expires", "2h", "--profile", "ci")
    assert ran.code == 1
    assert ran.errors == ""
    assert ran.output.startswith("refused: profile ci")
    *_, step, reason = ran.output.splitlines()
    assert step == "  FAILED  profiles.ci.lifetime"
    assert reason == (
        "          lifetime-too-long: 7200 s asked; at most 3600 s allowed [profiles.ci.lifetime.max]"
    )


def test_no_profile(tmp_path: Path) -> None:
    """A reason that belongs to no step is told as well."""
    ran = explain(tmp_path, requester="{token: stranger}")
    assert ran.code == 1
    assert ran.output.startswith("refused: no profile")
    assert "no-profile: no profile of the policy is for this requester [profiles]" in ran.output


@pytest.mark.parametrize("form", ["der", "pem"])
def test_as_json(tmp_path: Path, form: str) -> None:
    """The same document as the service's, from a CSR in either form."""
    csr = good_csr(user="ci:acme/pay")
    ran = explain(tmp_path, "--output", "json", csr=csr if form == "der" else pem(csr))
    assert ran.code == 1
    found = json.loads(ran.output)
    assert (found["verdict"], found["profile"], found["user"]) == ("refused", "ci", "ci:acme/pay")
    assert [reason["code"] for reason in found["reasons"]] == ["user-not-allowed", "group-not-allowed"]
    assert [step["passed"] for step in found["trace"]] == [True, False, False, True, True, True, True]


def test_the_ca_counts_where_it_is_given(tmp_path: Path) -> None:
    """Its end bounds the lifetime, and its own key is never certified."""
    key = private_key("ecdsa-p256")
    ends = datetime.now(UTC) + timedelta(minutes=5)
    ca = self_signed_ca(key, "test CA", ends - timedelta(days=1), timedelta(days=1))
    (tmp_path / "ca.crt").write_bytes(ca.public_bytes(Encoding.PEM))
    ran = explain(tmp_path, "--expires", "30m", "--ca-certificate", "ca.crt")
    assert ran.code == 1
    assert "key-of-issuer" in ran.output
    assert "[issuer]" in ran.output
    other = good_csr(generate_key("ecdsa-p256"), user="ci:acme/shop", groups=[])
    assert explain(tmp_path, "--ca-certificate", "ca.crt", csr=other).code == 0


def test_a_csr_that_is_never_signed(tmp_path: Path) -> None:
    """It is refused before any rule, with every reason."""
    ran = explain(tmp_path, csr=bad_csr("CA:TRUE"))
    assert failed_cleanly(ran)
    assert "CA:TRUE" in ran.errors
    assert "[csr.extensions]" in ran.errors


@pytest.mark.parametrize(
    "options",
    [
        ("--policy", "policy.yaml"),
        ("--requester", "requester.yaml"),
        ("--ca-certificate", "ca.crt"),
        ("--policy", "policy.yaml", "--requester", "requester.yaml", "--url", "https://a.test"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Half of an offline question is neither that nor one for the service."""
    assert kubemint("policy", "explain", "--csr", "a.csr", *options, cwd=tmp_path).code == 2


@pytest.mark.parametrize("requester", ["{}", "token: [a]", "[", "{token: a, claims: {}}"])
def test_a_requester_that_is_none(tmp_path: Path, requester: str) -> None:
    """The file is named."""
    ran = explain(tmp_path, requester=requester)
    assert failed_cleanly(ran)
    assert "requester.yaml: " in ran.errors


ANSWER: dict[str, Any] = {
    "verdict": "refused",
    "profile": None,
    "policy": "sha256:0",
    "user": "jane",
    "groups": [],
    "keyType": "ecdsa-p256",
    "trace": [{"rule": "hard-rules", "profile": None, "passed": True, "reasons": []}],
    "reasons": [{"code": "no-profile", "message": "none", "path": "profiles"}],
}


def ask(folder: Path, reply: Reply, csr: bytes) -> tuple[Ran, list[Any]]:
    """Run it against what answers in place of a service; gives what was sent too."""
    (folder / "a.csr").write_bytes(csr)
    with listening(reply) as peer:
        options = "--csr", "a.csr", "--url", peer.url, "--expires", "1h", "--profile", "ci"
        return kubemint("policy", "explain", *options, cwd=folder), peer.seen


def test_the_service_is_asked_for_a_dry_run(tmp_path: Path) -> None:
    """The CSR goes there in PEM, and the answer is shown as on this machine."""
    csr = good_csr()
    ran, (seen,) = ask(tmp_path, Reply(body=json.dumps(ANSWER).encode()), csr)
    assert ran.code == 1, ran.errors
    assert ran.output.splitlines() == [
        "refused: no profile, policy sha256:0",
        "  user jane, groups none, key ecdsa-p256",
        "  passed  hard-rules",
        "  no-profile: none [profiles]",
    ]
    assert seen.path == "/v1/decisions"
    body = json.loads(seen.body)
    assert body | {"csr": ""} == {"csr": "", "expirationSeconds": 3600, "profile": "ci"}
    assert body["csr"].split() == pem(csr).decode().split()


def test_another_answer_is_no_verdict(tmp_path: Path) -> None:
    """Something else listens there."""
    ran, _ = ask(tmp_path, Reply(body=b"{}"), good_csr())
    assert failed_cleanly(ran)
    assert "holds no verdict" in ran.errors


def test_a_private_key_is_not_sent(tmp_path: Path) -> None:
    """Whoever takes the wrong file keeps the key to themselves."""
    words = "PRIVATE", "KEY"
    key = f"-----BEGIN {' '.join(words)}-----\nAAAA\n-----END {' '.join(words)}-----\n"
    ran, seen = ask(tmp_path, Reply(body=json.dumps(ANSWER).encode()), key.encode())
    assert failed_cleanly(ran)
    assert (
        ran.errors
        == "kubemint: a.csr: holds a private key; give a CSR. The file was read here and sent nowhere.\n"
    )
    assert not seen


def test_a_file_that_is_no_csr_is_named_once(tmp_path: Path) -> None:
    """What is wrong with it is one line, though it is both the message and the only reason."""
    ran, seen = ask(tmp_path, Reply(body=json.dumps(ANSWER).encode()), b"no CSR")
    assert failed_cleanly(ran)
    assert (ran.errors.count("\n"), ran.errors.startswith("kubemint: a.csr: ")) == (1, True)
    assert not seen
