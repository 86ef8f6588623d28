"""Octets and numbers are spelled in one way each."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.errors import InvalidProof
from kubemint.transparency.notation import decode_base64, decode_hash, decode_number, encode_base64


@given(st.binary(max_size=100))
@settings(derandomize=True)
def test_octets_are_read_as_written(octets: bytes) -> None:
    """What was spelled must be read back."""
    assert decode_base64(encode_base64(octets)) == octets


@pytest.mark.parametrize(
    "text", ["AA", "AA=", "AB==", "AAB=", "AA==\n", " AA==", "AA==AA==", "_-==", "A\u0660==", "="]
)
def test_other_spellings_of_octets_are_refused(text: str) -> None:
    """Missing padding, stray bits, spaces and other alphabets must be refused."""
    with pytest.raises(InvalidProof, match="base64"):
        decode_base64(text)


@pytest.mark.parametrize("octets", [b"", bytes(31), bytes(33), bytes(64)])
def test_hashes_have_one_length(octets: bytes) -> None:
    """What has not 32 octets must not be read as a hash."""
    with pytest.raises(InvalidProof, match="32 octets"):
        decode_hash(encode_base64(octets))
    assert decode_hash(encode_base64(bytes(32))) == bytes(32)


@pytest.mark.parametrize("number", [0, 1, 10, 2**63 - 1])
def test_numbers(number: int) -> None:
    """Sizes and indexes from nothing to what 63 bits hold must be read."""
    assert decode_number(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "00", "01", "-1", "+1", "1 ", "1\n", "1_0", "1e3", "٣", str(2**63), "9" * 5000]
)
def test_other_numbers_are_refused(text: str) -> None:
    """Other spellings of numbers, and those that are too large, must be refused."""
    with pytest.raises(InvalidProof, match="not a number"):
        decode_number(text)


@given(text=st.text(max_size=60))
@settings(derandomize=True)
def test_garbage_raises_our_error_and_nothing_else(text: str) -> None:
    """Whatever the text is, it is the one spelling of something, or our error comes."""
    for read, write in ((decode_base64, encode_base64), (decode_hash, encode_base64), (decode_number, str)):
        try:
            assert write(read(text)) == text
        except InvalidProof:
            continue
