"""What kubemint revokes, a real API server refuses: within the seconds that are promised, and nobody else."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest

from cluster.client import kubemint
from cluster.cluster import Kubectl
from cluster.conftest import find_programs
from cluster.guarded import READ, REVOKED, Guard, Holder, guarded_cluster
from kubemint.record import rfc3339

pytestmark = pytest.mark.xdist_group("cluster")

FORBIDDEN = "(Forbidden)"  # how kubectl says 403
IMPERSONATE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "impersonate"},
    "rules": [{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}],
}


@pytest.fixture(scope="module")
def guard(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    """Give an API server that asks a service, both running."""
    directory = tmp_path_factory.mktemp("guarded")
    folder = directory / "kubeconfigs"
    folder.mkdir()
    prepared, service = guarded_cluster(directory, find_programs())
    with service, prepared as cluster:
        running = Guard(cluster=cluster, service=service, kubectl=kubectl, folder=folder)
        admin = running.admin
        admin("create", "clusterrole", "reader", "--verb=get,list,watch", "--resource=configmaps")
        admin("create", "clusterrolebinding", "reader", "--clusterrole=reader", "--group=system:authenticated")
        admin.create(IMPERSONATE)
        admin("create", "clusterrolebinding", "helpdesk", "--clusterrole=impersonate", "--group=helpdesk")
        running.wait_until_bindings_count(running.issue("first"))
        yield running


def of_user(guard: Guard) -> tuple[Holder, Holder, dict[str, str]]:
    return guard.issue("of-user", "team-a"), guard.issue("other-user", "team-a"), {"user": "of-user"}


def of_group(guard: Guard) -> tuple[Holder, Holder, dict[str, str]]:
    return guard.issue("ann", "contractors", "team-a"), guard.issue("bob", "team-a"), {"group": "contractors"}


def of_requester(guard: Guard) -> tuple[Holder, Holder, dict[str, str]]:
    return guard.issue("deployer", token="ci"), guard.issue("deployer"), {"requester": "token:ci"}


def of_serial(guard: Guard) -> tuple[Holder, Holder, dict[str, str]]:
    one, other = guard.issue("of-serial"), guard.issue("of-serial")
    return one, other, {"serialNumber": one.serial_number}


def of_window(guard: Guard) -> tuple[Holder, Holder, dict[str, str]]:
    before = guard.issue("of-window")
    time.sleep(1.1)  # the record has whole seconds
    since = rfc3339(datetime.now(UTC))
    return guard.issue("of-window"), before, {"issuedSince": since, "user": "of-window"}


@pytest.mark.parametrize("choose", [of_user, of_group, of_requester, of_serial, of_window])
def test_what_is_revoked_is_refused_and_nothing_else(
    guard: Guard, choose: Callable[[Guard], tuple[Holder, Holder, dict[str, str]]]
) -> None:
    """What a selector means gets 403 with our reason in time; the nearest that it does not mean works on."""
    meant, other, select = choose(guard)
    meant.may()
    other.may()
    revocation, moment = guard.revoke(**select)
    said = meant.denied_since(moment)
    assert FORBIDDEN in said
    assert REVOKED in said
    assert revocation in said
    other.may()


def test_the_command_line_revokes(guard: Guard) -> None:
    """`kubemint revoke` does what the API does, and what it prints names what kubectl is told."""
    jane = guard.issue("jane-cli")
    jane.may()
    service = ("--url", guard.service.url, "--ca", str(guard.service.tls_ca_file))
    operator = ("--token-file", str(guard.service.directory / "operator.token"))
    printed = kubemint("revoke", "--user", "jane-cli", "--reason", "keyCompromise", "--yes", *service, *operator)
    said = jane.denied_since(time.monotonic())
    assert "keyCompromise" in said
    assert said.rpartition("revocation ")[2].rstrip(")\n") in printed


def test_a_new_certificate_of_a_revoked_user_works(guard: Guard) -> None:
    """A revocation is of certificates: who gets another one afterwards is let in with it, and not with the old."""
    old = guard.issue("again")
    _, moment = guard.revoke(user="again", reason="superseded")
    old.denied_since(moment)
    guard.issue("again").may()
    assert REVOKED in old.kubectl.refused(*READ)


def test_a_path_that_is_no_resource_is_refused_too(guard: Guard) -> None:
    """What every user may ask of the API server, its version for instance, is refused to a revoked certificate."""
    jane = guard.issue("jane-paths")
    jane.may("get", "--raw", "/version")
    _, moment = guard.revoke(user="jane-paths")
    said = jane.denied_since(moment, "get", "--raw", "/version")
    assert FORBIDDEN in said
    assert REVOKED in said


def test_a_question_that_is_too_long_to_be_read_is_refused(guard: Guard) -> None:
    """Nobody gets in by asking for so much that the API server's question is not read."""
    jane, other = guard.issue("jane-long"), guard.issue("joe-long")
    _, moment = guard.revoke(user="jane-long")
    jane.denied_since(moment)
    for holder in (jane, other):
        path = f"/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3D{'a' * 70_000}"
        said = holder.kubectl.refused("get", "--raw", path)
        assert FORBIDDEN in said
        assert "too large" in said
    other.may()


def test_a_hold_that_is_lifted_works_again(guard: Guard) -> None:
    """certificateHold refuses as any other reason does; lifted, the same certificate is let in, in time."""
    jane = guard.issue("jane-hold")
    revocation, moment = guard.revoke(user="jane-hold", reason="certificateHold")
    assert "certificateHold" in jane.denied_since(moment)
    answer = guard.service.call("POST", f"/v1/revocations/{revocation}/lift", json_body={}, token="operator")
    assert answer.status == 200, answer.text
    jane.allowed_since(time.monotonic())


def test_nobody_is_impersonated_with_a_revoked_certificate(guard: Guard) -> None:
    """Who may act as somebody else may not any more, though nothing is said against the other one."""
    jane, support = guard.issue("jane-other"), guard.issue("support", "helpdesk")
    acting = (*READ, "--as=jane-other")
    support.may(*acting)
    _, moment = guard.revoke(user="support")
    said = support.denied_since(moment, *acting)
    assert 'User "support" cannot impersonate resource "users"' in said
    assert REVOKED in said
    jane.may()


def test_others_who_ask_the_api_server_are_told_the_same(guard: Guard) -> None:
    """A kubelet, or an aggregated API server, asks about its own clients, and hears of the revocation too."""
    jane, other = guard.issue("jane-review"), guard.issue("jane-review")
    _, moment = guard.revoke(serialNumber=jane.serial_number)
    jane.denied_since(moment)
    statuses = [review(guard, "jane-review", holder.serial_number) for holder in (jane, other)]
    assert [(status["allowed"], status.get("denied", False)) for status in statuses] == [
        (False, True),
        (True, False),
    ]
    assert REVOKED in statuses[0]["reason"]


def review(guard: Guard, user: str, serial_number: str) -> Any:
    """Ask the API server whether the holder of a certificate may read config maps."""
    attributes = {"verb": "list", "resource": "configmaps", "namespace": "default"}
    groups = [f"kubemint:serial:{serial_number}", "system:authenticated"]
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    specification = {"user": user, "groups": groups, "resourceAttributes": attributes}
    return guard.admin.create({**kind, "spec": specification})["status"]


def test_an_api_server_that_starts_anew_refuses(guard: Guard) -> None:
    """The API server has forgotten every answer, and the first one that it gets is the right one."""
    jane, other = guard.issue("jane-restart"), guard.issue("joe-restart")
    _, moment = guard.revoke(user="jane-restart")
    jane.denied_since(moment)
    guard.cluster.restart_api_server()
    assert REVOKED in jane.kubectl.refused(*READ)
    other.may()


def test_while_the_service_is_away_rbac_decides(guard: Guard) -> None:
    """Killed, it holds nobody back: before 1.32 an outage fails open. Started anew, its first answer is right.

    It is not ready before it knows what is revoked: no question falls into a gap.
    """
    jane, other = guard.issue("jane-away"), guard.issue("joe-away")
    _, moment = guard.revoke(user="jane-away")
    jane.denied_since(moment)
    guard.service.kill()
    try:
        time.sleep(1.1)  # until the API server has forgotten the refusal
        jane.may()
        other.may()
    finally:
        guard.service.start()
    assert REVOKED in jane.kubectl.refused(*READ)
    other.may()


def test_a_certificate_without_the_group_goes_on(guard: Guard) -> None:
    """A limit: before 1.32 nothing but the group tells which certificate it is, so one without it goes on."""
    unmarked, marked = guard.issue("jane-bare", profile="unmarked"), guard.issue("jane-bare")
    _, moment = guard.revoke(user="jane-bare")
    marked.denied_since(moment)
    unmarked.may()


def test_system_masters_is_let_through(guard: Guard, tmp_path: Path) -> None:
    """A limit: the API server asks nobody about that group. The same certificate without it is refused."""
    revoked = guard.issue("jane-masters")
    serial_group = f"kubemint:serial:{revoked.serial_number}"
    _, moment = guard.revoke(user="jane-masters")
    revoked.denied_since(moment)
    by_hand = {}
    for group in ("system:masters", "others"):
        folder = tmp_path / group.replace(":", "-")  # a colon would make two kubeconfigs of it
        files = guard.cluster.ca.client_pair(folder, f"/O={group}/O={serial_group}/CN=by-hand")
        by_hand[group] = guard.with_pair(folder, *files)
    by_hand["system:masters"](*READ)
    assert REVOKED in by_hand["others"].refused(*READ)


def test_a_watch_that_is_open_goes_on(guard: Guard) -> None:
    """A limit: the API server authorizes a watch when it begins. What is opened afterwards is refused."""
    guard.admin("create", "configmap", "before-the-revocation", "-n", "default")
    jane = guard.issue("jane-watch")
    with watching(jane) as watch:
        _, moment = guard.revoke(user="jane-watch")
        jane.denied_since(moment)
        guard.admin("create", "configmap", "after-the-revocation", "-n", "default")
        lines_until(watch, "after-the-revocation")
    assert REVOKED in jane.kubectl.refused(*READ, "--watch")


def lines_until(watch: IO[str], text: str) -> str:
    """Read on until a line holds the text, which must come before the watch ends."""
    for line in watch:
        if text in line:
            return line
    pytest.fail("the watch ended")


@contextmanager
def watching(holder: Holder) -> Iterator[IO[str]]:
    """Watch config maps, from the first line on that arrives; half a minute at most."""
    command = ("timeout", "30", holder.kubectl.program, *READ, "--watch", "-o", "name")
    own = {"HOME": str(holder.kubectl.home), "KUBECONFIG": str(holder.kubectl.kubeconfig)}
    environment = own | {"PATH": os.environ["PATH"]}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines_until(process.stdout, "configmap/")
            yield process.stdout
        finally:
            process.terminate()


def test_each_question_of_the_api_server_is_understood(guard: Guard) -> None:
    """Each SubjectAccessReview of this API server, about a resource or a path, is answered with 200."""
    jane = guard.issue("jane-asks")
    jane.may()
    jane.may("get", "--raw", "/version")
    _, moment = guard.revoke(user="jane-asks")
    jane.denied_since(moment)
    responses = 'kubemint_http_responses_total{route="/kubernetes/authorize"'
    assert guard.metric(f'{responses},status="200"') == guard.metric(responses) > 0
    answers = "kubemint_webhook_answers_total"
    assert guard.metric(f'{answers}{{outcome="denied"') >= 1
    assert guard.metric(f'{answers}{{outcome="no-opinion"') >= 2
