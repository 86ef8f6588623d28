"""Bytes that are no entry, no certificate, no export: told as such, whatever they are."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubemint.commands.export_file import ExportFile
from kubemint.errors import ConfigurationError, InvalidProof
from kubemint.ledger.verify_entries import read_entry
from kubemint.ledger.verify_findings import FindingCode
from kubemint.ledger.verify_seen import read_seen
from kubemint.ledger.verify_tree import StoredEntry
from kubemint.record import EventKind
from kubemint.x509.recorded import recorded_der, recorded_differences
from log.issuing import authority, der_of, issued

EVENT = issued(1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=200))
def test_garbage_is_no_entry(body: bytes) -> None:
    """Whatever an entry's bytes are, it is read or found."""
    told, findings = read_entry(StoredEntry(index=0, body=body), ())
    assert told is None
    assert [one.code for one in findings] == [FindingCode.ENTRY_UNREADABLE]


@given(st.sampled_from(list(EventKind)), st.dictionaries(st.sampled_from(sorted(EVENT.fields)), JSON))
def test_garbage_in_an_entry(kind: EventKind, fields: dict[str, Any]) -> None:
    """Whatever an entry's fields are, it is read or found, and a certificate that does not fit is found."""
    body = json.dumps({**EVENT.fields, **fields, "kind": kind.value}).encode()
    told, findings = read_entry(StoredEntry(index=0, body=body), (authority().certificate,))
    if told is None:
        assert [one.code for one in findings] == [FindingCode.ENTRY_UNREADABLE]
    elif kind is EventKind.ISSUED and fields.get("groups", ["developers"]) != ["developers"]:
        assert FindingCode.CERTIFICATE_DIFFERS in {one.code for one in findings}


@given(st.binary(max_size=300))
def test_garbage_is_no_certificate(octets: bytes) -> None:
    """Bytes that are no certificate differ from every entry."""
    assert recorded_differences(octets, EVENT.fields)


@given(st.integers(0, 400), st.integers(0, 7))
def test_a_bit_of_a_certificate(place: int, bit: int) -> None:
    """A certificate with one other bit differs from its entry: in its credential id at least."""
    der = bytearray(der_of(EVENT))
    der[place % len(der)] ^= 1 << bit
    assert recorded_differences(bytes(der), EVENT.fields)
    assert recorded_differences(der_of(EVENT), EVENT.fields, (authority().certificate,)) == ()


@given(JSON)
def test_what_is_no_base64_is_no_certificate(value: Any) -> None:
    """An entry's certificate is octets or nothing."""
    found = recorded_der({"certificate": value})
    assert found is None or isinstance(value, str)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_no_checkpoint(tmp_path: Path, octets: bytes) -> None:
    """A file that holds no checkpoint of the log is refused with InvalidProof."""
    (tmp_path / "seen").write_bytes(octets)
    with pytest.raises(InvalidProof):
        read_seen(tmp_path / "seen", ())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_no_export(tmp_path: Path, octets: bytes) -> None:
    """A file that is no export is refused and left as it is; what is cut off is the beginning of a line alone."""
    file = tmp_path / "export"
    file.write_bytes(octets)
    with contextlib.suppress(ConfigurationError), ExportFile(file) as opened:
        assert opened.last is None
        assert b'{"logIndex":'.startswith(octets) or octets.startswith(b'{"logIndex":')
        return
    assert file.read_bytes() == octets
