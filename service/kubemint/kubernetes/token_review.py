"""TokenReview (authentication.k8s.io/v1): ask an API server whose a token is, and for whom it was made.

Only the API server knows whether the account, and the pod that a token is bound to, are still there.
It needs one right: `create` on `tokenreviews`, as in the ClusterRole `system:auth-delegator`.
"""

import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Any, Final

from kubemint import metrics
from kubemint.documents import parse_json
from kubemint.errors import ConfigurationError, IdentityUnavailable, InvalidDocument
from kubemint.kubernetes.api_server import Answer, ApiServer
from kubemint.kubernetes.service_account import ServiceAccount

REVIEW_SECONDS: Final = 3.0
REVIEWS_AT_ONCE: Final = 4  # so many threads can hang on one API server, and no more

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_MEND: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "it does not take this service's own credentials: renew those of the kubeconfig",
    HTTPStatus.FORBIDDEN: "bind this service's account to the ClusterRole system:auth-delegator",
}
_log = logging.getLogger(__name__)


class TokenReviewer:
    """Asks one cluster. One for a process; threads share it.

    `find_server` is called for each review, so that a renewed CA, certificate or token counts at once.
    """

    def __init__(self, cluster: str, audience: str, find_server: Callable[[], ApiServer]) -> None:
        """Check that the API server can be found in the configuration; it is not asked yet.

        Raises:
            ConfigurationError: it cannot.
        """
        find_server()
        self._cluster = cluster
        self._audience = audience
        self._find_server = find_server
        self._free = BoundedSemaphore(REVIEWS_AT_ONCE)

    def review(self, unverified_token: str) -> ServiceAccount:
        """Give the service account whose token it is.

        Raises:
            ValueError: the API server says that it holds for nobody, or not for our audience.
            IdentityUnavailable: the API server did not say, or is being asked by as many as may ask at once.
        """
        if not self._free.acquire(blocking=False):
            metrics.TOKEN_REVIEWS.labels("busy").inc()
            raise IdentityUnavailable(f"{REVIEWS_AT_ONCE} reviews by {self._cluster} are under way")
        try:
            with metrics.TOKEN_REVIEW_SECONDS.time():
                account = self._judge(self._ask(unverified_token), unverified_token)
        except IdentityUnavailable:
            metrics.TOKEN_REVIEWS.labels("unavailable").inc()
            raise
        except ValueError:
            metrics.TOKEN_REVIEWS.labels("refused").inc()
            raise
        finally:
            self._free.release()
        metrics.TOKEN_REVIEWS.labels("accepted").inc()
        return account

    def _ask(self, unverified_token: str) -> Answer:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": unverified_token, "audiences": [self._audience]},
        }
        started = time.monotonic()
        try:
            return self._find_server().post(_PATH, review, REVIEW_SECONDS)
        except (OSError, ConfigurationError) as fault:
            seconds = round(time.monotonic() - started, 3)
            raise self._unavailable(f"not reached after {seconds} s: {fault}") from None

    def _judge(self, answer: Answer, unverified_token: str) -> ServiceAccount:
        if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise self._unavailable(f"answered {answer.status}", _MEND.get(answer.status))
        status = self._status(answer.body)
        if status.get("authenticated") is not True:
            # Some authenticators quote the token.
            reason = str(status.get("error", "no reason given")).replace(unverified_token, "[the token]")[:300]
            raise ValueError(f"not authenticated: {reason}")
        audiences = status.get("audiences")
        if not isinstance(audiences, list) or self._audience not in audiences:
            # A server that does not know audiences leaves them out, and would accept any pod's token.
            raise ValueError("the API server does not confirm the audience")
        return ServiceAccount.from_user(status.get("user"))

    def _status(self, body: bytes) -> Mapping[str, Any]:
        try:
            review = parse_json(body)
        except InvalidDocument as fault:
            raise self._unavailable(fault.message) from None
        status = review.get("status") if isinstance(review, dict) and review.get("kind") == "TokenReview" else None
        if not isinstance(status, dict):
            raise self._unavailable("answered with something else than a TokenReview")
        return status

    def _unavailable(self, problem: str, mend: str | None = None) -> IdentityUnavailable:
        _log.error(
            "API server could not review a token",
            extra={"cluster": self._cluster, "problem": problem, **({"mend": mend} if mend else {})},
        )
        return IdentityUnavailable(f"the API server of {self._cluster} {problem}")
