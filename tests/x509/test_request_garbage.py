"""Whatever bytes come in: our errors and nothing else, in bounded time."""

import contextlib
import dataclasses
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrs import BAD_CSRS, bad_csr, good_csr, pem, private_key, raw_csr
from kubemint.errors import MalformedRequest, UnacceptableRequest
from kubemint.x509.request import CsrEncoding, Submission, read_request
from x509.der import name
from x509.reading import read_der, read_pem

SECONDS_AT_MOST = 2.0  # for one CSR on a machine that is busy; none takes a tenth of it
FRIENDLY = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ed25519", "rsa-2048"])
def test_no_flipped_bit_changes_what_is_read(key_type: str) -> None:
    """Each single bit of a CSR counts: with one changed it is refused, and by our errors alone.

    The one exception says nothing: how many bits of the signature's last octet are unused (X.690 8.6.2).
    """
    csr_der = good_csr(private_key(key_type))
    original = read_der(csr_der)
    for position in range(len(csr_der) * 8):
        octet, bit = divmod(position, 8)
        flipped = csr_der[:octet] + bytes([csr_der[octet] ^ 1 << bit]) + csr_der[octet + 1 :]
        with contextlib.suppress(MalformedRequest, UnacceptableRequest):
            assert dataclasses.replace(read_der(flipped), csr_der=csr_der) == original


def test_no_part_of_a_csr_is_accepted() -> None:
    """A CSR that ends too early is no CSR, wherever it ends."""
    csr_der = good_csr()
    for length in range(len(csr_der)):
        with pytest.raises(MalformedRequest):
            read_der(csr_der[:length])


@FRIENDLY
@given(garbage=st.binary(max_size=600), encoding=st.sampled_from(CsrEncoding))
def test_garbage_raises_our_error_and_nothing_else(garbage: bytes, encoding: CsrEncoding) -> None:
    """Whatever the bytes are, the answer is a refusal that a client can read."""
    with pytest.raises((MalformedRequest, UnacceptableRequest)):
        read_request(Submission(csr=garbage, encoding=encoding))


@FRIENDLY
@given(
    before=st.binary(max_size=20),
    garbage=st.binary(max_size=300),
    label=st.sampled_from(["CERTIFICATE REQUEST", "X"]),
)
def test_garbage_in_pem_raises_our_error_and_nothing_else(before: bytes, garbage: bytes, label: str) -> None:
    """A well-made wrapping does not make its content a CSR."""
    with pytest.raises((MalformedRequest, UnacceptableRequest)):
        read_pem(before + pem(garbage, label))


@settings(FRIENDLY, max_examples=400)
@given(
    title=st.sampled_from([bad.name for bad in BAD_CSRS if not bad.malformed]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=4),
)
def test_a_mutated_csr_raises_our_error_and_nothing_else(title: str, cuts: list[tuple[float, int, bytes]]) -> None:
    """Octets taken out, put in or changed anywhere end in a refusal, and soon."""
    csr_der = bad_csr(title)
    for place, length, octets in cuts:
        start = int(place * len(csr_der))
        csr_der = csr_der[:start] + octets + csr_der[start + length :]
    begin = time.perf_counter()
    with contextlib.suppress(MalformedRequest, UnacceptableRequest):
        read_der(csr_der)
    assert time.perf_counter() - begin < SECONDS_AT_MOST


@FRIENDLY
@given(user=st.text(max_size=70), groups=st.lists(st.text(max_size=70), max_size=4))
def test_a_name_comes_through_unchanged_or_not_at_all(user: str, groups: list[str]) -> None:
    """No name is trimmed, folded or replaced on its way: what is read is what the client's tool wrote."""
    try:
        subject = name(*(("O", group) for group in groups), ("CN", user))
    except UnicodeEncodeError:  # a lone surrogate cannot be written in UTF-8 by anybody
        return
    with contextlib.suppress(UnacceptableRequest):
        request = read_der(raw_csr(subject))
        assert (request.user, request.groups) == (user, tuple(groups))
