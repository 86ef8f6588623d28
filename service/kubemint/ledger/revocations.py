"""What was taken back, read for those who ask: one certificate, one revocation, all of them, what came since."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Select, func, select, true, tuple_
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.revocation_records import RevocationPage, RevocationRecord, read_records, record_rows
from kubemint.ledger.revoking import hit, something_to_revoke
from kubemint.ledger.rows import octets_of_credential_id, octets_of_serial
from kubemint.policy.rules import SERIAL_GROUP_PREFIX
from kubemint.record import BlockKind, SomethingToRevoke
from kubemint.selector import Selector
from kubemint.x509.certificate import CREDENTIAL_ID_PREFIX
from kubemint.x509.revocation import RevocationReason, RevokedCertificate

PAGE_CERTIFICATES: Final = 10_000  # of a walk over all that is revoked: bounds what is in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """That a certificate was taken back: by which revocation, when, and why. The first one counts."""

    revocation: str
    revoked_at: datetime
    reason: RevocationReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry that changed what is revoked, and its time."""

    index: int
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """What finds revoked certificates: SHA-256 of each and of its twin, serial numbers, and users' names."""

    digests: Sequence[bytes]
    serial_numbers: Sequence[bytes]
    users: Sequence[str]


class RevocationReader:
    """Reads committed revocations. One for a process; threads share it. All methods raise LedgerUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count_hits(self, selector: Selector, now: datetime) -> int:
        """Count the certificates that a selector means, of those that have not expired."""
        query = select(func.count()).select_from(hit(selector, int(now.timestamp())).subquery())
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def has_something(self, wanted: SomethingToRevoke) -> bool:
        """Tell whether there is something to revoke now."""
        with self._reading() as connection:
            return connection.execute(something_to_revoke(wanted)).first() is not None

    def count(self, now: datetime) -> int:
        """Count all that is revoked and has not expired."""
        hits = tables.revoked_certificates.c
        query = _in_force(select(func.count())).where(hits.not_after >= int(now.timestamp()))
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def find(self, revocation: str) -> RevocationRecord | None:
        """Give the revocation of this name, or None."""
        with self._reading() as connection:
            found = read_records(connection, record_rows().where(tables.revocations.c.id == revocation))
        return found[0] if found else None

    def of_key(self, public_key_sha256: str) -> RevocationRecord | None:
        """Give the first revocation for good of all that has this key, or None."""
        columns, revocations = tables.blocks.c, tables.revocations.c
        query = (
            record_rows()
            .join(tables.blocks, columns.revocation_index == revocations.entry_index)
            .where(columns.kind == BlockKind.KEY.value, columns.value == bytes.fromhex(public_key_sha256))
            .where(revocations.reason != RevocationReason.CERTIFICATE_HOLD.value)
            .order_by(revocations.entry_index)
        )
        of_all = Selector(public_key_sha256=public_key_sha256).fields
        with self._reading() as connection:
            found = (each for each in read_records(connection, query) if each.entry.fields["select"] == of_all)
            return next(found, None)

    def page(self, requester: str | None, *, limit: int, before: int | None = None) -> RevocationPage:
        """List revocations, those with an index below `before`: of one who ordered them, or of all."""
        columns = tables.revocations.c
        query = record_rows().order_by(columns.entry_index.desc()).limit(limit + 1)
        if requester is not None:
            query = query.where(columns.requester == requester)
        if before is not None:
            query = query.where(columns.entry_index < before)
        with self._reading() as connection:
            found = read_records(connection, query)
        more = len(found) > limit
        return RevocationPage(
            revocations=found[:limit], next_before=found[limit - 1].entry.index if more else None
        )

    def of_certificates(self, indexes: Sequence[int]) -> dict[int, Withdrawal]:
        """Tell which of these certificates (by their entries) are revoked, and by what."""
        hits = tables.revoked_certificates.c
        with self._reading() as connection:
            return _withdrawals(connection, hits.certificate_index.in_(list(indexes)), hits.certificate_index)

    def of_serial(self, serial_number: str) -> Withdrawal | None:
        """Tell whether the certificate of this serial number (hex) is revoked."""
        hits, octets = tables.revoked_certificates.c, octets_of_serial(serial_number)
        with self._reading() as connection:
            return _withdrawals(connection, hits.serial_number == octets, hits.serial_number).get(octets)

    def of_credential(self, credential_id: str) -> Withdrawal | None:
        """Tell whether the certificate of this credential id is revoked, or is the twin of one that is."""
        hits, octets = tables.revoked_certificates.c, octets_of_credential_id(credential_id)
        with self._reading() as connection:
            for column in (hits.credential_id, hits.twin_id):
                if (found := _withdrawals(connection, column == octets, column).get(octets)) is not None:
                    return found
        return None

    def newest(self) -> int:
        """Give the index of the newest entry that revokes or lifts; -1 if there is none."""
        columns = tables.revocations.c
        # Two subqueries: the largest of an index is found at its end, of two columns by a walk.
        query = select(
            select(func.max(columns.entry_index)).scalar_subquery(),
            select(func.max(columns.lifted_index)).scalar_subquery(),
        )
        with self._reading() as connection:
            return max(-1 if found is None else int(found) for found in connection.execute(query).one())

    def newest_change(self, old: datetime) -> Change | None:
        """Give the newest entry that hit a certificate or lifted a hold, or is older than `old`.

        What old revocations hit may have been dropped since: they count as if all of them had hit something, so
        that the answer never goes back, with one `old` or a later one.
        """
        hits, columns, entries = tables.revoked_certificates.c, tables.revocations.c, tables.entries.c
        is_old = select(columns.entry_index).where(columns.revoked_at < int(old.timestamp()))
        # The last of an index each.
        newest = select(
            select(func.max(hits.revocation_index)).scalar_subquery(),
            select(func.max(columns.lifted_index)).scalar_subquery(),
            is_old.order_by(columns.entry_index.desc()).limit(1).scalar_subquery(),
        )
        with self._reading() as connection:
            index = max((found for found in connection.execute(newest).one() if found is not None), default=None)
            if index is None:
                return None
            time = connection.execute(select(entries.time).where(entries.index == index)).scalar_one()
        return Change(index=int(index), time=datetime.fromisoformat(time))

    def is_on_record(self, credential_id: str) -> bool:
        """Tell whether a certificate was issued here."""
        columns = tables.certificates.c
        query = select(columns.entry_index).where(columns.credential_id == octets_of_credential_id(credential_id))
        with self._reading() as connection:
            return connection.execute(query).first() is not None

    def has_serial(self, serial_number: str) -> bool:
        """Tell whether a certificate of this serial number was issued here."""
        columns = tables.certificates.c
        query = select(columns.entry_index).where(columns.serial_number == octets_of_serial(serial_number))
        with self._reading() as connection:
            return connection.execute(query).first() is not None

    def is_revoked(self, index: int) -> bool:
        """Tell of an entry whether its certificate was taken back."""
        return bool(self.of_certificates([index]))

    def was_lifted_since(self, index: int) -> bool:
        """Tell whether a hold was lifted by an entry after `index`."""
        columns = tables.revocations.c
        with self._reading() as connection:
            query = select(columns.entry_index).where(columns.lifted_index > index).limit(1)
            return connection.execute(query).first() is not None

    def digests(self, after: int, now: datetime) -> Iterator[Digests]:
        """Walk over what finds the certificates that revocations after entry `after` hit, page by page."""
        columns, certificates = tables.revoked_certificates.c, tables.certificates.c
        # By a subquery: a join may be gone through from the other side, and sorted for each page.
        is_of = (certificates.entry_index == columns.certificate_index) & (
            certificates.not_after == columns.not_after
        )
        user = select(certificates.user_name).where(is_of).scalar_subquery().label("user")
        query = _in_force(select(columns.credential_id, columns.twin_id, columns.serial_number, user))
        query = query.where(columns.not_after >= int(now.timestamp()))
        # By the primary key: what is new is found at its end, however much was there before.
        order = columns.revocation_index, columns.certificate_index
        for rows in self._walk(query, order, columns.revocation_index > after):
            found = (each for row in rows for each in (row.credential_id, row.twin_id) if each is not None)
            yield Digests(
                digests=[*map(bytes, found)],
                serial_numbers=[bytes(row.serial_number) for row in rows],
                users=[*dict.fromkeys(row.user for row in rows if row.user is not None)],
            )

    def revoked(self, now: datetime, newest: int | None = None) -> Iterator[RevokedCertificate]:
        """Walk over all that is revoked and has not expired, each certificate once, by serial number.

        With `newest` it is what was revoked when this was the newest entry, whatever came since.
        """
        columns, revocations = tables.revoked_certificates.c, tables.revocations.c
        query = _in_force(select(columns.serial_number, revocations.revoked_at, revocations.reason), newest)
        query = query.where(columns.not_after >= int(now.timestamp()))
        last = None
        for rows in self._walk(query, (columns.serial_number, columns.revocation_index), true()):
            for row in rows:
                if row.serial_number != last:  # the first revocation of a certificate counts
                    last = row.serial_number
                    yield RevokedCertificate(
                        serial_number=int.from_bytes(bytes(last), "big"),
                        revoked_at=datetime.fromtimestamp(row.revoked_at, UTC),
                        reason=RevocationReason(row.reason),
                    )

    def credentials(self, now: datetime, limit: int) -> tuple[str, ...]:
        """Give what API servers know the newest `limit` revoked certificates by, newest revocation first.

        That are credential ids, and the group with the serial number: nobody else can have it, and whoever has a
        certificate that carries it cannot write it otherwise.
        """
        columns = tables.revoked_certificates.c
        query = (
            _in_force(select(columns.serial_number, columns.twin_id, columns.credential_id))
            .where(columns.not_after >= int(now.timestamp()))
            .order_by(columns.revocation_index.desc(), columns.certificate_index.desc())
            .limit(limit)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        found = {
            SERIAL_GROUP_PREFIX + bytes(row.serial_number).hex(): [row.twin_id, row.credential_id] for row in rows
        }
        names = ([group, *_credential_ids(digests)] for group, digests in found.items())
        return tuple(dict.fromkeys(name for each in names for name in each))

    def _walk(
        self, query: Select[Any], order: Sequence[ColumnElement[Any]], beginning: ColumnElement[bool]
    ) -> Iterator[Sequence[Any]]:
        """Give pages in an order that no two rows share, the first from `beginning`; none is read meanwhile."""
        ordered = query.add_columns(*(column.label(f"place_{place}") for place, column in enumerate(order)))
        ordered = ordered.order_by(*order).limit(PAGE_CERTIFICATES)
        page = ordered.where(beginning)
        while True:
            with self._reading() as connection:
                rows = connection.execute(page).all()
            if rows:
                yield rows
            if len(rows) < PAGE_CERTIFICATES:
                return
            page = ordered.where(tuple_(*order) > tuple_(*rows[-1][-len(order) :]))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as fault:
            raise LedgerUnavailable("the ledger cannot be read") from fault


def _credential_ids(digests: Sequence[Any]) -> Iterator[str]:
    return (f"{CREDENTIAL_ID_PREFIX}{bytes(digest).hex()}" for digest in digests if digest is not None)


def _in_force(query: Select[Any], newest: int | None = None) -> Select[Any]:
    """Ask of what was hit by revocations that nobody has lifted, now or when `newest` was the newest entry.

    Every hit has its revocation. That the join is an outer one keeps SQLite from going through the revocations
    first, and sorting all that they hit, for each page of a walk.
    """
    hits, revocations = tables.revoked_certificates, tables.revocations
    joined = hits.outerjoin(revocations, revocations.c.entry_index == hits.c.revocation_index)
    lifted = revocations.c.lifted_index
    if newest is None:
        return query.select_from(joined).where(lifted.is_(None))
    was_not_lifted = lifted.is_(None) | (lifted > newest)
    # A sum is in no index: the walk keeps to the one that has its order.
    return query.select_from(joined).where(hits.c.revocation_index + 0 <= newest, was_not_lifted)


def _withdrawals(connection: Connection, condition: Any, key: Any) -> dict[Any, Withdrawal]:
    columns = tables.revocations.c
    query = (
        _in_force(select(key.label("key"), columns.id, columns.revoked_at, columns.reason))
        .where(condition)
        .order_by(columns.entry_index.desc())
    )
    return {
        bytes(row.key) if isinstance(row.key, bytes | memoryview) else row.key: Withdrawal(
            revocation=row.id,
            revoked_at=datetime.fromtimestamp(row.revoked_at, UTC),
            reason=RevocationReason(row.reason),
        )
        for row in connection.execute(query)
    }
