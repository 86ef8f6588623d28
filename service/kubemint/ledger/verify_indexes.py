"""The database's own structures: SQLite checks its pages and indexes itself, PostgreSQL with `amcheck`."""

from collections.abc import Iterator

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kubemint.ledger import tables
from kubemint.ledger.verify_findings import Finding, FindingCode, NotChecked, Outcome
from kubemint.ledger.verify_pages import reading

_DAMAGED = frozenset({"XX001", "XX002"})  # PostgreSQL, appendix A: data_corrupted, index_corrupted
_INDEXES = text(
    "SELECT c.oid::bigint AS id, c.relname AS name FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid "
    "JOIN pg_am a ON a.oid = c.relam JOIN pg_class t ON t.oid = i.indrelid "
    "WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relnamespace = current_schema()::regnamespace "
    "ORDER BY c.relname"
)


def index_findings(engine: Engine) -> Iterator[Outcome]:
    """Check indexes against their tables, one at a time; nothing is yielded where all of them are in order.

    Raises:
        LedgerUnavailable: the ledger cannot be read.
    """
    yield from _amcheck(engine) if engine.dialect.name == "postgresql" else _integrity_check(engine)


def _integrity_check(engine: Engine) -> Iterator[Outcome]:
    for table in tables.metadata.sorted_tables:
        try:
            with engine.connect() as connection:
                rows = connection.exec_driver_sql(f"PRAGMA integrity_check('{table.name}')").scalars().all()
        except SQLAlchemyError as fault:
            rows = [str(getattr(fault, "orig", fault))]
        for row in rows:
            if row != "ok":
                yield Finding(code=FindingCode.INDEX_DAMAGED, message=f"table {table.name}: {row}")


def _amcheck(engine: Engine) -> Iterator[Outcome]:
    with reading(engine) as connection:
        installed = connection.execute(text("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'")).scalar()
        indexes = connection.execute(_INDEXES).all()
    if not installed:
        yield NotChecked(message="the database's indexes: it has no extension amcheck")
        return
    for index in indexes:
        outcome = _check_index(engine, index.id, index.name)
        if outcome is not None:
            yield outcome
        if isinstance(outcome, NotChecked):
            return


def _check_index(engine: Engine, index: int, name: str) -> Outcome | None:
    try:
        with engine.connect() as connection:
            # With `true`, each row of the table must be in the index too.
            connection.execute(text("SELECT bt_index_check(CAST(:index AS regclass), true)"), {"index": index})
    except DBAPIError as fault:
        if getattr(fault.orig, "sqlstate", None) in _DAMAGED:
            return Finding(code=FindingCode.INDEX_DAMAGED, message=f"index {name}: {fault.orig}")
        return NotChecked(message=f"the database's indexes: {fault.orig}")
    return None
