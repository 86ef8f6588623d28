"""What can be seen from outside: counts, a line for each decision, one for each other request; no secret."""

import hashlib
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from csrs import bad_csr, good_csr
from running_service import RunningService
from service.clients import Load, ask, wait_until_replaced
from service.record import pages, read_ledger
from service.workspaces import make_workspace

_FORBIDDEN = good_csr(user="eve", groups=["system:masters"])


def _count(service: RunningService, sample: str, **labels: str) -> float:
    """Add up the samples of this name that have these labels."""
    answer = service.call("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return sum(
        found.value
        for family in text_string_to_metric_families(answer.text)
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_counts_after_a_worker_is_gone(tmp_path: Path, how: signal.Signals) -> None:
    """What a worker has counted stays counted when it is gone, and the next one counts on."""
    with RunningService(tmp_path / "kubemint") as service:
        for so_far in (1, 2):
            with Load(service, size=8, requests=5) as load:
                load.join()
            assert len(load.received) == 40
            assert ask(service, body=_FORBIDDEN).status == 403
            assert service.call("GET", "/v1/policy").status == 401
            assert _count(service, "kubemint_decisions_total", outcome="issued") == 40 * so_far
            assert _count(service, "kubemint_decisions_total", outcome="refused") == so_far
            assert _count(service, "kubemint_http_responses_total", route="/v1/certificates") == 41 * so_far
            assert _count(service, "kubemint_http_responses_total", status="401") == so_far
            assert _count(service, "kubemint_authentications_total", method="token") == 41 * so_far
            assert _count(service, "kubemint_authentications_total", method="failed") == so_far
            assert _count(service, "kubemint_issue_duration_seconds_count") == 40 * so_far
            victim = service.worker_pids[0]
            os.kill(victim, how)
            wait_until_replaced(service, victim)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve, and have clients that ask for all kinds of things."""
    with RunningService(tmp_path_factory.mktemp("observation") / "kubemint") as running:
        yield running


def test_one_line_says_what_is_served(tmp_path: Path) -> None:
    """When it listens, a service says once which version it is, where, and with which CA, policy and ledger."""
    config = make_workspace(tmp_path / "kubemint")
    for size in (0, 1):  # the first policy is recorded by the workers, which are not there yet
        with RunningService(config.parent, config=config) as service:
            said = service.log_file.read_text().splitlines()
            lines = [json.loads(line) for line in said if line.startswith("{")]
        *_, line = [line for line in lines if line["event"] == "serving"]
        authority = x509.load_pem_x509_certificate(service.ca_file.read_bytes())
        assert (line["version"], line["address"]) == (version("kubemint"), service.url)
        assert (line["ca"], line["ledgerSize"]) == ("CN=kubemint", size)
        assert datetime.fromisoformat(line["caExpires"]) == authority.not_valid_after_utc
        policy = hashlib.sha256((config.parent / "policy.yaml").read_bytes()).hexdigest()
        assert line["policy"] == f"sha256:{policy}"
    assert [line["event"] for line in lines].count("serving") == 2


def test_one_line_for_each_decision(service: RunningService) -> None:
    """Each decision is one JSON line on standard output, with its request's id, and the log is silent on it."""
    before = len(service.decisions())
    bodies = {"good": good_csr(), "forbidden": _FORBIDDEN, "cut off": good_csr()[:-1]}
    answers = {name: ask(service, body=body) for name, body in bodies.items()}
    lines = service.decisions()[before:]
    ids = [answer.headers["X-Request-Id"] for answer in answers.values()]
    assert [line["requestId"] for line in lines] == ids
    assert [line["kind"] for line in lines] == ["issued", "refused", "refused"]
    assert lines[0]["serialNumber"] == answers["good"].json()["serialNumber"]
    refusals = [answers["forbidden"], answers["cut off"]]
    assert [line["reasons"] for line in lines[1:]] == [answer.json()["reasons"] for answer in refusals]
    for line, fields in zip(lines, read_ledger(service.ledger_file).fields[-3:], strict=True):
        told = {name: line[name] for name in fields if name != "certificate"}
        assert told == {name: value for name, value in fields.items() if name != "certificate"}
    assert not {line.get("requestId") for line in service.log_lines()} & set(ids)


@pytest.mark.parametrize("name", ["line separator in CN", "C1 control in CN", "bidi override in CN"])
def test_a_name_changes_nothing_but_its_own_line(tmp_path: Path, name: str) -> None:
    """What a CSR asks for cannot end a line, nor steer the terminal of who reads the output."""
    with RunningService(tmp_path / "kubemint") as service:
        before = service.output_file.stat().st_size
        assert ask(service, body=bad_csr(name)).status == 422
        written = service.output_file.read_bytes()[before:].decode()
    assert written.removesuffix("\n").isprintable()
    assert len(written.splitlines()) == 1


def test_one_line_for_each_of_many_decisions(service: RunningService) -> None:
    """Sixteen clients at two workers leave whole lines, one for each entry of the ledger."""
    with Load(service, requests=10) as load:
        load.join()
    indexes = [line["logIndex"] for line in service.decisions()]
    assert sorted(indexes) == list(read_ledger(service.ledger_file).indexes)[1:]  # the first is the policy's
    assert len({line["requestId"] for line in service.decisions()}) == len(indexes)


def test_one_line_for_each_other_request(service: RunningService) -> None:
    """Every other request is one event in the log: its id, route, status and requester, and no query."""
    asked = {
        "policy-0001": ("GET", "/v1/policy?secret=no", "/v1/policy", "requester", 200, "token:requester"),
        "nobody-0001": ("GET", "/v1/certificates", "/v1/certificates", None, 401, None),
        "nowhere-0001": ("GET", "/nowhere/at/all", "none", None, 404, None),
        "method-0001": ("DELETE", "/v1/ca", "none", None, 405, None),
        "media-0001": ("POST", "/v1/certificates", "/v1/certificates", "requester", 415, "token:requester"),
    }
    for name, (method, path, _, token, status, _) in asked.items():
        answer = service.call(method, path, token=token, headers={"X-Request-Id": name})
        assert (answer.status, answer.headers["X-Request-Id"]) == (status, name)
    lines = {line["requestId"]: line for line in service.log_lines() if line["event"] == "request"}
    for name, (method, _, route, _, status, requester) in asked.items():
        told = [lines[name][member] for member in ("method", "route", "status", "requester")]
        assert told == [method, route, status, requester]
        assert lines[name]["milliseconds"] > 0
    counted = Counter(line.get("requestId") for line in service.log_lines())
    assert {counted[name] for name in asked} == {1}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_leave_no_line(service: RunningService, path: str) -> None:
    """What is asked every few seconds is in the counts alone."""
    assert service.call("GET", path, headers={"X-Request-Id": "a-probe-0001"}).status == 200
    assert "a-probe-0001" not in service.log_file.read_text()


@pytest.mark.parametrize("name", ["short", "a" * 65, "line\tfeed", '{"event": "decision"}'])
def test_a_request_id_that_is_none(service: RunningService, name: str) -> None:
    """What a client calls its request is used only if it can do no harm in a log."""
    given = service.call("GET", "/v1/ca", headers={"X-Request-Id": name}).headers["X-Request-Id"]
    assert given != name
    assert len(given) == 16


def test_no_token_in_sight(service: RunningService) -> None:
    """No token is ever written down: not in the output, the log, the ledger, nor an answer."""
    token = service.token()
    shown = [f"Bearer {token}", f"Basic {token}", f"Bearer {token}x", token]
    answers = [ask(service, headers={"Authorization": value}) for value in shown]
    answers += [service.call("GET", f"{path}?token={token}") for path in ("/v1/policy", "/v1/ca", f"/{token}")]
    answers += [service.call("GET", f"/v1/certificates?user={token}", token="requester")]
    seen = b"".join(answer.body + str(answer.headers).encode() for answer in answers)
    seen += repr(list(pages(service))).encode()  # all that an auditor reads
    for file in (service.output_file, service.log_file, *service.directory.glob("ledger.db*")):
        seen += file.read_bytes()
    for name in ("requester", "operator"):
        assert service.token(name).removeprefix("kubemint_").encode() not in seen
