"""A revocation as people read it, and nothing that is not one."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubemint.client.terms import printable
from kubemint.errors import ServiceUnavailable
from kubemint.x509.revocation import RevocationReason

_TEXTS: Final = ("revocation", "state", "reason", "note", "time", "requester", "method")
_LIFTED: Final = ("by", "time", "note")


def checked_revocation(document: object) -> dict[str, Any]:
    """Let a document pass only if it is a revocation.

    Raises:
        ServiceUnavailable: it is not.
    """
    if (
        isinstance(document, dict)
        and _has_texts(document, _TEXTS)
        and isinstance(document.get("certificates"), int)
        and isinstance(document.get("blocksKeys"), bool)
        and isinstance(document.get("suspendUntil", ""), str)
        and _is_selector(document.get("select"))
        and ("lifted" not in document or _has_texts(document["lifted"], _LIFTED))
    ):
        return document
    raise ServiceUnavailable("the service's answer holds no revocation; is it kubemint?")


def blocks_a_key(revocation: Mapping[str, Any]) -> bool:
    """Tell whether a checked revocation keeps a key out: one that it names, or that of a certificate it hit."""
    is_any = "publicKeySha256" in revocation["select"] or revocation["certificates"] > 0
    return bool(revocation["blocksKeys"] and is_any and "lifted" not in revocation)


def changes_nothing(revocation: Mapping[str, Any]) -> bool:
    """Tell whether a checked revocation hit nothing, and keeps nobody and no key out either."""
    return not (revocation["certificates"] or blocks_a_key(revocation) or "suspendUntil" in revocation)


def why_not_lifted(revocation: Mapping[str, Any]) -> str | None:
    """Say why a checked revocation cannot be lifted; None for a hold that stands."""
    name = printable(revocation["revocation"])
    if revocation["reason"] != RevocationReason.CERTIFICATE_HOLD:
        return f"{name} is {printable(revocation['reason'])}, and that is for good"
    if "lifted" in revocation:
        return f"{name} was lifted at {printable(revocation['lifted']['time'])} already"
    return None


def what_lifting_does(revocation: Mapping[str, Any]) -> str:
    """Say who gains what if a checked hold is lifted. What else revokes the same is not in it."""
    certificates, select = revocation["certificates"], revocation["select"]
    if certificates == 1:
        told = "1 certificate counts again, if nothing else revokes it"
    elif certificates:
        told = f"Of {counted(certificates)} those that nothing else revokes count again"
    else:
        told = "It hit no certificates"
    if "suspendUntil" in revocation:
        whom = f"user {select['user']}" if "user" in select else f"group {select.get('group')}"
        told += f"; unless another suspension stands, {whom} may get new ones"
    return printable(told)


def describe_revocation(revocation: Mapping[str, Any]) -> str:
    """Put a checked revocation into lines that a terminal can show, whatever is in it."""
    return lined_up(_lines(revocation))


def lined_up(lines: Iterator[tuple[str, str]]) -> str:
    """Write names and texts below each other."""
    return "\n".join(f"{name + ':':<14}{printable(text)}" for name, text in lines)


def selector_lines(select: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Tell which certificates are meant: those for which all of it is true."""
    for place, text in enumerate(f"{name} {value}" for name, value in select.items()):
        yield ("and" if place else "Meant", text)


def selector_text(select: Mapping[str, str]) -> str:
    """Tell which certificates are meant, in one line."""
    return printable(",".join(f"{name}={value}" for name, value in select.items()))


def suspension_text(select: Mapping[str, str], until: str) -> str:
    """Say in words whom a suspension keeps out; records of old may name a user and a group, each by itself."""
    told = []
    if "user" in select:
        told.append(f"user {select['user']} gets no certificate")
    if "group" in select:
        told.append(f"nobody gets a certificate with group {select['group']}")
    return " ".join([", and ".join(told), f"until {until}"]).lstrip()


def counted(certificates: int) -> str:
    """Say how many certificates; one is one, and none is said."""
    if certificates == 1:
        return "1 certificate"
    return f"{certificates or 'no'} certificates"


def _lines(revocation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Revocation", revocation["revocation"]
    yield "State", revocation["state"]
    yield from selector_lines(revocation["select"])
    yield "Certificates", counted(revocation["certificates"])
    yield "Reason", revocation["reason"]
    if revocation["note"]:
        yield "Note", revocation["note"]
    yield "Revoked", f"at {revocation['time']} by {revocation['requester']} (by {revocation['method']})"
    if blocks_a_key(revocation):
        yield "Keys", "refused from then on"
    if "suspendUntil" in revocation:
        yield "Suspended", _suspension(revocation)
    if lifted := revocation.get("lifted"):
        note = f": {lifted['note']}" if lifted["note"] else ""
        yield "Lifted", f"at {lifted['time']} by {lifted['by']}{note}"


def _suspension(revocation: Mapping[str, Any]) -> str:
    until: str = revocation["suspendUntil"]
    # Both are RFC 3339 in UTC, so that their order as texts is that in time.
    if "lifted" in revocation and revocation["lifted"]["time"] < until:
        return f"until {revocation['lifted']['time']}, when it was lifted"
    return suspension_text(revocation["select"], until)


def _is_selector(select: object) -> bool:
    return isinstance(select, dict) and all(isinstance(value, str) for value in select.values())


def _has_texts(document: object, names: tuple[str, ...]) -> bool:
    return isinstance(document, dict) and all(isinstance(document.get(name), str) for name in names)
