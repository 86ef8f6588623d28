"""What a revocation does to the query tables: it hits the certificates that fit and are on record before it.

The ledger's entry holds the selector alone; which certificates that meant follows from the entries before
it, so that a rebuild comes to the same rows. One statement does it, however many certificates there are.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    case,
    delete,
    exists,
    insert,
    literal,
    null,
    select,
    true,
    update,
)
from sqlalchemy.engine import Dialect

from kubemint.ledger import tables
from kubemint.ledger.rows import (
    Lifting,
    Revoking,
    Row,
    first_requester_of,
    octets_of_credential_id,
    octets_of_serial,
    twin_of,
)
from kubemint.ledger.statements import Cursor
from kubemint.record import BlockKind, SomethingToRevoke
from kubemint.requester import renewal_identity
from kubemint.selector import Selector
from kubemint.x509.revocation import RevocationReason

CHANNEL: Final = "kubemint_revocations"
_PAGE: Final = 500  # bounds what is in memory


def hit(selector: Selector, now_seconds: int, before: int | None = None, *, lines: bool = True) -> Select[Any]:
    """Give the query of the certificates that a selector means: those that have not expired yet.

    With `lines` a requester means the renewals of what it asked for too.
    """
    columns = tables.certificates.c
    query = select(tables.certificates).where(*_fits(selector, lines=lines), columns.not_after >= now_seconds)
    return query if before is None else query.where(columns.entry_index < before)


def revoke(revoking: Revoking, cursor: Cursor, dialect: Dialect) -> None:
    """Write a row for each certificate that is hit and, if it says so, keep their keys out."""
    found = hit(revoking.selector, revoking.revoked_at, revoking.index, lines=revoking.lines).subquery()
    is_renewal = found.c.first_requester.is_not(None)
    hits = select(
        literal(revoking.index, BigInteger()),
        found.c.entry_index,
        found.c.serial_number,
        found.c.credential_id,
        found.c.twin_id,
        found.c.not_after,
        case((is_renewal, found.c.requester)) if revoking.lines else null(),
    )
    columns = [column.name for column in tables.revoked_certificates.columns]
    _run(insert(tables.revoked_certificates).from_select(columns, hits), cursor, dialect)
    if revoking.blocks_keys:
        keys = select(literal(BlockKind.KEY.value), found.c.public_key, literal(revoking.index, BigInteger()))
        keys = keys.where(found.c.public_key.is_not(None)).distinct()
        _run(insert(tables.blocks).from_select(["kind", "value", "revocation_index"], keys), cursor, dialect)


def something_to_revoke(wanted: SomethingToRevoke) -> Select[Any]:
    """Give the query of one certificate that `wanted` asks for; no row if there is none."""
    columns, hits, blocks = tables.certificates.c, tables.revoked_certificates.c, tables.blocks.c
    index, reason = tables.revocations.c.entry_index, tables.revocations.c.reason
    is_for_good = reason != RevocationReason.CERTIFICATE_HOLD.value
    revoked = exists().where(hits.certificate_index == columns.entry_index, hits.revocation_index == index)
    is_settled: ColumnElement[bool] = revoked.where(is_for_good)
    if wanted.blocks_keys:
        is_key = (blocks.kind == BlockKind.KEY.value) & (blocks.value == columns.public_key)
        kept_out = exists().where(is_key, blocks.revocation_index == index, is_for_good)
        is_settled = is_settled & (columns.public_key.is_(None) | kept_out)
    found = hit(wanted.selector, int(wanted.now.timestamp())).with_only_columns(columns.entry_index)
    return found.where(~is_settled).limit(1)


def has_something(wanted: SomethingToRevoke, cursor: Cursor, dialect: Dialect) -> bool:
    """Tell whether there is something to revoke among what is written.

    What the same transaction is about to add is not looked at: a certificate among it has not been handed out,
    and a revocation is the last that a transaction takes.
    """
    _run(something_to_revoke(wanted), cursor, dialect)
    return cursor.fetchone() is not None


def announce(cursor: Cursor, dialect: Dialect) -> None:
    """Let other processes know with the commit that there is something to read, where the database can."""
    if dialect.name == "postgresql":
        cursor.execute(f"NOTIFY {CHANNEL}")


def lift(lifting: Lifting, cursor: Cursor, dialect: Dialect) -> None:
    """Note that a hold is over, and let through what it kept out."""
    columns = tables.revocations.c
    is_it = columns.id == lifting.revocation
    _run(update(tables.revocations).where(is_it).values(lifted_index=lifting.index), cursor, dialect)
    index = select(columns.entry_index).where(is_it).scalar_subquery()
    _run(tables.blocks.delete().where(tables.blocks.c.revocation_index == index), cursor, dialect)


def fill_certificates(connection: Connection) -> None:
    """Write key and twin to the rows of certificates that a version wrote that did not know them."""
    _fill(
        connection,
        true(),
        lambda fields: {
            "public_key": bytes.fromhex(fields["publicKeySha256"]),
            "twin_id": twin_of(fields["certificate"]),
        },
    )


def fill_first_requesters(connection: Connection) -> None:
    """Write who asked for the first of their line to the rows of renewals that an earlier version wrote."""
    is_renewal = tables.certificates.c.requester.startswith(renewal_identity(""))
    _fill(connection, is_renewal, lambda fields: {"first_requester": first_requester_of(fields)})


def _fill(
    connection: Connection, condition: ColumnElement[bool], known: Callable[[Mapping[str, Any]], Row]
) -> None:
    """Write what is known of certificates by their entries to their rows.

    Where the text of the entry is in the archive, the certificate was over for longer than the retention: its row
    goes here, as it would have gone with the next one.
    """
    columns, last = tables.certificates.c, -1
    while page := _page(connection, condition, last):
        for index, body in page:
            is_it = columns.entry_index == index
            if not body:
                connection.execute(delete(tables.certificates).where(is_it))
                continue
            values = known(orjson.loads(bytes(body)))
            connection.execute(update(tables.certificates).where(is_it).values(values))
        last = page[-1][0]


def _page(connection: Connection, condition: ColumnElement[bool], last: int) -> Sequence[Any]:
    columns = tables.certificates.c
    query = (
        select(tables.entries.c.index, tables.entries.c.body)
        .join(tables.certificates, columns.entry_index == tables.entries.c.index)
        .where(columns.entry_index > last, condition)
        .order_by(columns.entry_index)
        .limit(_PAGE)
    )
    return connection.execute(query).all()


def _fits(selector: Selector, *, lines: bool) -> Iterator[ColumnElement[bool]]:
    columns = tables.certificates.c
    if selector.serial_number is not None:
        yield columns.serial_number == octets_of_serial(selector.serial_number)
    if selector.credential_id is not None:
        yield columns.credential_id == octets_of_credential_id(selector.credential_id)
    if selector.user is not None:
        yield columns.user_name == selector.user
    if selector.group is not None:
        groups = tables.entry_groups.c
        yield columns.entry_index.in_(select(groups.entry_index).where(groups.group_name == selector.group))
    if selector.public_key_sha256 is not None:
        yield columns.public_key == bytes.fromhex(selector.public_key_sha256)
    if selector.requester is not None:
        is_own = columns.requester == selector.requester
        yield is_own | (columns.first_requester == selector.requester) if lines else is_own
    if selector.profile is not None:
        yield columns.profile == selector.profile
    if selector.issued_since is not None:
        yield columns.decided_at >= int(selector.issued_since.timestamp())
    if selector.issued_until is not None:
        # Times of certificates are kept without their fraction: what may have been issued before is meant.
        yield columns.decided_at < math.ceil(selector.issued_until.timestamp())


def _run(statement: Any, cursor: Cursor, dialect: Dialect) -> None:
    """Compile a statement that is rare, and run it with its values by position."""
    compiled = statement.compile(dialect=dialect)
    values = compiled.construct_params()
    cursor.execute(str(compiled), [values[name] for name in compiled.positiontup])
