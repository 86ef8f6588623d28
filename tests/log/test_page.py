"""docs/log.md says everything that there is to find, and every field that there is to read."""

import re
from pathlib import Path

import pytest

from kubemint.ledger.verify_findings import FindingCode
from kubemint.record import EventKind
from log.record import EVENTS

PAGE = (Path(__file__).parents[2] / "docs/log.md").read_text()
NAMES = set(re.findall(r"`([A-Za-z0-9-]+)`", PAGE))


@pytest.mark.parametrize("code", FindingCode)
def test_a_finding_is_explained(code: FindingCode) -> None:
    """Whoever meets a code finds it in the table."""
    assert code.value in NAMES


@pytest.mark.parametrize("kind", EventKind)
def test_a_kind_of_entry_is_explained(kind: EventKind) -> None:
    """Each kind of entry is in the table, with each field that its entries have."""
    assert kind.value in NAMES
    fields = {name for event in EVENTS if event.kind is kind for name in event.fields}
    assert fields - {"approver"} <= NAMES  # the field of a stand-in


def test_every_field_of_the_record_is_explained() -> None:
    """What the service writes into an entry, by its source, is in the table."""
    source = (Path(__file__).parents[2] / "service/kubemint/audit.py").read_text()
    written = set(re.findall(r'^ +"([A-Za-z0-9]+)":|fields\["([A-Za-z0-9]+)"\] =', source, re.MULTILINE))
    names = {one or other for one, other in written} - {"first", "firstProvenAt", "line"}
    assert len(names) > 30
    assert names <= NAMES
