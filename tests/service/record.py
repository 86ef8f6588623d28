"""What is on record, in the file and through the API, held against what clients have received."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running_service import RunningService


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the ledger file holds."""

    indexes: tuple[int, ...]
    size: int
    serial_numbers: tuple[str, ...]
    credential_ids: tuple[str, ...]
    kinds: tuple[str, ...]
    fields: tuple[dict[str, Any], ...]

    def check(self) -> None:
        """Fail unless indexes are contiguous from 0, nothing is there twice, and tables agree."""
        assert self.indexes == tuple(range(len(self.indexes)))
        assert self.size == len(self.indexes)
        assert len(set(self.serial_numbers)) == len(self.serial_numbers) == self.kinds.count("issued")
        assert len(set(self.credential_ids)) == len(self.credential_ids)


def read_ledger(file: Path) -> Record:
    """Read the ledger behind the service's back."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")  # one state for all that follows
        entries = database.execute('SELECT "index", kind, body FROM entries ORDER BY "index"').fetchall()
        (size,) = database.execute("SELECT size FROM head").fetchone()
        keys = database.execute("SELECT serial_number, credential_id FROM certificates").fetchall()
    return Record(
        indexes=tuple(row[0] for row in entries),
        size=size,
        kinds=tuple(row[1] for row in entries),
        fields=tuple(json.loads(row[2]) for row in entries),
        serial_numbers=tuple(f"{int.from_bytes(row[0], 'big'):x}" for row in keys),
        credential_ids=tuple(f"X509SHA256={row[1].hex()}" for row in keys),
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
    """Fail unless every certificate that came is on record, in the file and through the API."""
    record = read_ledger(service.ledger_file)
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
    for body in received[:: max(1, len(received) // 10)]:
        for identifier in (body["serialNumber"], body["credentialId"]):
            answer = service.call("GET", f"/v1/certificates/{identifier}", token="operator")
            assert answer.json()["certificate"] == body["certificate"]
    return record
