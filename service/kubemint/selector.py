"""Which certificates are meant: those on record for which every given value fits.

What is revoked is told by a selector, in the record as over HTTP; the ledger finds the certificates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self

_TIMES = frozenset({"issued_since", "issued_until"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Values that a certificate must have; those that are None do not matter.

    `serial_number` is hex as `format_serial` writes it, `credential_id` as kube-apiserver does, and
    `public_key_sha256` the hex digest of the SubjectPublicKeyInfo. Times are aware UTC: issued at or after
    `issued_since`, and before `issued_until`.
    """

    serial_number: str | None = None
    credential_id: str | None = None
    user: str | None = None
    group: str | None = None
    public_key_sha256: str | None = None
    requester: str | None = None
    profile: str | None = None
    issued_since: datetime | None = None
    issued_until: datetime | None = None

    @property
    def fields(self) -> dict[str, str]:
        """Give the values as JSON has them, those alone that are given."""
        found: dict[str, str] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                text = value.astimezone(UTC).isoformat().replace("+00:00", "Z") if field.name in _TIMES else value
                found[_camel(field.name)] = text
        return found

    @property
    def is_suspendable(self) -> bool:
        """Tell whether a suspension may go with it: one user or one group is named, and nothing else.

        A suspension knows users and groups alone: beside anything else it would keep out more than is selected.
        """
        return self.fields.keys() in ({"user"}, {"group"})

    @classmethod
    def from_fields(cls, found: Mapping[str, Any]) -> Self:
        """Read back what `fields` gave."""
        values: dict[str, Any] = {field.name: found.get(_camel(field.name)) for field in fields(cls)}
        for name in _TIMES:
            if values[name] is not None:
                values[name] = datetime.fromisoformat(values[name])
        return cls(**values)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)
