"""`kubemint audit-log` against services that answer strangely: what cannot be asked is not unknown."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client.peers import document, listening, problem
from commands.audit_lines import STRANGER, line
from commands.cli import failed_cleanly, kubemint

RECORD = {"serialNumber": "0a", "user": "ann"}


@pytest.mark.parametrize(
    "members",
    [
        {"revocation": "now"},
        {"revocation": {"time": 7}},
        {"revocation": {"time": "2026-11-23T05:00:00"}},
        {"revocation": {}},
    ],
)
def test_what_is_no_record(tmp_path: Path, members: dict[str, Any]) -> None:
    """A service that answers with something else is a sentence."""
    (tmp_path / "audit.log").write_bytes(line("ann", datetime.now(UTC), 200, STRANGER))
    with listening(document(roles=["auditor"]), document(**RECORD | members)) as peer:
        ran = kubemint("audit-log", "audit.log", "--url", peer.url, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert peer.seen[1].path == f"/v1/certificates/{STRANGER}"


def test_a_service_that_is_none_or_fails(tmp_path: Path) -> None:
    """What is not found is told from what could not be asked."""
    (tmp_path / "audit.log").write_bytes(line("ann", datetime.now(UTC), 200, STRANGER))
    cases: Iterable[tuple[Any, ...]] = (
        (document(),),
        (document(roles="all"),),
        (document(roles=["auditor"]), problem(403)),
        (document(roles=["auditor"]), problem(500)),
        (document(roles=["auditor"]), problem(404), problem(500)),
        (document(roles=["auditor"]), problem(404), document(items=[]), document(items=[{"user": "x"}])),
        (document(roles=["auditor"]), problem(404), document(items=[]), document(items=[7])),
    )
    for replies in cases:
        with listening(*replies) as peer:
            ran = kubemint("audit-log", "audit.log", "--unused", "--url", peer.url, cwd=tmp_path)
        assert failed_cleanly(ran), ran.errors
        assert ran.output == ""
