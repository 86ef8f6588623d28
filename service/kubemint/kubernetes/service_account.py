"""A service account as Kubernetes names it, in the answer of a TokenReview and in the claims of its tokens.

Both are read with the same rules, so that a cluster may be asked or trusted offline with no difference
to a policy. The names: k8s.io/apiserver, pkg/authentication/serviceaccount/util.go.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"  # RFC 1123 2.1, in lower case
_NAMESPACE: Final = re.compile(_LABEL)
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_USERNAME: Final = re.compile(r"system:serviceaccount:([^:]*):([^:]*)")
_EXTRA: Final = {
    "pod": "authentication.kubernetes.io/pod-name",
    "pod_uid": "authentication.kubernetes.io/pod-uid",
    "node": "authentication.kubernetes.io/node-name",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A service account, and the pod that uses it where the token is bound to one; `node` is 1.30's."""

    namespace: str
    name: str
    uid: str
    pod: str | None = None
    pod_uid: str | None = None
    node: str | None = None

    @classmethod
    def from_user(cls, user: Any) -> Self:
        """Read the `status.user` of a TokenReview.

        Raises:
            ValueError: it is no service account; the text is for the log.
        """
        user = _mapping(user)
        extra = _mapping(user.get("extra") or {})
        namespace, name = _names(user.get("username"))
        return cls(
            namespace=namespace,
            name=name,
            uid=_uid(user.get("uid")),
            **{attribute: _only(extra.get(key)) for attribute, key in _EXTRA.items()},
        )

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Self:
        """Read the claims of a projected token, whose `sub` must say the same as its `kubernetes.io`.

        Raises:
            ValueError: as `from_user`.
        """
        private = _mapping(claims.get("kubernetes.io"))
        account = _mapping(private.get("serviceaccount"))
        pod, node = _mapping(private.get("pod") or {}), _mapping(private.get("node") or {})
        namespace, name = _names(claims.get("sub"))
        if (namespace, name) != (private.get("namespace"), account.get("name")):
            raise ValueError("the subject is not the service account of the claims")
        return cls(
            namespace=namespace,
            name=name,
            uid=_uid(account.get("uid")),
            pod=_text(pod.get("name")),
            pod_uid=_text(pod.get("uid")),
            node=_text(node.get("name")),
        )

    def as_claims(self) -> dict[str, str]:
        """Give what policy rules match on; what the token is not bound to is left out."""
        claims = {
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "pod": self.pod,
            "podUid": self.pod_uid,
            "node": self.node,
        }
        return {claim: value for claim, value in claims.items() if value is not None}


def _names(username: Any) -> tuple[str, str]:
    parts = _USERNAME.fullmatch(username) if isinstance(username, str) else None
    if parts is None or not _NAMESPACE.fullmatch(parts[1]) or not _NAME.fullmatch(parts[2]):
        raise ValueError("not the name of a service account")
    return parts[1], parts[2]


def _uid(value: Any) -> str:
    uid = _text(value)
    if uid is None:
        raise ValueError("a service account without a uid")
    return uid


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("not of the shape that Kubernetes gives it")  # noqa: TRY004 - the value came from outside
    return value


def _only(values: Any) -> str | None:
    return _text(values[0]) if isinstance(values, list) and len(values) == 1 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
