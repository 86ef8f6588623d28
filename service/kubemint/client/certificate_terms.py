"""The record of a certificate as people read it, and nothing that is not one."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubemint.client.revocation_terms import lined_up
from kubemint.errors import ServiceUnavailable

_TEXTS: Final = (
    *("serialNumber", "credentialId", "state", "certificate", "user", "profile", "notBefore", "notAfter"),
    *("keyType", "publicKeySha256", "requester", "method", "authority", "evidence", "policy", "time"),
)


def checked_record(document: object) -> dict[str, Any]:
    """Let a document pass only if it is the record of a certificate.

    Raises:
        ServiceUnavailable: it is not.
    """
    if (
        isinstance(document, dict)
        and all(isinstance(document.get(name), str) for name in _TEXTS)
        and all(_are_texts(document.get(name, [])) for name in ("requestedGroups", "approvedBy"))
        and _are_texts(document.get("groups"))
        and isinstance(document.get("logIndex"), int)
    ):
        return document
    raise ServiceUnavailable("the service's answer holds no certificate on record; is it kubemint?")


def describe_record(record: Mapping[str, Any]) -> str:
    """Put a checked record into lines that a terminal can show, whatever is in it.

    Raises:
        ServiceUnavailable: what need not be there has another shape.
    """
    try:
        return lined_up(_lines(record))
    except (KeyError, TypeError, AttributeError):
        raise ServiceUnavailable("the service's answer holds a record of another shape") from None


def _lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Serial", record["serialNumber"]
    yield "Credential", record["credentialId"]
    yield "State", record["state"]
    if (revocation := record.get("revocation")) is not None:
        how = f"by revocation {revocation['revocation']}: {revocation['reason']}"
        yield "Revoked", f"at {revocation['time']} {how}"
    yield "User", record["user"]
    yield "Groups", ", ".join(record["groups"]) or "none"
    yield "Good", f"from {record['notBefore']} until {record['notAfter']}"
    yield "Key", f"{record['keyType']} sha256:{record['publicKeySha256']}"
    yield from _asked(record)
    yield from _proven(record)
    yield "Granted", f"at {record['time']} by profile {record['profile']} of policy {record['policy']}"
    if "request" in record:
        yield "Approved", f"by {', '.join(record['approvedBy'])} (request {record['request']})"
    yield "Log entry", str(record["logIndex"])


def _asked(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell who asked, and for what where it is not what was given."""
    yield "Requester", record["requester"]
    wishes = []
    if "requestedGroups" in record:
        wishes.append(f"groups {', '.join(record['requestedGroups']) or 'none'}")
    if (profile := record.get("requestedProfile")) is not None:
        wishes.append(f"profile {profile}")
    if (lifetime := record.get("requestedExpirationSeconds")) is not None:
        wishes.append(f"{lifetime} s")
    if wishes:
        yield "Asked for", "; ".join(wishes)


def _proven(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell how the requester proved who it is; for a renewal, how the first of the line was proven too."""
    since = f", at {record['provenAt']}" if "provenAt" in record else ""
    yield "Proven", f"by {record['method']} ({record['authority']}){since}: {record['evidence']}"
    if claims := record.get("claims"):
        yield "Claims", json.dumps(claims, ensure_ascii=True, sort_keys=True)
    if (used := record.get("singleUse")) is not None:
        yield "Used up", f"token {used['tokenId']} of {used['authority']}"
    if (renewed := record.get("renews")) is not None:
        yield "Renews", f"serial number {renewed['line']}, whose proof was at {renewed['firstProvenAt']}"
        first = renewed["first"]
        yield "First proven", f"as {first['requester']} by {first['method']}: {first['evidence']}"


def _are_texts(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(text, str) for text in found)
