"""What is on record, in the database and through the API, held against what clients have received."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from kubemint.transparency.checkpoint import Checkpoint, note_text, parse_checkpoint
from kubemint.transparency.receipt import parse_receipt, verify_receipt
from kubemint.transparency.tree import Frontier, grow, leaf_hash
from running_service import RunningService


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the ledger holds: `root` is that of the tree over all entries, `signed` what the head tells of."""

    indexes: tuple[int, ...]
    size: int
    serial_numbers: tuple[str, ...]
    credential_ids: tuple[str, ...]
    kinds: tuple[str, ...]
    fields: tuple[dict[str, Any], ...]
    root: bytes
    signed: Checkpoint

    def check(self) -> None:
        """Fail unless indexes are contiguous from 0, nothing is twice, tables agree, and the tree is right."""
        assert self.indexes == tuple(range(len(self.indexes)))
        assert self.size == len(self.indexes)
        assert (self.signed.size, self.signed.root) == (self.size, self.root)
        assert len(set(self.serial_numbers)) == len(self.serial_numbers) == self.kinds.count("issued")
        assert len(set(self.credential_ids)) == len(self.credential_ids)


def read_ledger(file: Path) -> Record:
    """Read the ledger in a file behind the service's back."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")  # one state for all that follows
        return _record(lambda query: database.execute(query).fetchall())


def read_record(service: RunningService) -> Record:
    """Read the ledger of a service behind its back, wherever it is."""
    url = service.ledger_url
    if url is None or url.startswith("sqlite:"):
        return read_ledger(service.ledger_file)
    with psycopg.connect(url) as database:
        database.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return _record(lambda query: database.execute(query).fetchall())


def _record(rows_of: Callable[[str], list[Any]]) -> Record:
    entries = rows_of('SELECT "index", kind, body FROM entries ORDER BY "index"')
    ((size, checkpoint),) = rows_of("SELECT size, checkpoint FROM head")
    keys = rows_of("SELECT serial_number, credential_id FROM certificates")
    return Record(
        indexes=tuple(row[0] for row in entries),
        size=size,
        kinds=tuple(row[1] for row in entries),
        fields=tuple(json.loads(row[2]) for row in entries),
        serial_numbers=tuple(f"{int.from_bytes(row[0], 'big'):x}" for row in keys),
        credential_ids=tuple(f"X509SHA256={row[1].hex()}" for row in keys),
        root=grow(Frontier.empty(), [leaf_hash(row[2]) for row in entries]).root,
        signed=parse_checkpoint(note_text(checkpoint)),
    )


def pages(service: RunningService, **query: str) -> Iterator[dict[str, Any]]:
    """Yield every record of the log as the operator reads it, newest first."""
    cursor: str | None = ""
    while cursor is not None:
        parts = {"limit": "500"} | query | ({"cursor": cursor} if cursor else {})
        path = "/v1/certificates?" + "&".join(f"{name}={value}" for name, value in parts.items())
        answer = service.call("GET", path, token="operator")
        assert answer.status == 200, answer.text
        page = answer.json()
        yield from page["items"]
        cursor = page.get("nextCursor")


def check_received(service: RunningService, received: list[dict[str, Any]]) -> Record:
    """Fail unless every certificate that came is on record, in the database and through the API, and is proven."""
    record = read_record(service)
    record.check()
    serials = {body["serialNumber"] for body in received}
    credentials = {body["credentialId"] for body in received}
    assert len(serials) == len(credentials) == len(received)
    assert serials <= {f["serialNumber"] for f in record.fields if f["kind"] == "issued"}
    assert {serial.lstrip("0") for serial in serials} <= set(record.serial_numbers)
    assert credentials <= set(record.credential_ids)
    listed = {item["serialNumber"]: item for item in pages(service)}
    for body in received:
        assert listed[body["serialNumber"]]["credentialId"] == body["credentialId"]
        assert listed[body["serialNumber"]]["logIndex"] == body["logIndex"]
    for body in received:
        receipt = parse_receipt(body["receipt"])
        assert receipt.index == body["logIndex"]
        assert receipt.extra is not None
        assert json.loads(receipt.extra) == record.fields[receipt.index]
        verify_receipt(receipt, service.log_verifier, receipt.extra)
    for body in received[:: max(1, len(received) // 10)]:
        for identifier in (body["serialNumber"], body["credentialId"]):
            answer = service.call("GET", f"/v1/certificates/{identifier}", token="operator")
            assert answer.json()["certificate"] == body["certificate"]
    return record
