"""A request for approval as people read it, and nothing that is not one."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubemint.errors import ServiceUnavailable

_TEXTS: Final = ("request", "state", "user", "profile", "requester", "digest", "expires")
_NUMBERS: Final = ("lifetimeSeconds", "approvalsNeeded")


def checked(document: object) -> dict[str, Any]:
    """Let a document pass only if it is a request: nobody approves what could not be shown.

    Raises:
        ServiceUnavailable: it is not.
    """
    if isinstance(document, dict):
        are_texts = all(isinstance(document.get(name), str) for name in _TEXTS)
        are_numbers = all(isinstance(document.get(name), int) for name in _NUMBERS)
        groups, approvals = document.get("groups"), document.get("approvals")
        are_groups = isinstance(groups, list) and all(isinstance(group, str) for group in groups)
        if are_texts and are_numbers and are_groups and isinstance(approvals, list):
            return document
    raise ServiceUnavailable("the service's answer holds no request; is it kubemint?")


def describe(request: Mapping[str, Any]) -> str:
    """Put a request into lines that a terminal can show, whatever is in it. Raises as `checked` does."""
    try:
        return "\n".join(f"{name + ':':<14}{printable(text)}" for name, text in _lines(request))
    except (KeyError, TypeError, AttributeError):
        raise ServiceUnavailable("the service's answer holds a request of another shape") from None


def printable(text: object) -> str:
    """Write what could steer a terminal, or hide in it, as escapes."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(text))


def _lines(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Request", request["request"]
    yield "State", f"{request['state']}, open until {request['expires']}"
    yield "User", request["user"]
    yield "Groups", ", ".join(request["groups"]) or "none"
    lifetime = f"{request['lifetimeSeconds']} s from the signature"
    end = request.get("notAfterIfSignedNow")
    yield "Lifetime", f"{lifetime}; signed now, until {end}" if end else lifetime
    yield "Profile", request["profile"]
    yield "Key", f"{request.get('keyType')} sha256:{request.get('publicKeySha256')}"
    yield "Requester", f"{request['requester']} (by {request.get('method')})"
    if claims := request.get("claims"):
        yield "Claims", json.dumps(claims, ensure_ascii=True, sort_keys=True)
    yield "Digest", request["digest"]
    yield "Approvals", f"{len(request['approvals'])} of {request['approvalsNeeded']}"
    for approval in request["approvals"]:
        yield "Approved", _statement(approval)
    if denial := request.get("denial"):
        yield "Denied", _statement(denial)
    if issued := request.get("issued"):
        yield "Certificate", f"serial number {issued['serialNumber']}, until {issued['notAfter']}"
    if "previous" in request:
        yield from _difference(request["previous"])


def _difference(previous: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if previous is None:
        yield "Before", "this user never had a certificate"
        return
    yield "Before", f"serial number {previous['serialNumber']}, for {previous['lifetimeSeconds']} s"
    yield "Added", ", ".join(previous["groupsAdded"]) or "no group"
    yield "Taken away", ", ".join(previous["groupsRemoved"]) or "no group"
    yield "Same key", "yes" if previous["sameKey"] else "no"


def _statement(said: Mapping[str, Any]) -> str:
    return f"by {said['by']} at {said['time']}" + (f": {said['reason']}" if said["reason"] else "")
