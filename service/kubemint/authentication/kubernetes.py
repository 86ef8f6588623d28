"""Service account tokens: the API server that made one says whose it is, or the cluster's own keys do, offline.

Which cluster a token comes from is read from its `iss` before anything proves it; so the token goes to that
cluster's API server and to no other. Offline, a token holds until its `exp`, though its account or pod be
deleted by then: TokenReview is the better way where the API server can be reached.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from kubemint.authentication import Evidence
from kubemint.authentication.cluster_keys import CLUSTER_ALGORITHMS, parse_cluster_keys
from kubemint.authentication.file_keys import FileKeys
from kubemint.authentication.jwt import KeySource, verify_jwt
from kubemint.authentication.unverified import bearer_token, unverified_claims, unverified_issuer
from kubemint.errors import ConfigurationError, NotAuthenticated
from kubemint.kubernetes.api_server import ApiServer
from kubemint.kubernetes.kubeconfig import SERVICE_ACCOUNT_FOLDER, Kubeconfig, in_cluster
from kubemint.kubernetes.service_account import ServiceAccount
from kubemint.requester import Method, Requester

if TYPE_CHECKING:
    from kubemint.kubernetes.token_review import TokenReviewer

REVIEW_HOLDS_SECONDS: Final = 10.0  # so long a deleted account may go on asking
REVIEWS_KEPT: Final = 1024  # for each cluster

_LEEWAY: Final = timedelta(seconds=30)  # between the API server's clock and ours; never for `exp`
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """How the API server is reached: by a kubeconfig, or with None as a pod of the cluster, from `folder`."""

    kubeconfig: Path | None = None
    folder: Path = SERVICE_ACCOUNT_FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesCluster:
    """A cluster whose service accounts may ask, by one of `review` and `keys_file`.

    `issuer` is kube-apiserver's --service-account-issuer; `audience` is what a token must be made for.
    """

    name: str
    issuer: str
    audience: str
    review: Review | None = None
    keys_file: Path | None = None


class KubernetesAuthenticator:
    """Recognises the service account tokens of some clusters. One for a process; threads share it."""

    def __init__(
        self,
        clusters: Sequence[KubernetesCluster],
        monotonic: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] = os.environ,
        reviews_kept: int = REVIEWS_KEPT,
    ) -> None:
        """Read keys, kubeconfigs and the pod's files; no API server is asked yet.

        Raises:
            ConfigurationError: one of them is wrong, or two clusters have one issuer.
        """
        self._monotonic = monotonic
        self._reviews_kept = reviews_kept
        self._known: dict[str, _Known] = {}
        for cluster in clusters:
            if cluster.issuer in self._known:
                problem = f"has the issuer of {self._known[cluster.issuer].name}; each cluster needs its own"
                raise ConfigurationError(f"Kubernetes cluster {cluster.name}", [problem])
            judge = self._judge_of(cluster, environment)
            self._known[cluster.issuer] = _Known(name=cluster.name, judge=judge)

    def authenticate(self, evidence: Evidence, now: datetime) -> Requester | None:
        """Keep `Authenticator.authenticate`: a bearer token is ours if it names a cluster of ours as its issuer.

        Raises:
            NotAuthenticated: it does not hold.
            IdentityUnavailable: the API server that would know cannot be asked.
        """
        unverified_token = bearer_token(evidence.authorization)
        if unverified_token is None:
            return None
        known = self._known.get(unverified_issuer(unverified_token) or "")
        if known is None:
            return None
        try:
            _check_expiry(unverified_token, now)
            account = known.judge.judge(unverified_token, now)
        except ValueError as fault:
            _log.info("service account token refused", extra={"cluster": known.name, "reason": str(fault)})
            raise NotAuthenticated("The bearer token is not valid.") from None
        return Requester(
            method=Method.KUBERNETES,
            authority=known.name,
            identity=f"kubernetes:{known.name}:{account.namespace}:{account.name}",
            evidence=f"token sha256:{_digest(unverified_token).hex()[:16]}",
            claims=MappingProxyType(account.as_claims()),
        )

    def _judge_of(self, cluster: KubernetesCluster, environment: Mapping[str, str]) -> "_Judge":
        match cluster.review, cluster.keys_file:
            case Review() as review, None:
                # The configuration imports this module, and metrics are imported after their directory is made.
                from kubemint.kubernetes.token_review import TokenReviewer  # noqa: PLC0415

                find_server = _server_finder(review, environment)
                reviewer = TokenReviewer(cluster.name, cluster.audience, find_server)
                return _ReviewJudge(reviewer, self._monotonic, self._reviews_kept)
            case None, Path() as keys_file:
                return _KeysJudge(cluster, FileKeys(keys_file, parse_cluster_keys))
            case _:
                raise ConfigurationError(
                    f"Kubernetes cluster {cluster.name}", ["needs one of kubeconfig, inCluster and keysFile"]
                )


class _Judge(Protocol):
    def judge(self, unverified_token: str, now: datetime) -> ServiceAccount:
        """Give the account whose unexpired token it is; ValueError if it is nobody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    name: str
    judge: _Judge


class _ReviewJudge:
    """Asks the API server, and remembers a yes for a moment: a client sends several requests in a row."""

    def __init__(self, reviewer: "TokenReviewer", monotonic: Callable[[], float], kept: int) -> None:
        self._reviewer = reviewer
        self._kept = kept
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._accepted: dict[bytes, tuple[float, ServiceAccount]] = {}  # the oldest first

    def judge(self, unverified_token: str, now: datetime) -> ServiceAccount:
        digest, asked_at = _digest(unverified_token), self._monotonic()
        with self._lock:
            holds_until, account = self._accepted.get(digest, (asked_at, None))
        if account is not None and asked_at < holds_until:
            return account
        account = self._reviewer.review(unverified_token)
        with self._lock:
            self._accepted.pop(digest, None)
            while len(self._accepted) >= self._kept:
                del self._accepted[next(iter(self._accepted))]
            self._accepted[digest] = asked_at + REVIEW_HOLDS_SECONDS, account
        return account


class _KeysJudge:
    """Verifies offline."""

    def __init__(self, cluster: KubernetesCluster, keys: KeySource) -> None:
        self._cluster = cluster
        self._keys = keys

    def judge(self, unverified_token: str, now: datetime) -> ServiceAccount:
        claims = verify_jwt(
            unverified_token,
            self._keys,
            issuer=self._cluster.issuer,
            audiences=(self._cluster.audience,),
            algorithms=CLUSTER_ALGORITHMS,
            leeway=_LEEWAY,
            now=now,
        )
        return ServiceAccount.from_claims(claims)


def _server_finder(review: Review, environment: Mapping[str, str]) -> Callable[[], ApiServer]:
    if review.kubeconfig is None:
        return partial(in_cluster, review.folder, environment)
    return Kubeconfig(review.kubeconfig).server


def _check_expiry(unverified_token: str, now: datetime) -> None:
    """Refuse a token past its end, or without one, as those of Secrets are; before any cache or question."""
    expires = (unverified_claims(unverified_token) or {}).get("exp")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        raise ValueError("no expiry: not a projected token")  # noqa: TRY004 - the value came from outside
    if expires <= now.timestamp():
        raise ValueError("expired")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()
