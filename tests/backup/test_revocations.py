"""What was revoked stays revoked through a restore (promise P9), on either store, wherever it was cut off."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.events import refusals, revocations
from backup.folders import back_up, ignore, record, record_bodies, restoration, restore
from backup.test_commands import back_up as run_backup
from backup.test_commands import lines
from backup.test_commands import restore as run_restore
from backup.workspaces import STORES, Workspace
from kubemint.errors import InvalidProof
from kubemint.kubernetes.access_review import AccessReview, Unknown
from kubemint.kubernetes.revoked_credentials import Denied, NoOpinion, RevokedCredentials
from kubemint.ledger import tables
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.retention import retain
from kubemint.ledger.revocations import RevocationReader
from kubemint.ledger.rows import octets_of_credential_id
from kubemint.record import BlockKind, Event, NotBlocked, OnHold
from kubemint.transparency.tiles import Tile
from kubemint.x509.revocation import RevocationReason
from kubemint.x509.twin import twin_digest
from ledger.adapters import Adapter, SqliteAdapter, assert_sound, head_size, stored
from ledger.events import NOW, certificate_der, policy_changed, reinstated, revoked
from log.issuing import issued
from log.record import findings

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
HOLD, COMPROMISE = RevocationReason.CERTIFICATE_HOLD, RevocationReason.KEY_COMPROMISE
ANN, BOB, CARL, DAN = (issued(serial, user=user) for serial, user in enumerate(("ann", "bob", "carl", "dan"), 1))
SOON = NOW + MINUTE
REVOKED, HELD, LIFTED, FREE = ANN, BOB, CARL, DAN


def _fill(adapter: Adapter) -> None:
    """Append revocations that are so far from their certificates that a restore writes them later."""
    ledger = adapter.open()
    ledger.append(policy_changed("v1"), ANN, BOB, CARL, DAN)
    for some in refusals(1100):
        ledger.append(*some)
    ledger.append(
        revoked("a", user="ann", reason=COMPROMISE, time=SOON, suspend_until=NOW + DAY),
        revoked("b", user="bob", reason=HOLD, time=SOON),
        revoked("c", user="carl", reason=HOLD, time=SOON, suspend_until=NOW + DAY),
    )
    for some in refusals(1100):
        ledger.append(*some)
    ledger.append(reinstated("c", time=SOON + MINUTE))


def _credential(event: Event) -> str:
    return str(event.fields["credentialId"])


def _question(event: Event) -> AccessReview:
    """Give the question of an API server about the holder of a certificate."""
    return AccessReview(
        api_version="authorization.k8s.io/v1",
        user=event.fields["user"],
        groups=(),
        uid="",
        credential_ids=(_credential(event),),
        foreign_credential_ids=(),
        serials=(),
    )


def _reader(adapter: Adapter) -> RevocationReader:
    adapter.reader()
    return RevocationReader(adapter.readers[-1])


def _blocked(adapter: Adapter, user: str, key: str, now: datetime) -> BlockKind | None:
    """Try to issue; tell what is against it."""
    condition = NotBlocked(user=user, groups=(), public_key_sha256=key, now=now)
    unmet = adapter.open().append(issued(90, time=now), conditions=(condition,)).unmet
    return None if unmet is None else unmet.blocked


def test_what_was_revoked_stays_so(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Row for row, and for all who ask: of a certificate, of its twin, for a new one, to lift a hold."""
    _fill(adapter)
    back_up(adapter, tmp_path / "backup")
    restore(target, tmp_path / "backup", adapter.keys)
    assert record(target) == record(adapter)
    assert findings(target) == []
    reader = _reader(target)
    assert reader.count(SOON) == 2
    for event, revocation in ((REVOKED, "a"), (HELD, "b")):
        found = reader.of_credential(_credential(event))
        assert found is not None
        assert (found.revocation, found.revoked_at) == (revocation, SOON)
        twin = twin_digest(certificate_der(event))
        assert twin is not None
        assert reader.of_credential(f"X509SHA256={twin.hex()}") == found
    assert reader.of_credential(_credential(LIFTED)) is reader.of_credential(_credential(FREE)) is None


def test_api_servers_are_told(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Who loads what is revoked from the restored ledger denies it, and nothing else."""
    _fill(adapter)
    back_up(adapter, tmp_path / "backup")
    restore(target, tmp_path / "backup", adapter.keys)
    known = RevokedCredentials(_reader(target), Unknown.IGNORE, lambda: SOON)
    verdicts = {event.fields["user"]: known.judge(_question(event)) for event in (ANN, BOB, CARL, DAN)}
    assert isinstance(verdicts["ann"], Denied)
    assert isinstance(verdicts["bob"], Denied)
    assert verdicts["carl"] == verdicts["dan"] == NoOpinion()


def test_whom_it_kept_out(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Suspended users and revoked keys get nothing in the restored ledger either; lifted suspensions are over."""
    _fill(adapter)
    back_up(adapter, tmp_path / "backup")
    restore(target, tmp_path / "backup", adapter.keys)
    key, other = ANN.fields["publicKeySha256"], "00" * 32
    assert _blocked(target, "new", key, SOON) is BlockKind.KEY
    assert _blocked(target, "new", key, NOW + 1000 * DAY) is BlockKind.KEY
    assert _blocked(target, "ann", other, SOON) is BlockKind.USER
    assert head_size(target) == head_size(adapter)
    assert _blocked(target, "carl", other, SOON) is None
    on_hold = [
        target.open().append(reinstated(name), conditions=(OnHold(revocation=name),)).unmet is None
        for name in ("a", "b", "c")
    ]
    assert on_hold == [False, True, False]
    assert_sound(target)


def test_a_restore_that_was_cut_off(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Cut off between certificate and revocation, or between hold and lifting, it ends as if it had not been."""
    _fill(adapter)
    back_up(adapter, tmp_path / "backup")
    for after in (1024, 2048):
        with pytest.raises(_CutOffError):
            restoration(target, tmp_path / "backup", adapter.keys).fill(_cut_off(after))
        assert len(stored(target, tables.entries)) == after
    restore(target, tmp_path / "backup", adapter.keys)
    assert record(target) == record(adapter)


def test_rows_that_retention_dropped(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """A restore brings back what expired long ago; the next retention drops it again, and no key is forgotten."""
    _fill(adapter)
    late = NOW + 90 * DAY
    before = record(adapter)
    retain(adapter.database(), DAY, late, pause=ignore)
    back_up(adapter, tmp_path / "backup")
    restore(target, tmp_path / "backup", adapter.keys)
    assert record(target) == before
    retain(target.database(), DAY, late, pause=ignore)
    assert record(target) == record(adapter)
    assert [row["kind"] for row in stored(target, tables.blocks)] == ["key"]
    assert findings(target, now=late, retention=DAY) == []


def test_revocations_of_every_shape(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Whatever a selector names, it hits the same certificates again."""
    adapter.open().append(ANN, BOB, CARL, DAN, *revocations())
    back_up(adapter, tmp_path / "backup")
    restore(target, tmp_path / "backup", adapter.keys)
    hits = [
        (row["revocation_index"], row["credential_id"]) for row in stored(adapter, tables.revoked_certificates)
    ]
    assert (4, octets_of_credential_id(_credential(ANN))) in hits
    assert record(target) == record(adapter)


@pytest.mark.parametrize(("store", "into"), [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite")])
def test_the_line_of_a_restore(tmp_path: Path, store: str, into: str) -> None:
    """Who restores sees how many revocations there are, and that the backup has as many."""
    assert {store, into} <= set(STORES)
    place = Workspace(tmp_path / "place", store)
    place.append(ANN, BOB, revoked("a", user="ann"), revoked("b", user="bob", reason=HOLD), reinstated("b"))
    assert run_backup(place).code == 0
    ran = run_restore(Workspace.copy(place, tmp_path / "copy", into))
    assert ran.code == 0, ran.output + ran.errors
    assert lines(ran)["revocations"] == ("ok", "2, and the manifest says 2")
    assert lines(ran)["kinds"][1].endswith("2 issued, 1 reinstated, 2 revoked")


@pytest.mark.parametrize(
    "fields",
    [
        {"select": {"serialNumber": "xyz"}},
        {"select": {"user": 1}},
        {"select": {"issuedUntil": "soon"}},
        {"select": None},
        {"reason": "because"},
        {"blocksKeys": True, "select": {"publicKeySha256": "a"}},
    ],
    ids=str,
)
def test_a_revocation_that_cannot_be_read(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Though the log has signed it, a revocation of nothing that there could be is not restored."""
    source, target = (SqliteAdapter(tmp_path / f"{name}.db") for name in ("source", "target"))
    good = revoked("a", user="ann")
    _record(source, [ANN, replace(good, fields={**good.fields, **fields})], tmp_path / "backup")
    with pytest.raises(InvalidProof, match="entry 1 of the backup cannot be read"):
        restore(target, tmp_path / "backup", source.keys)
    assert head_size(target) == 0
    source.close()
    target.close()


class _CutOffError(Exception):
    """What ends a restore in these tests."""


def _cut_off(after: int) -> Any:
    """Give what ends a restore as soon as it has written so many entries."""
    done = 0

    def advance(entries: int) -> None:
        nonlocal done
        done += entries
        if done >= after:
            raise _CutOffError

    return advance


def _record(source: SqliteAdapter, events: Sequence[Event], folder: Path) -> None:
    """Sign a log of these entries, whatever they are, and lay a backup of it by hand."""
    bodies = tuple(event.body for event in events)
    record_bodies(source, bodies)
    into = BackupFolder(folder)
    into.write_bundle(0, bodies)
    into.write_tile(Tile(0, 0, len(bodies)), source.log().tile(Tile(0, 0, len(bodies))) or b"")
    into.write("checkpoint", source.log().checkpoint().encode())
