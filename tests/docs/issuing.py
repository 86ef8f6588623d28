"""A token issuer in the place of GitHub, GitLab or an identity provider: real HTTPS, own keys, their claims."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from authentication.issuers import IssuerKey, IssuerServer, claims_of, key_set, new_key, send, serving

REQUEST_TOKEN = "of-this-job"  # what GitHub gives a job to ask with


@dataclass(kw_only=True)
class Provider:
    """An issuer and its key; `claims` are those of the token that a job gets who asks as GitHub's jobs do."""

    server: IssuerServer
    key: IssuerKey
    claims: Mapping[str, Any]

    def token(self, claims: Mapping[str, Any], audience: str | None = None, **changed: Any) -> str:
        """Sign claims of a page: `iss` is this issuer, the times are now, `changed` replaced or (None) removed."""
        own = {name: value for name, value in claims.items() if name not in {"iss", "aud"}}
        for_whom = audience or claims["aud"]
        return self.key.token(claims_of(self.server.issuer, datetime.now(UTC), for_whom, **{**own, **changed}))

    def settings(self, authentication: Mapping[str, Any]) -> dict[str, Any]:
        """Give the `authentication` of a page with this issuer's address and CA, and nothing else changed."""
        here = {"issuer": self.server.issuer, "caFile": str(self.server.ca_file)}
        return {**authentication, "oidc": [{**issuer, **here} for issuer in authentication["oidc"]]}

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer as the issuer, and as the address at which a GitHub job asks for its token."""
        address = urlsplit(handler.path)
        if address.path != "/token":
            self.server.respond(handler)
        elif handler.headers["Authorization"] != f"bearer {REQUEST_TOKEN}":
            send(handler, b"{}", status=401)
        else:
            (audience,) = parse_qs(address.query)["audience"]
            token = self.token(self.claims, audience, jti=f"{len(self.server.asked)}")
            send(handler, f'{{"value": "{token}"}}'.encode())


@contextmanager
def provider(folder: Path, claims: Mapping[str, Any]) -> Iterator[Provider]:
    """Run an issuer that signs with RS256, as all of these do."""
    folder.mkdir(exist_ok=True)
    with serving(folder) as server:
        key = new_key(algorithm="RS256")
        server.keys = key_set(key)
        running = Provider(server=server, key=key, claims=claims)
        server.answer = running.respond
        yield running
