"""Two token issuers whose keys are in files, and who shows tokens of theirs."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from authentication.issuers import claims_of, key_set, new_key
from kubemint.authentication import Evidence
from kubemint.authentication.oidc import OidcAuthenticator, OidcIssuer
from kubemint.errors import NotAuthenticated
from kubemint.requester import Requester

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


SECONDS = int(NOW.timestamp())


CORP, LAB = "https://corp.example", "https://lab.example/realms/lab"


KEY, RSA_KEY, LAB_KEY, STRANGER = new_key("one"), new_key("rsa", "RS256"), new_key("lab"), new_key("one")


class Door:
    """Two issuers whose keys are in files, and who shows tokens of theirs."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        corp_keys, lab_keys = folder / "corp.json", folder / "lab.json"
        corp_keys.write_bytes(key_set(KEY, RSA_KEY))
        lab_keys.write_bytes(key_set(LAB_KEY))
        corp = OidcIssuer(name="corp", issuer=CORP, audiences=("kubemint", "other"), keys_file=corp_keys)
        lab = OidcIssuer(name="lab", issuer=LAB, audiences=("kubemint",), keys_file=lab_keys)
        self.authenticator = OidcAuthenticator((replace(corp, **settings), lab))

    def ask(self, token: str, now: datetime = NOW) -> Requester | None:
        """Show a token."""
        return self.show(f"Bearer {token}", now)

    def show(self, header: str | None, now: datetime = NOW) -> Requester | None:
        """Show an Authorization header."""
        return self.authenticator.authenticate(Evidence(authorization=header, client_certificate_der=None), now)

    def refuses(self, token: str, now: datetime = NOW) -> None:
        """See a token refused, with the one sentence that says nothing."""
        with pytest.raises(NotAuthenticated) as refusal:
            self.ask(token, now)
        assert type(refusal.value) is NotAuthenticated
        assert refusal.value.message == "The bearer token is not valid."


def good(**claims: Any) -> dict[str, Any]:
    """Give the claims of a good token of corp."""
    return claims_of(CORP, NOW, **claims)
