"""What decides is proven: somebody who can write to the database gets no name, no policy and no approval by it."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.proven import ProvenEntries, proven_policy
from kubemint.record import Event
from kubemint.transparency.tree import leaf_hash
from ledger.adapters import Adapter, PostgresAdapter, stored
from ledger.events import approved, issued, policy_changed, requested

POLICY = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of "foo"


@pytest.fixture
def proven(adapter: Adapter) -> ProvenEntries:
    """Give what proves, over two certificates, a policy, and two requests of which one is approved."""
    ledger = adapter.open()
    ledger.append(issued(1, user="mallory"))
    ledger.append(issued(2, user="boss", groups=("admins",)))
    ledger.append(_policy())
    ledger.append(_terms(requested("r1"), "d1"))
    ledger.append(_terms(requested("r2", user="boss"), "d2"))
    ledger.append(_terms(approved("r1"), "d1"))
    return ProvenEntries(adapter.reader(), adapter.log())


def test_what_is_in_order_is_found(adapter: Adapter, proven: ProvenEntries) -> None:
    """Entries that are in the tree come as they were recorded, and what is not there is None."""
    mine = json.loads(bytes(stored(adapter, tables.entries)[0]["body"]))
    found = proven.find_by_credential_id(mine["credentialId"])
    assert found is not None
    assert found.fields == mine
    assert proven.find_by_serial("02").fields["user"] == "boss"  # type: ignore[union-attr]  # it is there
    assert proven.find_by_serial("77") is None
    assert proven_policy(adapter.reader(), adapter.log()).fields["version"] == POLICY  # type: ignore[union-attr]
    assert [len(proven.find_request(name).approvals) for name in ("r1", "r2")] == [1, 0]  # type: ignore[union-attr]  # the same
    assert proven.find_request("r3") is None


CHANGES: dict[str, Callable[[Adapter], None]] = {
    "a body": lambda adapter: _rewrite(adapter, 0, user="boss"),
    "a body and its hash": lambda adapter: _rewrite(adapter, 0, with_hash=True, user="boss"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_certificate_renews_nothing(adapter: Adapter, proven: ProvenEntries, change: str) -> None:
    """An entry that somebody has rewritten is not given, whatever stands beside it."""
    name = json.loads(bytes(stored(adapter, tables.entries)[0]["body"]))["credentialId"]
    CHANGES[change](adapter)
    with pytest.raises(LedgerUnavailable):
        proven.find_by_credential_id(name)
    with pytest.raises(LedgerUnavailable):
        proven.find_by_serial("01")


def test_a_row_that_leads_to_another_certificate(adapter: Adapter, proven: ProvenEntries) -> None:
    """Where the row of one certificate leads to the entry of another, nothing is given."""
    first, second = (bytes(row["credential_id"]).hex() for row in stored(adapter, tables.certificates))
    for index, digest in ((0, "00" * 32), (1, first), (0, second)):
        octets = f"'\\x{digest}'" if isinstance(adapter, PostgresAdapter) else f"x'{digest}'"
        adapter.execute(f"UPDATE certificates SET credential_id = {octets} WHERE entry_index = {index}")
    with pytest.raises(LedgerUnavailable):
        proven.find_by_credential_id(f"X509SHA256={first}")


@pytest.mark.parametrize("with_hash", [False, True])
def test_a_changed_policy_does_not_count(adapter: Adapter, proven: ProvenEntries, with_hash: bool) -> None:
    """A policy on record that somebody has rewritten, and its version with it, is not given."""
    _rewrite(adapter, 2, with_hash=with_hash, text="bar")
    with pytest.raises(LedgerUnavailable):
        proven_policy(adapter.reader(), adapter.log())


def test_an_approval_of_another_request_does_not_count(adapter: Adapter, proven: ProvenEntries) -> None:
    """An approval that a row moves to another request is not among the approvals of that one."""
    adapter.execute("INSERT INTO approvals (request, entry_index) VALUES ('r2', 5)")
    found = proven.find_request("r2")
    assert found is not None
    assert found.approvals == ()


def test_a_changed_request_is_not_approved(adapter: Adapter, proven: ProvenEntries) -> None:
    """A request that somebody has rewritten is not given."""
    _rewrite(adapter, 3, user="boss")
    with pytest.raises(LedgerUnavailable):
        proven.find_request("r1")


def _policy() -> Event:
    event = policy_changed(POLICY)
    return replace(event, fields={**event.fields, "text": "foo"})


def _terms(event: Event, digest: str) -> Event:
    return replace(event, fields={**event.fields, "digest": digest})


def _rewrite(adapter: Adapter, index: int, *, with_hash: bool = False, **changed: str) -> None:
    """Change the body of an entry, as whoever owns the database can, and the leaf hash with it or not."""
    row = stored(adapter, tables.entries)[index]
    fields = json.loads(bytes(row["body"])) | changed
    body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    hashed = leaf_hash(body) if with_hash else bytes(row["leaf_hash"])
    for verb in ("update", "delete"):
        on = " ON entries" if isinstance(adapter, PostgresAdapter) else ""
        adapter.execute(f"DROP TRIGGER IF EXISTS entries_no_{verb}{on}")
    values = [
        f"'\\x{octets.hex()}'" if isinstance(adapter, PostgresAdapter) else f"x'{octets.hex()}'"
        for octets in (body, hashed)
    ]
    adapter.execute(f'UPDATE entries SET body = {values[0]}, leaf_hash = {values[1]} WHERE "index" = {index}')
