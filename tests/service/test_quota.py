"""A quota as clients meet it: exact over workers and over replicas that share one ledger."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from running_service import Answer, RunningService, free_port
from service.clients import CSR, PKCS10, ask
from service.record import read_ledger
from service.workspaces import change_yaml, make_workspace

CLIENTS = 16
QUOTA = 5


def _profile(certificates: int, per: str) -> dict[str, object]:
    return {
        "requesters": [{"token": "requester"}, {"token": "operator"}],
        "users": ["*"],
        "groups": ["developers", "team-*"],
        "lifetime": {"default": "1h", "max": "1h"},
        "quota": {"certificates": certificates, "per": per},
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve profiles with quotas to two requesters."""
    config = make_workspace(tmp_path_factory.mktemp("quota") / "kubemint")
    change_yaml(config, lambda settings: settings["ledger"].update(lockWait="10s"))
    profiles = {"workers": _profile(QUOTA, "1h"), "replicas": _profile(QUOTA, "1h"), "short": _profile(1, "3s")}
    change_yaml(config.with_name("policy.yaml"), lambda policy: policy.update(profiles=profiles))
    with RunningService(config.parent, config=config) as running:
        yield running


@contextlib.contextmanager
def _replica(service: RunningService) -> Iterator[RunningService]:
    """Serve the same from another port, with the same ledger."""
    config = service.directory / "replica.yaml"
    config.write_bytes((service.directory / "kubemint.yaml").read_bytes())
    change_yaml(config, lambda settings: settings["server"].update(listen=f"127.0.0.1:{free_port()}"))
    running = RunningService(service.directory.with_name("replica"), config=config)  # what it prints goes there
    running.directory = service.directory
    with running:
        yield running


def _at_once(services: Sequence[RunningService], profile: str) -> list[Answer]:
    start = Barrier(CLIENTS)

    def ask_with_the_others(number: int) -> Answer:
        start.wait(10)
        return ask(services[number % len(services)], path=f"/v1/certificates?profile={profile}", timeout=12)

    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(ask_with_the_others, range(CLIENTS)))


def _check_exact(service: RunningService, answers: Sequence[Answer], profile: str) -> None:
    """Fail unless exactly as many got a certificate as may, and each other one was told why, and is on record."""
    assert Counter(answer.status for answer in answers) == {201: QUOTA, 429: CLIENTS - QUOTA}
    for answer in answers:
        if answer.status == 429:
            assert [reason["code"] for reason in answer.json()["reasons"]] == ["quota-exceeded"]
            assert 3590 <= int(answer.headers["Retry-After"]) <= 3601
    record = read_ledger(service.ledger_file)
    record.check()
    kinds = Counter(fields["kind"] for fields in record.fields if fields.get("requestedProfile") == profile)
    assert kinds == {"issued": QUOTA, "refused": CLIENTS - QUOTA}


def test_sixteen_clients_at_two_workers(service: RunningService) -> None:
    """Sixteen that ask at once get five certificates, and another requester has five of its own."""
    _check_exact(service, _at_once([service], "workers"), "workers")
    other = service.call("POST", "/v1/certificates?profile=workers", body=CSR, headers=PKCS10, token="operator")
    assert other.status == 201, other.text


def test_sixteen_clients_at_two_replicas(service: RunningService) -> None:
    """Sixteen that ask two services with one ledger at once get five certificates; the policy is told once."""
    with _replica(service) as replica:
        answers = _at_once([service, replica], "replicas")
    _check_exact(service, answers, "replicas")
    assert read_ledger(service.ledger_file).kinds.count("policy-changed") == 1


def test_the_window_passes(service: RunningService) -> None:
    """Who comes again after the seconds in Retry-After gets one more; an idempotent retry needs no room."""
    path, key = "/v1/certificates?profile=short", {"Idempotency-Key": "short"}
    first = ask(service, path=path, headers=key)
    assert first.status == 201
    refused = ask(service, path=path)
    assert refused.status == 429
    again = ask(service, path=path, headers=key).json()
    assert again | {"receipt": ""} == first.json() | {"receipt": ""}  # which tells of a later checkpoint
    wait = int(refused.headers["Retry-After"])
    assert 1 <= wait <= 4
    time.sleep(wait)
    assert ask(service, path=path).status == 201
    assert ask(service, path=path).status == 429
