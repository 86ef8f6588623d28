"""A ledger that cannot be written: no certificate, 503, and no restart needed when it is well again."""

import contextlib
import sqlite3
import time

from running_service import RunningService
from service.clients import ask, read_ledger


def test_a_ledger_locked_by_another_process(impatient: RunningService) -> None:
    """While another process holds the lock there is 503 with Retry-After, and nothing is handed out unlogged."""
    assert ask(impatient).status == 201
    with contextlib.closing(sqlite3.connect(impatient.ledger_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answer = ask(impatient, timeout=10)
        assert time.monotonic() - began < 3
        assert answer.status == 503, answer.text
        assert answer.headers["Retry-After"]
        assert answer.json()["code"] == "ledger-unavailable"
        time.sleep(3.1)  # what readiness has found is good for three seconds
        assert impatient.call("GET", "/readyz").status == 503
        assert impatient.call("GET", "/livez").status == 200
        assert impatient.call("GET", "/v1/certificates", token="operator").status == 200
        other.execute("ROLLBACK")
    assert ask(impatient).status == 201
    time.sleep(3.1)
    assert impatient.call("GET", "/readyz").status == 200
    record = read_ledger(impatient.ledger_file)
    record.check()
    assert record.kinds == ("issued", "issued")
