"""Serial numbers nobody can guess (RFC 5280 4.1.2.2; the CA/Browser Forum asks for 64 random bits)."""

import secrets
from collections.abc import Callable

import pytest

from kubemint.wiring import draw_serial
from kubemint.x509.certificate import format_serial

DRAWS = 10_000
BITS = 159


@pytest.fixture(scope="module")
def drawn() -> list[int]:
    """Draw as many serial numbers as a busy day has."""
    return [draw_serial() for _ in range(DRAWS)]


def biased_bits(numbers: list[int]) -> list[int]:
    """Name the bits that are set more or less often than six standard deviations from the half."""
    bound = 6 * (DRAWS / 4) ** 0.5  # by chance once in three million runs of all bits
    counts = [sum(number >> bit & 1 for number in numbers) for bit in range(BITS)]
    return [bit for bit, count in enumerate(counts) if abs(count - DRAWS / 2) > bound]


def test_serial_numbers_are_positive_and_short(drawn: list[int]) -> None:
    """At most 159 bits: 20 octets, with the sign bit clear."""
    assert min(drawn) > 0
    assert max(drawn).bit_length() <= BITS
    assert max(len(format_serial(number)) for number in drawn) <= 40


def test_serial_numbers_are_unique(drawn: list[int]) -> None:
    """No two are the same."""
    assert len(set(drawn)) == DRAWS


def test_every_bit_is_random(drawn: list[int]) -> None:
    """Each of the 159 bits is set in half of them."""
    assert biased_bits(drawn) == []


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda: secrets.randbits(158), id="one bit less"),
        pytest.param(lambda: secrets.randbits(BITS) | 1, id="always odd"),
        pytest.param(lambda: secrets.randbits(BITS) | secrets.randbits(BITS), id="more ones"),
    ],
)
def test_a_bias_would_be_seen(draw: Callable[[], int]) -> None:
    """The measure is fine enough to see a bit that is not random."""
    assert biased_bits([draw() for _ in range(DRAWS)])
