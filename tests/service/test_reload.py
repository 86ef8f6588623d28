"""A policy file that changes under a running service, in all its workers; and SIGHUP."""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from csrs import good_csr
from policy_file.watching import version_of
from running_service import RunningService
from service.clients import ask, wait_until_replaced
from service.record import read_ledger
from service.workspaces import change_yaml, make_workspace, refusal_to_start

SOON_SECONDS = 3.0
ROOT_GROUP = good_csr(groups=["reloaded"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve with a ledger that waits a moment for its lock."""
    config = make_workspace(tmp_path_factory.mktemp("reload") / "kubemint")
    change_yaml(config, lambda settings: settings["ledger"].update(lockWait="1s"))
    with RunningService(config.parent, config=config) as running:
        yield running


def _policy_file(service: RunningService) -> Path:
    return service.directory / "policy.yaml"


def _allow(service: RunningService, *groups: str) -> str:
    """Change which groups the developers may have, by rename; give the version of the new file."""
    file = _policy_file(service)
    document = yaml.safe_load(file.read_text())
    document["profiles"]["developers"]["groups"] = list(groups)
    beside = file.with_suffix(".new")
    beside.write_text(yaml.safe_dump(document))
    beside.replace(file)
    return version_of(file.read_bytes())


def _versions_in_use(service: RunningService, asked: int = 12) -> set[str]:
    """Ask on so many connections which policy counts: both workers answer some of them."""
    return {service.call("GET", "/v1/policy", token="requester").json()["policy"] for _ in range(asked)}


def _wait(until: Callable[[], bool], seconds: float = SOON_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def _changes(service: RunningService) -> list[dict[str, Any]]:
    return [fields for fields in read_ledger(service.ledger_file).fields if fields["kind"] == "policy-changed"]


def _metric(service: RunningService, name: str, **labels: str) -> float:
    text = service.call("GET", "/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(found.value for found in samples if found.name == name and labels.items() <= found.labels.items())


def _is_refused(service: RunningService) -> bool:
    return _metric(service, "kubemint_policy_file_refused") == 1


def test_a_change_in_both_workers(service: RunningService) -> None:
    """Within three seconds both workers decide by the new file, and each change is recorded once with its text."""
    before = len(_changes(service))
    old = _versions_in_use(service)
    assert ask(service, body=ROOT_GROUP).status == 403
    written = []
    for groups in (("developers", "reloaded"), ("developers",), ("developers", "reloaded")):
        written.append((_allow(service, *groups), _policy_file(service).read_text()))
        _wait(lambda: _versions_in_use(service) == {written[-1][0]})
    assert {ask(service, body=ROOT_GROUP).status for _ in range(6)} == {201}
    time.sleep(1)
    assert [(change["version"], change["text"]) for change in _changes(service)[before:]] == written
    decided = [
        fields for fields in read_ledger(service.ledger_file).fields if fields.get("groups") == ["reloaded"]
    ]
    assert [fields["policy"] for fields in decided] == [*old, *[written[-1][0]] * 6]
    # A worker that nobody asked meanwhile may have gone from the first file to the last.
    assert 4 <= _metric(service, "kubemint_policy_loads_total", outcome="loaded") <= 6


@pytest.mark.parametrize("kind", ["no YAML", "system:masters", "an unknown authority", "unreadable", "empty"])
def test_a_bad_file(service: RunningService, kind: str) -> None:
    """Each worker logs a bad file and shows it in the metrics, and the old rules stay; until it is good again."""
    file = _policy_file(service)
    good, versions = file.read_bytes(), _versions_in_use(service)
    recorded = len(_changes(service))
    before = _metric(service, "kubemint_policy_loads_total", outcome="refused")
    logged = len(_refusals_logged(service))
    _spoil(file, kind)
    try:
        _wait(lambda: _metric(service, "kubemint_policy_loads_total", outcome="refused") == before + 2)
        assert _is_refused(service)
        assert len(_refusals_logged(service)) == logged + 2
        assert _versions_in_use(service) == versions
        assert ask(service).status == 201
    finally:
        file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)
        file.write_bytes(good)
    _wait(lambda: not _is_refused(service))
    assert _versions_in_use(service) == versions
    assert len(_changes(service)) == recorded


def _spoil(file: Path, kind: str) -> None:
    if kind == "unreadable":  # permissions would not stop root
        file.unlink()
        file.mkdir()
        return
    text = file.read_text()
    file.write_text(
        {
            "no YAML": text + "profiles: [",
            "system:masters": text.replace("- developers", "- system:masters"),
            "an unknown authority": text.replace("token: requester", "oidc: nowhere"),
            "empty": "",
        }[kind]
    )


def _refusals_logged(service: RunningService) -> list[str]:
    message = "policy file refused, the last good one stays"
    return [line["problem"] for line in service.log_lines() if message in (line.get("message"), line.get("event"))]


def test_a_worker_that_dies_while_the_file_is_bad(service: RunningService) -> None:
    """A worker killed while the file is bad comes back with the policy on record."""
    file = _policy_file(service)
    good, versions = file.read_bytes(), _versions_in_use(service)
    file.write_text("")
    try:
        _wait(lambda: _is_refused(service))
        for victim in service.worker_pids:
            os.kill(victim, signal.SIGKILL)
            wait_until_replaced(service, victim)
        _wait(lambda: ask(service).status == 201)
        assert _versions_in_use(service) == versions
        assert _is_refused(service)
    finally:
        file.write_bytes(good)
    _wait(lambda: not _is_refused(service))


def test_a_change_while_the_ledger_is_locked(service: RunningService) -> None:
    """A change that cannot be recorded does not count; when it can, it does."""
    versions = _versions_in_use(service)
    with contextlib.closing(sqlite3.connect(service.ledger_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        new = _allow(service, "developers", "later")
        _wait(lambda: _is_refused(service))
        assert _versions_in_use(service) == versions
        other.execute("ROLLBACK")
    _wait(lambda: _versions_in_use(service) == {new} and not _is_refused(service), 6)
    assert [change["version"] for change in _changes(service)].count(new) == 1


def test_sighup(service: RunningService) -> None:
    """SIGHUP brings new workers that have read the file, even while the TLS files do not fit."""
    tls, workers = service.tls_ca_file.read_bytes(), set(service.worker_pids)
    service.tls_context()
    new = _allow(service, "developers", "sighup")
    service.tls_ca_file.write_bytes(service.ca_file.read_bytes())
    try:
        os.kill(service.pid, signal.SIGHUP)
        _wait(lambda: len(service.worker_pids) == 2 and not workers & set(service.worker_pids), 10)
        assert _versions_in_use(service) == {new}
        assert service.is_running
    finally:
        service.tls_ca_file.write_bytes(tls)
    assert ask(service).status == 201
    assert [change["version"] for change in _changes(service)].count(new) == 1


def test_a_start_with_a_bad_file(tmp_path: Path) -> None:
    """The service does not start with a bad file, not even one that has a good policy on record."""
    config = make_workspace(tmp_path / "kubemint")
    service = RunningService(config.parent, config=config)
    with service:
        good = _versions_in_use(service, 1)
    change_yaml(
        _policy_file(service), lambda policy: policy["profiles"]["developers"].update(groups=["system:masters"])
    )
    service.log_file.write_text("")
    assert "system:masters" in refusal_to_start(service)
    assert {change["version"] for change in _changes(service)} == good
