"""The subject of a CSR: one user name, any number of groups, and nothing else.

Kubernetes takes the user from the common name and a group from every organization. Go's reader
keeps the *last* common name where there are two, joins the values of a multi-valued RDN and decodes
some string types to nothing, so a name that two readers could read differently is refused here by
name (promise P4). Lengths are those of X.520 (ub-common-name, ub-organization-name: 64), counted in octets.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import NameOID

from kubemint.errors import Reason

GROUPS_MAX: Final = 128  # each is looked at under every rule, and kept with every reason
NAME_MAX_OCTETS: Final = (
    64  # X.520 ub-common-name and ub-organization-name; readers differ on characters or octets
)

_PRINTABLE: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?"
)  # X.680 41.4
_ATTRIBUTE_NAMES: Final = {
    "2.5.4.3": "commonName (CN)",
    "2.5.4.4": "surname (SN)",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "country (C)",
    "2.5.4.7": "locality (L)",
    "2.5.4.8": "state (ST)",
    "2.5.4.10": "organization (O)",
    "2.5.4.11": "organizationalUnit (OU)",
    "2.5.4.42": "givenName",
    "1.2.840.113549.1.9.1": "emailAddress",
    "0.9.2342.19200300.100.1.1": "userId (UID)",
    "0.9.2342.19200300.100.1.25": "domainComponent (DC)",
    "1.3.6.1.4.1.57683.2": "Kubernetes user UID",
}


_SPECIAL: Final = re.compile(rb"[\\,+=]")
_SHORT_NAMES: Final = {"2.5.4.3": "CN", "2.5.4.10": "O", "2.5.4.11": "OU"}
# Unicode's Default_Ignorable_Code_Point, as far as it is outside of the categories C and Z, and the empty Braille
# pattern: they show as nothing (DerivedCoreProperties.txt, Unicode 15).
_SHOWN_AS_NOTHING: Final = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}.union(
        range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)
    )
)


@asn1.sequence
class AttributeTypeAndValue:
    """RFC 5280 4.1.2.4, with the value's tag kept: which string type it was decides how it is read."""

    type: ObjectIdentifier
    value: asn1.TLV


RelativeDistinguishedNames = Sequence[Sequence[AttributeTypeAndValue]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a certificate says about its holder, as kube-apiserver reads it."""

    user: str
    groups: tuple[str, ...]


def read_subject(rdns: RelativeDistinguishedNames) -> tuple[Subject | None, tuple[Reason, ...]]:
    """Read a CSR's subject; the subject is None exactly if there is a reason against it."""
    users: list[str] = []
    groups: list[str] = []
    reasons: list[Reason] = []
    for rdn in rdns:
        if len(rdn) != 1:
            reasons.append(_multi_valued(rdn))
            continue
        attribute = rdn[0]
        values = {NameOID.COMMON_NAME: users, NameOID.ORGANIZATION_NAME: groups}.get(attribute.type)
        if values is None:
            reasons.append(_not_allowed(attribute.type))
            continue
        value, problem = _decode(attribute)
        reasons += [problem] if problem else name_reasons(value, _label(attribute.type))
        values.append(value)
    reasons += _count_reasons(users, groups)
    if reasons:
        return None, tuple(reasons)
    return Subject(user=users[0], groups=tuple(groups)), ()


def describe_subject(rdns: RelativeDistinguishedNames) -> str:
    """Write a subject down for the record, whatever is in it, with commas and the like escaped (RFC 4514 2.4)."""
    return ",".join("+".join(map(_describe, rdn)) for rdn in rdns)


def _describe(attribute: AttributeTypeAndValue) -> str:
    oid = attribute.type.dotted_string
    value = _SPECIAL.sub(rb"\\\g<0>", bytes(attribute.value.data)).replace(b"\x00", rb"\x00")
    return f"{_SHORT_NAMES.get(oid, oid)}={value.decode('utf-8', 'backslashreplace')}"


def name_reasons(name: str, label: str) -> Iterator[Reason]:
    """Yield what is wrong with a user or group name, wherever it came from."""
    if not name:
        yield Reason(code="name-empty", message=f"{label} is empty", path="csr.subject")
    if (octets := len(name.encode("utf-8", "surrogatepass"))) > NAME_MAX_OCTETS:
        yield Reason(
            code="name-too-long",
            message=f"{label} has {octets} octets in UTF-8; at most {NAME_MAX_OCTETS} are signed",
            path="csr.subject",
        )
    if name != name.strip():
        yield Reason(
            code="name-surrounding-space", message=f"{label} begins or ends with a space", path="csr.subject"
        )
    if not name.isprintable() or not _SHOWN_AS_NOTHING.isdisjoint(map(ord, name)):
        yield Reason(
            code="name-invisible-character",
            message=f"{label} {name!r} contains a control or invisible character",
            path="csr.subject",
        )
    if not unicodedata.is_normalized("NFC", name):
        yield Reason(
            code="name-not-normalized",
            message=f"{label} {name!r} is not in Unicode normalization form C",
            path="csr.subject",
        )


def _decode(attribute: AttributeTypeAndValue) -> tuple[str, Reason | None]:
    label = _label(attribute.type)
    octets = bytes(attribute.value.data)
    match attribute.value.tag_bytes:
        case b"\x0c":  # UTF8String, universal tag 12 (X.680 8.4)
            try:
                return octets.decode("utf-8"), None
            except UnicodeDecodeError:
                return "", Reason(code="name-encoding", message=f"{label} is not valid UTF-8", path="csr.subject")
        case b"\x13" if set(octets.decode("latin-1")) <= _PRINTABLE:
            return octets.decode("ascii"), None
        case b"\x13":  # PrintableString, universal tag 19
            return "", Reason(
                code="name-encoding",
                message=f"{label} has characters that a PrintableString cannot hold",
                path="csr.subject",
            )
        case _:
            return "", Reason(
                code="name-string-type",
                message=f"{label} must be a UTF8String or PrintableString; readers disagree on other types",
                path="csr.subject",
            )


def _count_reasons(users: Sequence[str], groups: Sequence[str]) -> Iterator[Reason]:
    if not users:
        yield Reason(
            code="common-name-missing",
            message="the subject has no common name (CN), which is the user name",
            path="csr.subject",
        )
    if len(users) > 1:
        yield Reason(
            code="common-name-repeated",
            message=f"the subject has {len(users)} common names; readers disagree on which one counts",
            path="csr.subject",
        )
    if len(groups) > GROUPS_MAX:
        yield Reason(
            code="groups-too-many",
            message=f"the subject names {len(groups)} groups; at most {GROUPS_MAX} are signed",
            path="csr.subject",
        )
    if len(set(groups)) != len(groups):
        yield Reason(
            code="group-repeated",
            message="the subject names a group (O) more than once",
            path="csr.subject",
        )


def _multi_valued(rdn: Sequence[AttributeTypeAndValue]) -> Reason:
    names = ", ".join(_label(attribute.type) for attribute in rdn)
    return Reason(
        code="rdn-multi-valued",
        message=f"one RDN of the subject holds {len(rdn)} values ({names}); give each its own RDN",
        path="csr.subject",
    )


def _not_allowed(oid: ObjectIdentifier) -> Reason:
    return Reason(
        code="attribute-not-allowed",
        message=f"the subject may hold one CN and any number of O, not {_label(oid)}",
        path="csr.subject",
    )


def _label(oid: ObjectIdentifier) -> str:
    return _ATTRIBUTE_NAMES.get(oid.dotted_string, oid.dotted_string)
