"""A service is backed up while it issues, lost, and restored: it goes on as the same log, on either store."""

import base64
from pathlib import Path

import pytest

from backup.test_commands import back_up, failed, restore
from backup.workspaces import STORES, Workspace
from kubemint import config
from kubemint.transparency.checkpoint import open_checkpoint
from kubemint.transparency.receipt import parse_receipt, verify_receipt
from kubemint.transparency.tree import verify_consistency
from kubemint.wiring import log_keys_of
from running_service import RunningService
from service.clients import Load, ask
from service.workspaces import change_yaml


def _serve(place: Workspace) -> RunningService:
    change_yaml(place.config, lambda settings: settings["server"].update(workers=1, threads=4))
    return RunningService(place.directory, config=place.config)


@pytest.mark.parametrize(("store", "into"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_service_that_was_lost(tmp_path: Path, store: str, into: str) -> None:
    """What was on record when the backup began is on record again, and the log only grows."""
    place = Workspace(tmp_path / "place", store)
    with _serve(place) as service:
        before = [ask(service, headers={"Idempotency-Key": f"key-{number}"}).json() for number in range(3)]
        with Load(service, size=2):
            ran = back_up(place)
        assert ran.code == 0, ran.errors
    verifier = log_keys_of(config.load(place.config)).signer.verifier
    old = open_checkpoint((tmp_path / "backup" / "checkpoint").read_text(), verifier)
    copy = Workspace.copy(place, tmp_path / "copy", into)
    ran = restore(copy)
    assert ran.code == 0, ran.output + ran.errors
    with _serve(copy) as service:
        assert ask(service, headers={"Idempotency-Key": "key-1"}).json()["certificate"] == before[1]["certificate"]
        for body in before:
            found = service.call("GET", f"/v1/certificates/{body['credentialId']}", token="operator")
            assert found.json()["certificate"] == body["certificate"]
        new = ask(service).json()
        assert new["logIndex"] == old.size
        receipt = parse_receipt(new["receipt"])
        signed = verify_receipt(receipt, verifier, receipt.extra or b"")
        path = f"/v1/log/consistency?from={old.size}&to={signed.size}"
        answer = service.call("GET", path, token="operator").json()
        proof = [base64.b64decode(hashed) for hashed in answer["hashes"]]
        verify_consistency(old.size, old.root, signed.size, signed.root, proof)


@pytest.mark.parametrize("store", STORES)
def test_no_service_starts_on_a_part(tmp_path: Path, store: str) -> None:
    """After a restore that found something wrong, a service does not start; after one that did not, it does."""
    place = Workspace(tmp_path / "place")
    with _serve(place) as service:
        assert ask(service).status == 201
    assert back_up(place).code == 0
    (bundle,) = (tmp_path / "backup" / "tile/entries").rglob("*.p/*")
    tile = tmp_path / "backup" / "tile" / "0" / bundle.relative_to(tmp_path / "backup" / "tile/entries")
    whole = tile.read_bytes()
    copy = Workspace.copy(place, tmp_path / "copy", store)
    # The last tile is looked at when all entries are there: whatever is written by then must not count.
    tile.write_bytes(bytes(len(whole)))
    assert failed(restore(copy)) == {"ledger"}
    service = _serve(copy)
    with pytest.raises(RuntimeError, match=r"not what was signed"):
        service.start()
    service.stop()
    tile.write_bytes(whole)
    assert restore(copy).code == 0
    with _serve(copy) as service:
        assert ask(service).status == 201
