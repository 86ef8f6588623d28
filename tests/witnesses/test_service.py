"""A service whose certificates wait for a witness, as its users and its administrator meet it."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubemint.transparency.checkpoint import NoteVerifier, open_checkpoint, open_cosignature, signature_lines
from kubemint.transparency.receipt import parse_receipt, verify_receipt
from running_service import Answer, RunningService
from service.approving import Desk, workspace_with_approval
from service.clients import Load, ask
from service.workspaces import change_yaml, make_workspace, refusal_to_start
from witnesses.watching import eventually
from witnesses.witness import TestWitness, witness

PATIENCE = 12.0  # of a client that the service lets wait for five seconds


class Watched:
    """A folder to serve from, with a required witness over HTTPS, an optional one, and an anchor."""

    def __init__(
        self,
        directory: Path,
        required: TestWitness,
        optional: TestWitness,
        make: Callable[[Path], Path] = make_workspace,
    ) -> None:
        self.config = make(directory / "kubemint")
        self.required, self.optional = required, optional
        self.anchor = directory / "elsewhere" / "checkpoint"
        self.anchor.parent.mkdir()
        client = yaml.safe_load((self.config.parent / "client.yaml").read_text())
        self.log_key = NoteVerifier.from_vkey(client["logKey"])
        for one in (required, optional):
            one.trust(self.log_key.vkey)
        change_yaml(self.config, self._set)

    def service(self) -> RunningService:
        """Give the service; it is not started."""
        return RunningService(self.config.parent, config=self.config)

    def _set(self, settings: Any) -> None:
        settings["server"] |= {"workers": 2}
        settings["log"] |= {
            "witnesses": [self.required.settings(), self.optional.settings(required=False)],
            "anchors": [{"file": str(self.anchor)}],
        }


@pytest.fixture
def witnesses(tmp_path: Path) -> Iterator[tuple[TestWitness, TestWitness]]:
    """Give a witness to be required, and another."""
    with (
        witness(tmp_path, "witness.test/required", tls=True) as required,
        witness(tmp_path, "witness.test/optional") as optional,
    ):
        yield required, optional


@pytest.fixture
def place(tmp_path: Path, witnesses: tuple[TestWitness, TestWitness]) -> Watched:
    """Give the folder, and its witnesses."""
    return Watched(tmp_path, *witnesses)


def asked(service: RunningService, key: str | None = None) -> Answer:
    """Ask for a certificate and be patient."""
    return ask(service, headers={} if key is None else {"Idempotency-Key": key}, timeout=PATIENCE)


def assert_proven(place: Watched, receipt: str) -> int:
    """Check a receipt as its holder would, and that the required witness signed it; give the size."""
    parsed = parse_receipt(receipt)
    assert parsed.extra is not None
    checkpoint = verify_receipt(parsed, place.log_key, parsed.extra)
    open_cosignature(parsed.checkpoint, place.required.cosigner.verifier)
    return checkpoint.size


def test_certificates_wait_for_their_witness(place: Watched) -> None:
    """Every certificate must come with a receipt that the witness signed, also from two workers under load."""
    with place.service() as service:
        with Load(service, size=8) as load:
            load.wait_for(60, seconds=40)
        assert load.statuses == []
        for body in load.received:
            assert assert_proven(place, body["receipt"]) > body["logIndex"]
        serial = load.received[-1]["serialNumber"]
        answer = service.call("GET", f"/v1/certificates/{serial}/receipt", token="requester")
        assert_proven(place, answer.text)
        note = service.call("GET", "/v1/log/checkpoint", token="operator").text
        open_cosignature(note, place.required.cosigner.verifier)
        metrics = service.call("GET", "/metrics").text
        size = open_checkpoint(note, place.log_key).size
        assert f"kubemint_witnessed_entries {float(size)}" in metrics
        eventually(
            lambda: len(signature_lines(service.call("GET", "/v1/log/checkpoint", token="operator").text)) == 3
        )
    anchored = open_checkpoint(place.anchor.read_text(), place.log_key)
    assert anchored.size == size  # written at the latest as the service stopped
    assert len(place.required.requests) < len(load.received)  # who waits shares a round


def test_a_witness_that_is_away(place: Watched) -> None:
    """Without the witness no certificate leaves, by whatever way; with it, the same key gets the one on record."""
    with place.service() as service:
        first = asked(service, "first")
        assert first.status == 201, first.text
        place.required.answer = lambda *_: place.required.release.wait(20) and None
        with ThreadPoolExecutor(1) as pool:
            began = time.monotonic()
            waiting = pool.submit(asked, service, "second")
            refused = waiting.result()
        assert time.monotonic() - began < 8
        assert (refused.status, refused.json()["code"]) == (503, "ledger-unavailable")
        assert refused.headers["Retry-After"]
        assert "witness" not in refused.text
        serial = _newest_serial(service.ledger_file)
        place.required.stop()
        assert asked(service, "second").status == 503
        assert asked(service, "third").status == 503
        assert serial != first.json()["serialNumber"]
        assert service.call("GET", f"/v1/certificates/{serial}", token="requester").status == 503
        assert service.call("GET", f"/v1/certificates/{serial}/receipt", token="requester").status == 503
        listed = service.call("GET", "/v1/certificates", token="operator")
        assert [one["serialNumber"] for one in listed.json()["items"]] == [first.json()["serialNumber"]]
        assert asked(service, "first").json()["certificate"] == first.json()["certificate"]
        assert service.call("GET", "/livez").status == 200
        place.required.answer = None
        place.required.start()
        eventually(lambda: asked(service, "second").status == 201, seconds=40)
        answer = asked(service, "second")
        assert answer.json()["serialNumber"] == serial
        assert_proven(place, answer.json()["receipt"])
        assert 'kubemint_witness_faults_total{fault="unreachable"' in service.call("GET", "/metrics").text


def test_an_approved_certificate_waits_too(tmp_path: Path, witnesses: tuple[TestWitness, TestWitness]) -> None:
    """What operators approve must be shown to nobody before the witness has seen it, and then as ever."""
    place = Watched(tmp_path, *witnesses, make=workspace_with_approval)
    with place.service() as service:
        desk = Desk(service)
        requested = desk.ask()
        place.required.answer = lambda *_: place.required.release.wait(20) and None
        assert desk.decide(requested, "ann").status == 503
        assert desk.kinds_of(requested) == ["requested", "approved", "issued"]
        assert desk.see(requested, "requester").status == 503
        assert desk.decide(requested, "bob").status == 503
        for token in ("requester", "operator"):
            listed = service.call("GET", "/v1/requests", token=token)
            assert (listed.status, listed.json()["items"]) == (200, [])
        place.required.answer = None
        eventually(lambda: desk.see(requested, "requester").status == 200, seconds=40)
        seen = desk.see(requested, "requester").json()
        assert seen["state"] == "issued"
        assert_proven(place, seen["issued"]["receipt"])


def test_an_old_backup_is_not_served(place: Watched) -> None:
    """A ledger from a backup must not start beside its anchor; without that, the witness stops the issuing."""
    ledger = place.config.parent / "ledger.db"
    backup = ledger.with_name("backup.db")
    with place.service() as service:
        assert asked(service).status == 201
        _copy(ledger, backup)
        assert asked(service).status == 201
    for file in ledger.parent.glob("ledger.db*"):
        file.unlink()
    shutil.copyfile(backup, ledger)
    service.log_file.unlink()  # of a good start
    assert "the ledger is older than its anchor: 2 entries, not 3" in refusal_to_start(place.service())
    place.anchor.unlink()
    service = place.service()
    try:
        service.start(wait=False)
        eventually(lambda: _not_ready(service) == "log-older-than-witness", seconds=30)
        assert asked(service).status == 503
        assert len(_issued(ledger)) == 1  # not even recorded
        alarms = [line for line in service.log_lines() if "ALARM" in json.dumps(line)]
        assert alarms
    finally:
        service.stop()


def test_an_unknown_anchor_refuses_the_start(place: Watched) -> None:
    """What is in an anchor and not of this log must be looked at by somebody first."""
    place.anchor.write_text("not a checkpoint\n")
    assert f"{place.anchor}: holds " in refusal_to_start(place.service())


def test_a_witness_by_plain_http_elsewhere_refuses_the_start(place: Watched) -> None:
    """A witness that anybody between could answer for must be refused."""

    def change(settings: Any) -> None:
        settings["log"]["witnesses"][1]["url"] = "http://witness.example"

    change_yaml(place.config, change)
    assert "witnesses.1.url: must be https" in refusal_to_start(place.service())


def _not_ready(service: RunningService) -> str | None:
    try:
        answer = service.call("GET", "/readyz")
    except OSError:
        return None
    return answer.json()["detail"].rpartition(": ")[2].rstrip(".") if answer.status == 503 else None


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _issued(ledger: Path) -> list[Any]:
    with closing(sqlite3.connect(ledger)) as connection:
        return [json.loads(row[0]) for row in connection.execute("SELECT body FROM entries WHERE kind = 'issued'")]


def _newest_serial(ledger: Path) -> str:
    return str(_issued(ledger)[-1]["serialNumber"])
