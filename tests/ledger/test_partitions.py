"""Partitions by month on PostgreSQL, and a database that has none."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemint.ledger import tables
from kubemint.ledger.partitions import MONTHS_AHEAD, PARTITIONED, Month, drop_before, make_ahead, month_of
from ledger.adapters import PostgresAdapter, SqliteAdapter, assert_sound, stored
from ledger.events import issued, refused

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MONTHS = ("2026_11", "2026_12", "2027_01", "2027_02")
DAY = timedelta(days=1)


@pytest.fixture
def postgres() -> Iterator[PostgresAdapter]:
    """Give an empty ledger in PostgreSQL that has its default partitions alone."""
    made = PostgresAdapter()
    yield made
    made.close()


def test_the_coming_months_have_partitions(postgres: PostgresAdapter) -> None:
    """The month of now and some ahead have a partition of each table, once."""
    made = make_ahead(postgres.engine, NOW)
    assert set(made) == {f"{table}_{month}" for table in PARTITIONED for month in MONTHS}
    assert len(MONTHS) == 1 + MONTHS_AHEAD
    assert make_ahead(postgres.engine, NOW) == ()
    assert make_ahead(postgres.engine, NOW + 31 * DAY) == tuple(f"{table}_2027_03" for table in PARTITIONED)


def test_rows_go_to_the_partition_of_their_month(postgres: PostgresAdapter) -> None:
    """A certificate is in the partition of its expiry, a refusal in that of its time, and both are found."""
    make_ahead(postgres.engine, NOW)
    ledger, reader = postgres.open(), postgres.reader()
    ledger.append(issued(1, lifetime=timedelta(days=15)))
    ledger.append(refused())
    assert _count(postgres, "certificates_2026_12") == 1
    assert _count(postgres, "entry_groups_2026_12") == 1
    assert _count(postgres, "refusals_2026_11") == 1
    found = reader.find_by_credential_id(issued(1).fields["credentialId"])
    assert found is not None
    assert found.index == 0


def test_what_fits_no_month_is_in_the_default_partition_and_moves(postgres: PostgresAdapter) -> None:
    """Rows that came before the partition of their month was made are moved to it, and none is lost."""
    ledger = postgres.open()
    entries = [ledger.append(issued(serial, lifetime=serial * 10 * DAY)).entry for serial in (1, 2, 3, 40)]
    before = stored(postgres, tables.certificates)
    assert _count(postgres, "certificates_default") == 4
    make_ahead(postgres.engine, NOW)
    assert _count(postgres, "certificates_default") == 1  # more than a year away
    assert _count(postgres, "certificates_2026_11") == 1
    assert _count(postgres, "certificates_2026_12") == 2
    assert stored(postgres, tables.certificates) == before
    assert_sound(postgres, [*entries, ledger.append(issued(5)).entry])


def test_only_months_that_are_over_are_dropped(postgres: PostgresAdapter) -> None:
    """A partition goes when its whole month was over at the cutoff, and not a second earlier."""
    make_ahead(postgres.engine, NOW)
    ledger = postgres.open()
    for serial in range(1, 4):
        ledger.append(issued(serial, lifetime=serial * 9 * DAY))  # November 29, December 8, December 17
    december = Month(2026, 12).start
    assert drop_before(postgres.engine, december - 1) == {}
    assert _count(postgres, "certificates_2026_11") == 1
    assert drop_before(postgres.engine, december) == {"certificates": 1, "entry_groups": 1, "refusals": 0}
    assert _count(postgres, "certificates") == 2
    assert drop_before(postgres.engine, december) == {}


def test_one_process_at_a_time_changes_partitions(postgres: PostgresAdapter) -> None:
    """While another holds the lock, nothing is made and nobody waits; then it is made."""
    with psycopg.connect(postgres.url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (0x6B756270,))
        assert make_ahead(postgres.engine, NOW) == ()
        other.rollback()
    assert len(make_ahead(postgres.engine, NOW)) == len(PARTITIONED) * len(MONTHS)


def test_the_serial_of_a_certificate_is_unique_in_its_month(postgres: PostgresAdapter) -> None:
    """Two certificates with one serial number and one expiry are refused by the database."""
    make_ahead(postgres.engine, NOW)
    postgres.open().append(issued(1))
    with pytest.raises(psycopg.errors.UniqueViolation):
        postgres.execute(
            "INSERT INTO certificates SELECT entry_index + 1, serial_number, '\\x00', requester, user_name, "
            "profile, decided_at, not_after FROM certificates"
        )


def test_sqlite_has_none(tmp_path: Path) -> None:
    """On SQLite nothing is made and nothing dropped."""
    adapter = SqliteAdapter(tmp_path / "ledger.db")
    adapter.open().append(issued(1))
    assert make_ahead(adapter.engine, NOW) == ()
    assert drop_before(adapter.engine, Month(2030, 1).start) == {}
    assert len(stored(adapter, tables.certificates)) == 1
    adapter.close()


@given(st.integers(min_value=0, max_value=4102444800))
def test_every_second_is_in_its_month(second: int) -> None:
    """A second is in the month that begins at or before it, and the next begins after it."""
    month = month_of(second)
    assert month.start <= second < month.next.start
    assert month_of(month.next.start) == month.next


def _count(adapter: PostgresAdapter, table: str) -> int:
    with psycopg.connect(adapter.url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])
