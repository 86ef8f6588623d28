"""A record with entries of every kind, more than a tile holds, and what somebody with the database makes of it."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Table, delete, insert, select, update

from kubemint.ledger import tables
from kubemint.ledger.verification import Kept, Known, verify_ledger
from kubemint.ledger.verify_findings import Finding, Outcome, Progress
from kubemint.ledger.verify_tree import SeenCheckpoint
from kubemint.record import Event
from kubemint.transparency.checkpoint import Checkpoint
from kubemint.transparency.tiles import TILE_WIDTH, Tile, full_tiles_between, tile_root
from kubemint.transparency.tree import Frontier, grow, leaf_hash
from ledger.adapters import Adapter, stored
from ledger.events import NOW, approved, denied, policy_changed, refused, requested, single_use, unfit
from log.issuing import answered, authority, issued

APPROVED, DENIED, OPEN = "a" * 32, "d" * 32, "0" * 32  # requests
EVENTS: Sequence[Event] = (
    policy_changed("v1"),
    issued(1, groups=("developers", "team-a"), key="retry-1"),
    refused(groups=("system:masters",), asked_profile="admins"),
    unfit(subject="CN=eve"),
    single_use(issued(2, user="ü", groups=()), "t1"),
    single_use(refused(), "t1"),
    single_use(refused(), "t2", "corp"),
    requested(APPROVED, groups=("team-a", "team-b")),
    requested(DENIED),
    requested(OPEN),
    approved(APPROVED),
    approved(APPROVED, by="chief"),
    answered(APPROVED, 3, groups=("team-a",)),
    approved(DENIED),
    denied(DENIED),
    denied(APPROVED),  # too late: it changes nothing
    approved(OPEN),
    *(issued(serial, user=f"user-{serial}") if serial % 2 else refused() for serial in range(100, 383)),
)
SIZE = len(EVENTS)
ISSUED = [index for index, event in enumerate(EVENTS) if event.kind == "issued"]
IN_TILE, AT_EDGE = ISSUED[4], ISSUED[-2]
assert IN_TILE < TILE_WIDTH < AT_EDGE < SIZE


def outcomes(
    adapter: Adapter,
    *,
    seen: Sequence[SeenCheckpoint] = (),
    retention: timedelta | None = None,
    archive: Path | None = None,
    now: datetime = NOW,
    progress: Progress = lambda *_: None,
) -> list[Outcome]:
    """Verify a ledger as its owner would."""
    known = Known(verifiers=adapter.keys.verifiers, issuers=(authority().certificate,), seen=tuple(seen))
    kept = Kept(retention=retention, archive=archive)
    return list(verify_ledger(adapter.engine, known, kept, now=now, progress=progress))


def findings(adapter: Adapter, **options: Any) -> list[tuple[str, int | None]]:
    """Give what a verification finds: codes, and the entries that they are about."""
    found = [one for one in outcomes(adapter, **options) if isinstance(one, Finding)]
    return [(one.code.value, one.index) for one in found]


def codes(adapter: Adapter, **options: Any) -> set[str]:
    """Give the codes of what a verification finds."""
    return {code for code, _ in findings(adapter, **options)}


def disarm(adapter: Adapter) -> None:
    """Take away what the database has against changes, as its administrator can."""
    if adapter.engine.dialect.name == "postgresql":
        with adapter.engine.begin() as connection:
            for table in tables.metadata.sorted_tables:
                connection.exec_driver_sql(f"ALTER TABLE {table.name} DISABLE TRIGGER ALL")
        return
    with adapter.engine.connect() as connection:
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
    for name in names:
        adapter.execute(f"DROP TRIGGER {name}")


def change(adapter: Adapter, table: Table, condition: Any, **values: Any) -> None:
    """Change rows, and see that there are some."""
    disarm(adapter)
    with adapter.engine.begin() as connection:
        columns = {table.c[name]: value for name, value in values.items()}
        assert connection.execute(update(table).where(condition).values(columns)).rowcount > 0


def remove(adapter: Adapter, table: Table, condition: Any) -> None:
    """Delete rows, and see that there were some."""
    disarm(adapter)
    with adapter.engine.begin() as connection:
        assert connection.execute(delete(table).where(condition)).rowcount > 0


def add(adapter: Adapter, table: Table, **values: Any) -> None:
    """Add a row."""
    disarm(adapter)
    with adapter.engine.begin() as connection:
        connection.execute(insert(table).values({table.c[name]: value for name, value in values.items()}))


def entry(index: int) -> Any:
    """Give the condition that finds an entry."""
    return tables.entries.c.index == index


def flipped(octets: bytes, place: int = -1) -> bytes:
    """Turn one bit over."""
    changed = bytearray(octets)
    changed[place] ^= 1
    return bytes(changed)


def value(adapter: Adapter, column: Any, condition: Any) -> Any:
    """Give one value of one row."""
    with adapter.engine.connect() as connection:
        return connection.execute(select(column).where(condition)).scalar_one()


def checkpoint_of(adapter: Adapter) -> str:
    """Give the checkpoint in the head."""
    return str(stored(adapter, tables.head)[0]["checkpoint"])


def seen(adapter: Adapter, note: str | None = None) -> SeenCheckpoint:
    """Give a checkpoint as somebody keeps it: that of now, or this one."""
    return SeenCheckpoint(source="a friend", checkpoint=adapter.keys.open(note or checkpoint_of(adapter)))


def rewrite(adapter: Adapter, index: int, event: Event, *, is_signed: bool) -> None:
    """Put another event in an entry's place and make everything fit; sign it with the log's key."""
    change(adapter, tables.entries, entry(index), body=event.body, leaf_hash=leaf_hash(event.body))
    user = {"user_name": event.fields["user"]}
    change(adapter, tables.certificates, tables.certificates.c.entry_index == index, **user)
    rebuild(adapter, is_signed=is_signed)


def rebuild(adapter: Adapter, *, is_signed: bool) -> None:
    """Make tiles and head those of the leaf hashes that are there."""
    hashes = [bytes(row["leaf_hash"]) for row in stored(adapter, tables.entries)]
    frontier = grow(Frontier.empty(), hashes).frontier
    for tile in full_tiles_between(0, len(hashes)):
        assert tile.level == 0
        _put_tile(adapter, tile, b"".join(hashes[tile.index * TILE_WIDTH : (tile.index + 1) * TILE_WIDTH]))
    head: dict[str, Any] = {"frontier": frontier.encode()}
    if is_signed:
        signer = adapter.keys.signer
        head["checkpoint"] = signer.sign(
            Checkpoint(origin=signer.name, size=len(hashes), root=frontier.root()).text
        )
    change(adapter, tables.head, tables.head.c.id == 1, **head)


def renamed(index: int, user: str) -> Event:
    """Give the event of an entry as it would be had its certificate been for another user."""
    original = EVENTS[index]
    changed = issued(int(original.fields["serialNumber"], 16), user=user)
    certificate_rows = {"serialNumber", "credentialId"}
    assert certificate_rows <= set(changed.fields)
    return changed


def fields_of(adapter: Adapter, index: int) -> dict[str, Any]:
    """Give what an entry says."""
    fields: dict[str, Any] = json.loads(value(adapter, tables.entries.c.body, entry(index)))
    return fields


def _put_tile(adapter: Adapter, tile: Tile, hashes: bytes) -> None:
    columns = tables.tiles.c
    condition = (columns.level == tile.level) & (columns.index == tile.index)
    change(adapter, tables.tiles, condition, hashes=hashes, root=tile_root(hashes))
