"""Every process signs the same list under the same number, and numbers grow, whatever the clocks do."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.revocation_lists import RevocationLists, SignedList
from kubemint.x509.crl_edition import (
    LIFETIME_MIN,
    PERIOD,
    Edition,
    period_after,
    period_of,
    window_of,
)
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import BACKDATE
from revocation.ledgers import MemoryLedger
from revocation.records import DAY

TURN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # where a period begins
LONGEST_INDEX = (1 << 63) - 1
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9990, 1, 1), timezones=st.just(UTC))
EDITIONS = st.builds(Edition, period=MOMENTS.map(period_of), newest=st.integers(-1, LONGEST_INDEX))
# what happens: a certificate is revoked, or one of two processes with its clock is asked, or starts anew
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["revoke", "first", "second", "restart", "shorter"]),
        st.timedeltas(timedelta(0), timedelta(minutes=20)),
    ),
    max_size=14,
)


def number_of(signed: SignedList) -> int:
    crl = x509.load_der_x509_crl(signed.der)
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def said(signed: SignedList) -> bytes:
    """Give what the signature is over: all but the signature."""
    return x509.load_der_x509_crl(signed.der).tbs_certlist_bytes


@given(first=EDITIONS, second=EDITIONS)
def test_numbers_are_in_the_order_of_editions(first: Edition, second: Edition) -> None:
    """A later period has the greater number, and in one period the newer entry; none is longer than 20 octets."""
    order = (first.period, first.newest) < (second.period, second.newest)
    assert (first.number < second.number) is order
    assert 0 < first.number < 1 << 159


def test_numbers_are_greater_than_counts_of_microseconds() -> None:
    """Lists were numbered by their microsecond once: none until the year 9999 is above today's first."""
    first = Edition(period=TURN, newest=-1).number
    assert first > (datetime(9999, 12, 31, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


@given(moment=MOMENTS)
def test_periods_are_the_same_for_everybody(moment: datetime) -> None:
    """A period begins at a quarter of an hour, and every moment is in one."""
    period = period_of(moment)
    assert period <= moment < period + PERIOD
    assert (period.minute % 15, period.second, period.microsecond) == (0, 0, 0)


@pytest.mark.parametrize(
    ("last", "now", "period"),
    [
        (None, TURN, TURN),
        (TURN, TURN - timedelta(seconds=2), TURN),
        (TURN, TURN + PERIOD, TURN + PERIOD),
        (TURN, TURN - 3 * PERIOD, TURN - 3 * PERIOD),
    ],
)
def test_a_clock_that_is_set_back(last: datetime | None, now: datetime, period: datetime) -> None:
    """A step back over the turn of a period does not bring the old one back; a clock that was wrong is left."""
    assert period_after(last, now) == period


@given(
    edition=EDITIONS,
    changed_at=st.none() | MOMENTS,
    lifetime=st.timedeltas(LIFETIME_MIN, timedelta(days=900)),
    late=st.timedeltas(timedelta(0), PERIOD),
)
def test_windows(edition: Edition, changed_at: datetime | None, lifetime: timedelta, late: timedelta) -> None:
    """Whatever time is on record, a list counts from its signing until after the next one is due."""
    begins, ends = window_of(edition, changed_at, lifetime, edition.period + late)
    assert edition.period - BACKDATE <= begins <= edition.period + late
    assert edition.period + lifetime <= ends <= edition.period + PERIOD + lifetime


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, ahead=st.timedeltas(timedelta(0), timedelta(seconds=90)))
def test_two_processes_side_by_side(
    small_issuer: Issuer, steps: list[tuple[str, timedelta]], ahead: timedelta
) -> None:
    """One number is one list, octet for octet but the signature, and numbers of a process never go back.

    So it is where clocks differ, a process starts anew, and the lifetime of lists is changed. Between processes
    they do not go back either, but at the turn of a period, for as long as the clocks differ.
    """
    ledger, clock = MemoryLedger(), [TURN + timedelta(minutes=7)]

    def stopwatch() -> float:
        return (clock[0] - TURN).total_seconds()

    def lists(offset: timedelta, lifetime: timedelta = DAY) -> RevocationLists:
        return RevocationLists(
            small_issuer,
            ledger,
            lifetime,
            None,
            lambda: clock[0] + offset,
            stopwatch=stopwatch,
        )

    processes = {"first": lists(timedelta(0)), "second": lists(ahead)}
    numbers: dict[str, list[int]] = {"first": [], "second": []}
    of_number: dict[tuple[int, str], bytes] = {}
    lifetime_is = "a day"
    for what, pause in steps:
        clock[0] += pause
        if what == "revoke":
            ledger.revoke(clock[0])
        elif what == "restart":
            processes["first"] = lists(timedelta(0), DAY if lifetime_is == "a day" else DAY / 2)
        elif what == "shorter":
            lifetime_is = "half a day"
            processes = {"first": lists(timedelta(0), DAY / 2), "second": lists(ahead, DAY / 2)}
        else:
            signed = processes[what].whole()
            assert of_number.setdefault((number_of(signed), lifetime_is), said(signed)) == said(signed)
            assert signed.this_update <= clock[0] < signed.next_update
            numbers[what].append(number_of(signed))
    assert all(each == sorted(each) for each in numbers.values())


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_two_processes_of_one_clock(small_issuer: Issuer, steps: list[tuple[str, timedelta]]) -> None:
    """Where clocks agree, whoever is asked after quiet has a number that is not below any other's."""
    ledger, clock = MemoryLedger(), [TURN]

    def stopwatch() -> float:
        return (clock[0] - TURN).total_seconds()

    processes = [
        RevocationLists(small_issuer, ledger, lifetime, None, lambda: clock[0], stopwatch=stopwatch)
        for lifetime in (DAY, 30 * DAY)
    ]
    highest = 0
    for what, pause in steps:
        clock[0] += pause + timedelta(seconds=10)
        if what == "revoke":
            ledger.revoke(clock[0])
            continue
        number = processes[what == "first"].whole().edition.number
        assert number >= highest
        assert number == processes[what != "first"].whole().edition.number
        highest = number
