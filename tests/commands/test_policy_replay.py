"""`kubemint policy replay`: the verdicts that another policy would have given."""

import itertools
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from commands.cli import Ran, failed_cleanly, kubemint
from commands.policies import POLICY, write
from csrs import bad_csr, good_csr, private_key
from kubemint import config
from kubemint.documents import parse_yaml
from kubemint.errors import RequestError
from kubemint.issuance import Issuance
from kubemint.ledger import sqlite
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.schema import migrate
from kubemint.ledger.writer import LedgerWriter
from kubemint.policy.loader import load_policy
from kubemint.requester import Method, Renewal, Requester
from kubemint.wiring import migrate_ledger
from kubemint.x509.generate import generate_key, self_signed_ca
from kubemint.x509.issuer import issuer_from
from kubemint.x509.request import CsrEncoding, Submission
from ledger.adapters import new_keys

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BEGIN = datetime.now(UTC) - 3 * DAY
LAPTOP = Requester(method=Method.TOKEN, authority="laptop", identity="token:laptop", evidence="token")
PIPELINE = Requester(
    method=Method.OIDC,
    authority="github",
    identity="oidc:github:x",
    evidence="token",
    claims={"repository": "acme/shop"},
)
WITH_QUOTA = POLICY.replace("users: [jane]", "quota: {certificates: 1, per: 7d}\n    users: [jane]")


class Ledger:
    """What issuing needs of a writer and a reader."""

    def __init__(self, file: Path) -> None:
        database = sqlite.SqliteFile(file)
        sqlite.create_file(file)
        keys, _ = new_keys()
        migrate(database, keys)
        writer = LedgerWriter(database, keys, lambda _: None)
        self.append = writer.append
        self.preparing = writer.preparing
        self.find_by_key = LedgerReader(sqlite.open_for_reading(file)).find_by_key


class Past:
    """A service of the last days: what was asked of it is in `ledger.db`."""

    def __init__(self, folder: Path, policy_text: str = POLICY) -> None:
        self.folder = folder
        self.now = BEGIN
        key, serials = generate_key("ecdsa-p256"), itertools.count(1)
        policy = load_policy(parse_yaml(policy_text.encode()), policy_text.encode(), "policy.yaml")
        self._issuance = Issuance(
            current_policy=lambda: policy,
            issuer=issuer_from((self_signed_ca(key, "test CA", BEGIN - DAY, 365 * DAY),), key),
            ledger=Ledger(folder / "ledger.db"),
            clock=lambda: self.now,
            draw_serial=lambda: next(serials),
            draw_name=lambda: f"{next(serials):032x}",
        )

    def ask(self, requester: Requester, user: str, *groups: str, key: str = "ecdsa-p256", **beside: Any) -> None:
        """Ask for a certificate; whether it is granted is on record."""
        csr = good_csr(private_key(key), user=user, groups=groups)
        self.submit(requester, Submission(csr=csr, encoding=CsrEncoding.DER, **beside))

    def submit(self, requester: Requester, submission: Submission) -> None:
        with suppress(RequestError):
            self._issuance.issue(submission, requester)
        self.now += HOUR

    def replay(self, text: str, *options: str) -> Ran:
        """Run `kubemint policy replay` with a new policy."""
        write(self.folder, "new.yaml", text)
        return kubemint("policy", "replay", "new.yaml", "--ledger", "ledger.db", *options, cwd=self.folder)

    def changes(self, text: str, *options: str) -> Mapping[str, Any]:
        """Run it and read what it says in JSON."""
        ran = self.replay(text, *options, "--output", "json")
        assert ran.code == 0, ran.errors
        found: Mapping[str, Any] = json.loads(ran.output)
        return found


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """Give a past in which each profile was used, and refused."""
    past = Past(tmp_path)
    past.ask(PIPELINE, "ci:acme/shop", "deployers", expiration_seconds=1800)
    past.ask(LAPTOP, "jane", "developers", profile="people")
    past.ask(LAPTOP, "jane", key="ed25519")
    past.ask(LAPTOP, "eve", "developers", "admins")
    past.submit(LAPTOP, Submission(csr=bad_csr("CA:TRUE"), encoding=CsrEncoding.DER))
    return past


def test_the_same_policy_changes_nothing(past: Past) -> None:
    """Groups that a profile added were not asked for, and are not asked for again."""
    found = past.changes(POLICY)
    assert (found["changes"], found["decisions"], found["leftOut"]) == ([], 4, 1)
    assert found["policy"].startswith("sha256:")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("repository: acme/shop", "repository: acme/pay"), [(0, "refused", {"no-profile"})]),
        (("default: 10m, max: 1h", "default: 1m, max: 10m"), [(0, "refused", {"lifetime-too-long"})]),
        (("groups: [developers]", ""), [(1, "refused", {"group-not-allowed"})]),
        (("  people:", "  persons:"), [(1, "refused", {"profile-not-allowed"})]),
        (("keys: [ecdsa-p256]", ""), [(2, "granted", {"key-not-allowed"})]),
        (
            ("users: [jane]\n    groups: [developers]", "users: ['*']\n    groups: ['*']"),
            [(3, "granted", {"user-not-allowed", "group-not-allowed"})],
        ),
    ],
)
def test_verdicts_that_change(
    past: Past, change: tuple[str, str], expected: list[tuple[int, str, set[str]]]
) -> None:
    """Each is listed with the reasons of its refusal, the new one's or the old one's."""
    found = past.changes(POLICY.replace(*change, 1) if "max" not in change[0] else POLICY.replace(*change))
    assert [
        (one["logIndex"], one["after"], {reason["code"] for reason in one["reasons"]}) for one in found["changes"]
    ] == expected
    assert all({one["before"], one["after"]} == {"granted", "refused"} for one in found["changes"])


def test_approval_is_a_verdict_of_its_own(tmp_path: Path) -> None:
    """What begins or ceases to wait for operators is a change; what waited and does so still is none."""
    with_approval = POLICY.replace("users: [jane]", "approval: required\n    users: [jane]")
    past = Past(tmp_path, with_approval)
    past.ask(LAPTOP, "jane", "developers")
    assert past.changes(with_approval)["changes"] == []
    (change,) = past.changes(POLICY)["changes"]
    assert (change["before"], change["after"], change["reasons"]) == ("granted with approval", "granted", [])


def test_what_people_read(past: Past) -> None:
    """A line for each change, its reasons, and how many decisions there were; no progress where nobody looks."""
    ran = past.replay(POLICY.replace("acme/shop", "acme/pay"))
    assert ran.code == 0
    first, reason, summary = ran.output.splitlines()
    assert first.startswith("0  ")
    assert first.endswith("granted → refused  oidc:github:x for ci:acme/shop (groups: deployers)")
    assert reason.startswith("    no-profile: ")
    assert summary.startswith("decisions: 4, left out: 1, verdicts that change: 1 (policy sha256:")
    assert ran.errors == ""


def test_only_since(past: Past) -> None:
    """What is older is not looked at."""
    hours = int((datetime.now(UTC) - BEGIN) / HOUR) - 1
    assert past.changes(POLICY, "--since", f"{hours}h")["decisions"] < 4
    past.now = datetime.now(UTC)
    past.ask(LAPTOP, "jane")
    assert past.changes(POLICY, "--since", "1h")["decisions"] == 1


def test_a_quota_is_not_the_policys_verdict(tmp_path: Path) -> None:
    """What the ledger refused would seem granted by any policy."""
    past = Past(tmp_path, WITH_QUOTA)
    past.ask(LAPTOP, "jane")
    past.ask(LAPTOP, "jane")
    found = past.changes(WITH_QUOTA)
    assert (found["changes"], found["decisions"], found["leftOut"]) == ([], 1, 1)


def test_a_renewal_is_judged_at_its_own_time(tmp_path: Path) -> None:
    """As one, and not as if it were asked for now."""
    renewable = POLICY.replace("users: [jane]", "renewal: {for: 1h}\n    users: [jane]")
    line = Renewal(
        line="01",
        profile="people",
        user="jane",
        groups=("developers",),
        first=LAPTOP,
        first_proven_at=BEGIN - HOUR / 2,
    )
    past = Past(tmp_path, renewable)
    past.ask(replace(LAPTOP, method=Method.RENEWAL, renews=line), "jane", "developers")
    assert past.changes(renewable)["changes"] == []
    (change,) = past.changes(POLICY)["changes"]
    assert (change["after"], change["reasons"][0]["code"]) == ("refused", "no-profile")


def put_another(folder: Path, name: str, text: str) -> None:
    """Put another file in the place of one that this process may still have open."""
    (folder / name).unlink()
    write(folder, name, text)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda folder: write(folder, "new.yaml", "kind: Polity\n"),
        lambda folder: (folder / "ledger.db").unlink(),
        lambda folder: put_another(folder, "ledger.db", "no database, whatever its name says"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, prepare: Callable[[Path], Any]) -> None:
    """A sentence, and no ledger is made where there was none."""
    Past(tmp_path)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"ledger.db{suffix}").unlink(missing_ok=True)
    write(tmp_path, "new.yaml", POLICY)
    prepare(tmp_path)
    there = (tmp_path / "ledger.db").exists()
    assert failed_cleanly(kubemint("policy", "replay", "new.yaml", "--ledger", "ledger.db", cwd=tmp_path))
    assert (tmp_path / "ledger.db").exists() == there


def test_one_ledger_is_named(tmp_path: Path) -> None:
    """Two would be one too many."""
    write(tmp_path, "new.yaml", POLICY)
    options = "--config", "kubemint.yaml", "--ledger", "ledger.db"
    assert kubemint("policy", "replay", "new.yaml", *options, cwd=tmp_path).code == 2


def test_the_ledger_of_the_configuration(tmp_path: Path) -> None:
    """It is found as the service finds it."""
    assert kubemint("init", cwd=tmp_path).code == 0
    migrate_ledger(config.load(tmp_path / ".kubemint" / "kubemint.yaml"))
    ran = kubemint("policy", "replay", ".kubemint/policy.yaml", cwd=tmp_path)
    assert ran.code == 0, ran.errors
    assert ran.output.startswith("decisions: 0, left out: 0, verdicts that change: 0 (policy sha256:")
