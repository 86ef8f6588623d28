"""A certificate that was taken back renews nothing, and proves nothing here; nor does its twin."""

import base64

import pytest
from prometheus_client import REGISTRY

from kubemint.errors import NotAuthenticated
from ledger.adapters import Adapter
from revoking.bureau import HOLD, Bureau
from revoking.twins import twin_of


def _shown() -> float:
    return REGISTRY.get_sample_value("kubemint_revoked_certificates_shown_total") or 0.0


def test_a_revoked_certificate(bureau: Bureau) -> None:
    """A certificate proves its holder until it is revoked; who shows it then is nobody, and is counted."""
    entry, other = bureau.issue("jane"), bureau.issue("joe")
    renewed = bureau.issue("jane", by=bureau.holder(entry))
    bureau.revoke(serial_number=entry.fields["serialNumber"])
    before = _shown()
    with pytest.raises(NotAuthenticated, match="not valid here"):
        bureau.holder(entry)
    assert _shown() == before + 1
    assert bureau.holder(renewed).renews is not None
    assert bureau.holder(other).renews is not None


def test_its_twin(bureau: Bureau) -> None:
    """The same certificate with its signature rewritten proves nobody, before and after it is revoked."""
    entry = bureau.issue()
    twin = twin_of(base64.b64decode(entry.fields["certificate"]))
    for _ in range(2):
        with pytest.raises(NotAuthenticated):
            bureau.shown(twin)
        bureau.revoke(user="jane")


def test_a_whole_line(bureau: Bureau) -> None:
    """By who asked first, every certificate of a line is revoked, and renews nothing."""
    first = bureau.issue("jane")
    second = bureau.issue("jane", by=bureau.holder(first))
    bureau.revoke(requester="token:requester")
    assert bureau.is_revoked(first, second) == [True, True]
    for entry in (first, second):
        with pytest.raises(NotAuthenticated):
            bureau.holder(entry)


def test_a_hold(bureau: Bureau) -> None:
    """A certificate on hold renews nothing until the hold is lifted."""
    entry = bureau.issue()
    held = bureau.revoke(user="jane", reason=HOLD)
    with pytest.raises(NotAuthenticated):
        bureau.holder(entry)
    bureau.lift(held)
    assert bureau.issue(by=bureau.holder(entry)).fields["user"] == "jane"


def test_what_another_process_revoked(adapter: Adapter) -> None:
    """What one process revoked renews nothing in another, at once."""
    here, there = Bureau(adapter), Bureau(adapter)
    entry = here.issue()
    assert there.holder(entry).renews is not None
    here.revoke(user="jane")
    with pytest.raises(NotAuthenticated):
        there.holder(entry)
