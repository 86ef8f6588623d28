"""The writer's SQL, compiled once, from the tables.

The statements are given to the driver as they are: building them anew for each batch cost more than the
rest of an issuance together.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Engine,
    Insert,
    Table,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from kubemint.ledger import tables
from kubemint.ledger.rows import RequestState

# By how much a later entry may tell of an earlier time where a quota is counted. A clock that is further off
# counts too few; a stream that starts at a moment (entries.py) affords more.
CLOCKS_DIFFER_SECONDS: Final = 60

# Written out, because a literal of SQLAlchemy's, or an offset that is left out, would be one more parameter.
_ZERO: Final[ColumnElement[int]] = literal_column("0")
_ONE: Final[ColumnElement[int]] = literal_column("1")
_PENDING: Final[ColumnElement[str]] = literal_column(f"'{RequestState.PENDING}'")


class Cursor(Protocol):
    """What is used of a database driver's cursor (PEP 249), with parameters by position."""

    @property
    def rowcount(self) -> int:
        """Give how many rows the last statement changed."""

    def execute(self, statement: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement."""

    def fetchone(self) -> Any:
        """Give the next row of the last result, or None."""

    def fetchall(self) -> Sequence[Any]:
        """Give the rows of the last result that are left."""


class Statements:
    """The statements for a database's dialect; parameters are given by position, in the order that is told."""

    def __init__(self, engine: Engine) -> None:
        self.dialect = engine.dialect
        self._engine = engine
        self._inserts: dict[tuple[Table, int], str] = {}
        head, keys, bodies = tables.head.c, tables.idempotency_keys.c, tables.entries.c
        uses, requests, policies = tables.token_uses.c, tables.requests.c, tables.policies.c
        tiles = tables.tiles.c
        # -> size, frontier, checkpoint
        self.lock_head = self._compile(select(head.size, head.frontier, head.checkpoint).with_for_update())
        # new size, frontier, checkpoint, old size
        self.move_head = self._compile(
            update(tables.head)
            .ordered_values(
                (head.size, bindparam("new_size")),
                (head.frontier, bindparam("frontier")),
                (head.checkpoint, bindparam("checkpoint")),
            )
            .where(head.id == _ONE, head.size == bindparam("old_size"))
        )
        # first index, index after the last -> leaf hash, in order
        self.leaf_hashes = self._compile(
            select(bodies.leaf_hash)
            .where(bodies.index >= bindparam("first"), bodies.index < bindparam("end"))
            .order_by(bodies.index)
        )
        # level, first index, index after the last -> root, in order
        self.tile_roots = self._compile(
            select(tiles.root)
            .where(tiles.level == bindparam("level"))
            .where(tiles.index >= bindparam("first"), tiles.index < bindparam("end"))
            .order_by(tiles.index)
        )
        # time
        self.beat = self._compile(update(tables.heartbeat).values(time=bindparam("time")))
        # requester, idempotency key -> entry index, kind, body, leaf hash
        self.find_by_key = self._compile(
            select(bodies.index, bodies.kind, bodies.body, bodies.leaf_hash)
            .join(tables.idempotency_keys, bodies.index == keys.entry_index)
            .where(keys.requester == bindparam("requester"))
            .where(keys.idempotency_key == bindparam("idempotency_key"))
        )
        self.nth_recent_certificate = self._compile(_nth_recent_certificate())
        # authority, token id -> a row if it was used
        self.find_token_use = self._compile(
            select(uses.entry_index)
            .where(uses.authority == bindparam("authority"))
            .where(uses.token_id == bindparam("token_id"))
        )
        # request -> state, approvals
        self.find_request = self._compile(
            select(requests.state, requests.approvals).where(requests.id == bindparam("request"))
        )
        # requester, seconds now -> how many
        self.count_waiting = self._compile(
            select(func.count())
            .select_from(tables.requests)
            .where(requests.requester == bindparam("requester"))
            .where(requests.state == _PENDING)
            .where(requests.expires_at > bindparam("now"))
        )
        # -> version
        self.last_policy = self._compile(
            select(policies.version).order_by(policies.entry_index.desc()).limit(_ONE).offset(_ZERO)
        )
        # -> a row if anything was ever blocked
        self.any_block = self._compile(select(tables.blocks.c.revocation_index).limit(_ONE).offset(_ZERO))
        # kind, value, seconds now -> a row if it is blocked
        self.find_block = self._compile(
            select(tables.blocks.c.revocation_index)
            .where(tables.blocks.c.kind == bindparam("kind"))
            .where(tables.blocks.c.value == bindparam("value"))
            .where(or_(tables.blocks.c.until.is_(None), tables.blocks.c.until > bindparam("now")))
            .limit(_ONE)
            .offset(_ZERO)
        )
        # -> a row if any certificate was ever revoked
        self.any_hit = self._compile(
            select(tables.revoked_certificates.c.revocation_index).limit(_ONE).offset(_ZERO)
        )
        # serial number of the first of a line, requester of the others -> a row if one of them is revoked
        self.find_hit_of_line = self._compile(_hit_of_line())
        # revocation -> reason, lifted index
        self.find_revocation = self._compile(
            select(tables.revocations.c.reason, tables.revocations.c.lifted_index).where(
                tables.revocations.c.id == bindparam("revocation")
            )
        )
        # state, approvals that come to it, outcome index, request
        self.change_request = self._compile(
            update(tables.requests)
            .ordered_values(
                (requests.state, bindparam("new_state")),
                (requests.approvals, requests.approvals + bindparam("more_approvals")),
                (requests.outcome_index, bindparam("outcome")),
            )
            .where(requests.id == bindparam("request"))
            .where(requests.state == _PENDING)
        )

    def insert(self, table: Table, rows: int) -> str:
        """Give the statement that adds so many rows, whose values follow each other in the columns' order.

        The driver gives the interpreter up once a statement. With a statement for each row, the one thread
        that all others wait for would queue for the interpreter once a row.
        """
        if (table, rows) not in self._inserts:
            names = [column.name for column in table.columns]
            values: list[dict[str, Any]] = [
                {name: bindparam(f"{name}_{row}") for name in names} for row in range(rows)
            ]
            self._inserts[table, rows] = self._compile(self._insert_into(table).values(values))
        return self._inserts[table, rows]

    def _insert_into(self, table: Table) -> Insert:
        if table is not tables.token_uses:
            return table.insert()
        # The first use stands; a later entry that tells of the same token is no conflict.
        if self._engine.dialect.name == "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing()
        return sqlite.insert(table).on_conflict_do_nothing()

    def _compile(self, statement: ClauseElement) -> str:
        return str(statement.compile(self._engine))


def _nth_recent_certificate() -> ClauseElement:
    """Give the time of a certificate by its place among a requester's and profile's, newest first.

    Parameters: requester, profile, since, requester, since less the difference of clocks, place from 0;
    times in seconds. The walk over the index of the requester ends where `since` does, however much of
    another profile is on record.
    """
    columns = tables.certificates.c
    older = tables.certificates.alias("older").c
    newest_before = (
        select(older.entry_index)
        .where(older.requester == bindparam("same_requester"))
        .where(older.decided_at <= bindparam("long_before"))
        .order_by(older.entry_index.desc())
        .limit(_ONE)
        .offset(_ZERO)
        .scalar_subquery()
    )
    return (
        select(columns.decided_at)
        .where(columns.requester == bindparam("requester"))
        .where(columns.profile == bindparam("profile"))
        .where(columns.decided_at > bindparam("since"))
        .where(columns.entry_index > func.coalesce(newest_before, literal_column("-1")))
        .order_by(columns.entry_index.desc())
        .limit(_ONE)
        .offset(bindparam("place"))
    )


def _hit_of_line() -> ClauseElement:
    """Find a certificate of a line that is revoked, or on hold: the first of it, or a renewal.

    Two queries, since a condition with OR may be answered by a walk over all that is revoked.
    """
    hits, revocations = tables.revoked_certificates.c, tables.revocations.c
    found = (
        select(hits.revocation_index)
        .join(tables.revocations, revocations.entry_index == hits.revocation_index)
        .where(revocations.lifted_index.is_(None))
    )
    first = found.where(hits.serial_number == bindparam("serial_number"))
    return union_all(first, found.where(hits.line == bindparam("line"))).limit(_ONE).offset(_ZERO)
