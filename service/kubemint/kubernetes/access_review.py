"""SubjectAccessReview (authorization.k8s.io): what an API server asks about a request, and what we answer.

It stands apart because it is read unlike everything else: newer API servers add fields, so what is unknown
is let be, while what the answer rests on is read strictly. We say "denied" or "no opinion": the answer has
no place for a permission, so that no mistake here can give one. Types from k8s.io/api authorization/v1;
what the API server reads of the answer, from k8s.io/apiserver plugin/pkg/authorizer/webhook/webhook.go.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, NotRequired, TypedDict

from kubemint.errors import InvalidDocument
from kubemint.x509.certificate import CREDENTIAL_ID_PREFIX

CREDENTIAL_ID_KEY: Final = "authentication.kubernetes.io/credential-id"  # k8s.io/apiserver, authentication/user
SERIAL_GROUP_PREFIX: Final = "kubemint:serial:"  # how API servers before 1.32 are told which certificate it is
API_VERSIONS: Final = ("authorization.k8s.io/v1", "authorization.k8s.io/v1beta1")
KIND: Final = "SubjectAccessReview"

_CREDENTIAL_ID: Final = re.compile(re.escape(CREDENTIAL_ID_PREFIX) + "[0-9a-f]{64}", re.ASCII)
_SERIAL: Final = re.compile("(?:[0-9a-f]{2}){1,20}", re.ASCII)  # RFC 5280 4.1.2.2: at most 20 octets


class Unknown(StrEnum):
    """What to do about a credential that is not on record."""

    IGNORE = "ignore"
    ALARM = "alarm"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessReview:
    """Who makes the request that is asked about, and by which certificates.

    `credential_ids` are those of X.509 certificates; `foreign_credential_ids` are what else stood there,
    such as a token's. `serials` are lower-case hex, out of the groups that carry one.
    """

    api_version: str
    user: str
    groups: tuple[str, ...]
    uid: str
    credential_ids: tuple[str, ...]
    foreign_credential_ids: tuple[str, ...]
    serials: tuple[str, ...]


class ReviewStatus(TypedDict):
    """The verdict; `allowed` has one value."""

    allowed: Literal[False]
    denied: bool
    reason: NotRequired[str]


class ReviewAnswer(TypedDict):
    """What is sent back. API servers decode it into the whole object, and read the status alone."""

    apiVersion: str
    kind: str
    status: ReviewStatus


def read_access_review(document: object) -> AccessReview:
    """Read the object as an API server posts it.

    Raises:
        InvalidDocument: it is no SubjectAccessReview, or what names the requester is not of its type.
    """
    review = _mapping(document, "the body")
    api_version = review.get("apiVersion")
    if not isinstance(api_version, str) or api_version not in API_VERSIONS or review.get("kind") != KIND:
        raise InvalidDocument(f"not a {KIND} of {' or '.join(API_VERSIONS)}")
    if "spec" not in review:
        raise InvalidDocument("spec: is missing")
    spec = _mapping(review["spec"], "spec")
    # Authorization v1beta1 calls them `group`: k8s.io/api authorization/v1beta1, types.go.
    groups_key = "groups" if api_version == API_VERSIONS[0] else "group"
    groups = _texts(spec.get(groups_key), f"spec.{groups_key}")
    ids, foreign = sort_credential_ids(read_credential_values(spec.get("extra"), "spec.extra"))
    return AccessReview(
        api_version=api_version,
        user=_text(spec.get("user"), "spec.user"),
        groups=groups,
        uid=_text(spec.get("uid"), "spec.uid"),
        credential_ids=ids,
        foreign_credential_ids=foreign,
        serials=serials_of(groups),
    )


def answer_denied(review: AccessReview, reason: str) -> ReviewAnswer:
    """Refuse for good: no later authorizer is asked. `reason` reaches the requester in the 403."""
    return _answer(review, {"allowed": False, "denied": True, "reason": reason})


def answer_no_opinion(review: AccessReview) -> ReviewAnswer:
    """Leave the decision to the authorizers that come after."""
    return _answer(review, {"allowed": False, "denied": False})


def answer_too_large() -> ReviewAnswer:
    """Refuse a request that cannot be read because its question is too large, whoever makes it.

    API servers read the status of the answer alone, so the version need not be that of the question.
    """
    reason = "this request is too large to be looked at for a revoked certificate: ask with shorter selectors"
    status: ReviewStatus = {"allowed": False, "denied": True, "reason": reason}
    return {"apiVersion": API_VERSIONS[0], "kind": KIND, "status": status}


def read_credential_values(extra: object, path: str) -> tuple[str, ...]:
    """Give the values under the credential id's key in a user's `extra`, in whatever case the key is written.

    Raises:
        InvalidDocument: it is not a mapping from keys to lists of strings.
    """
    if extra is None:
        return ()
    values: list[str] = []
    for key, found in _mapping(extra, path).items():
        if not isinstance(key, str):
            raise InvalidDocument(f"{path}: a key is no string")
        if key.lower() == CREDENTIAL_ID_KEY:
            values += _texts(found, f"{path}.{CREDENTIAL_ID_KEY}")
    return tuple(values)


def sort_credential_ids(values: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell the ids of X.509 certificates from all others; each is named once."""
    unique = tuple(dict.fromkeys(values))
    ids = tuple(value for value in unique if is_credential_id(value))
    return ids, tuple(value for value in unique if value not in ids)


def is_credential_id(text: str) -> bool:
    """Tell whether it is an id that an API server gives to an X.509 certificate."""
    return _CREDENTIAL_ID.fullmatch(text) is not None


def serials_of(groups: Iterable[str]) -> tuple[str, ...]:
    """Give the serial numbers that groups carry, each once; a group that only looks like one is none."""
    marked = (group.removeprefix(SERIAL_GROUP_PREFIX) for group in groups if group.startswith(SERIAL_GROUP_PREFIX))
    return tuple(dict.fromkeys(serial for serial in marked if _SERIAL.fullmatch(serial)))


def _answer(review: AccessReview, status: ReviewStatus) -> ReviewAnswer:
    return {"apiVersion": review.api_version, "kind": KIND, "status": status}


def _mapping(value: object, path: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise InvalidDocument(f"{path}: must be an object")
    return value


def _texts(value: object, path: str) -> tuple[str, ...]:
    """Read a list of strings; Go leaves an empty one out, or writes null."""
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InvalidDocument(f"{path}: must be a list of strings")
    return tuple(_text(item, path) for item in value)


def _text(value: object, path: str) -> str:
    """Read a string; Go leaves an empty one out."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidDocument(f"{path}: must be a string")
    return value
