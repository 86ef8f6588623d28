"""A manifest is read as it was written or not at all."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubemint.errors import InvalidProof
from kubemint.ledger.backup_manifest import FileFacts, Manifest, parse_manifest

MANIFEST = Manifest(
    version="0.1.0",
    time=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
    origin="log.test/ledger",
    size=17,
    root="ab" * 32,
    octets=12_345,
    kinds={"issued": 14, "revoked": 3},
    files={"ca.crt": FileFacts.of(b"certificate"), "kubemint.yaml": FileFacts.of(b"")},
)


def test_what_was_written_is_read() -> None:
    """Each value comes back; revocations are counted out of the kinds."""
    assert parse_manifest(MANIFEST.encode()) == MANIFEST
    assert MANIFEST.revocations == 3
    assert replace(MANIFEST, kinds={"issued": 1}).revocations == 0


def test_each_flipped_bit_is_noticed() -> None:
    """No octet can be another one."""
    octets = MANIFEST.encode()
    for place in range(len(octets)):
        for bit in (0, 3, 7):
            changed = bytearray(octets)
            changed[place] ^= 1 << bit
            with pytest.raises(InvalidProof):
                parse_manifest(bytes(changed))


def test_each_cut_is_noticed() -> None:
    """A manifest that ends too soon is none."""
    octets = MANIFEST.encode()
    for end in range(len(octets)):
        with pytest.raises(InvalidProof):
            parse_manifest(octets[:end])


@pytest.mark.parametrize(
    "name", ["../ca.key", "/etc/passwd", "tile/0/000", "checkpoint", ".lock", "a..b", "A.key"]
)
def test_files_have_plain_names(name: str) -> None:
    """A manifest sends nobody to another folder."""
    with pytest.raises(InvalidProof):
        parse_manifest(replace(MANIFEST, files={name: FileFacts.of(b"")}).encode())


@given(st.binary() | st.text().map(str.encode))
def test_garbage(octets: bytes) -> None:
    """Garbage raises our error and nothing else."""
    with pytest.raises(InvalidProof):
        parse_manifest(octets)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["log", "kinds", "files", "time"]), inner),
    )
)
def test_json_of_another_shape(value: object) -> None:
    """JSON that is no manifest raises our error and nothing else."""
    import json

    with pytest.raises(InvalidProof):
        parse_manifest(json.dumps(value).encode())
