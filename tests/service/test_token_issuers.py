"""Tokens of an OpenID Connect issuer that count once, at a running service with two workers."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest

from authentication.issuers import IssuerKey, IssuerServer, claims_of, key_set, new_key, serving
from csrs import good_csr
from running_service import Answer, RunningService
from service.clients import CSR, ask
from service.record import read_ledger
from service.workspaces import change_yaml, make_workspace

CLIENTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A service that takes the tokens of one issuer, each of them once."""

    service: RunningService
    issuer: IssuerServer
    key: IssuerKey

    def token(self, token_id: str, **claims: Any) -> dict[str, str]:
        """Give the header with a new token of the shop's pipeline."""
        body = claims_of(self.issuer.issuer, datetime.now(UTC), repository="acme/shop", jti=token_id, **claims)
        return {"Authorization": f"Bearer {self.key.token(body)}"}

    def issued(self) -> list[dict[str, Any]]:
        """Give what is on record of certificates."""
        return [fields for fields in read_ledger(self.service.ledger_file).fields if fields["kind"] == "issued"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Serve the pipelines of one repository; the keys come over HTTPS."""
    folder = tmp_path_factory.mktemp("issuers")
    key = new_key()
    with serving(folder) as issuer:
        issuer.keys = key_set(key)
        config = make_workspace(folder / "kubemint")
        known = {
            "name": "ci",
            "issuer": issuer.issuer,
            "audiences": ["kubemint"],
            "caFile": str(issuer.ca_file),
            "singleUse": True,
        }
        change_yaml(config, lambda settings: settings["authentication"].update(oidc=[known]))
        requesters = [{"oidc": "ci", "claims": {"repository": "acme/shop"}}]
        change_yaml(
            config.with_name("policy.yaml"),
            lambda policy: policy["profiles"]["developers"].update(requesters=requesters),
        )
        with RunningService(config.parent, config=config) as service:
            yield Pipeline(service=service, issuer=issuer, key=key)


def _codes(answer: Answer) -> list[str]:
    return [reason["code"] for reason in answer.json()["reasons"]]


def test_sixteen_clients_with_one_token(pipeline: Pipeline) -> None:
    """Sixteen that show one token at once get one certificate; the others are told, and are on record."""
    start, header = Barrier(CLIENTS), pipeline.token("at-once")

    def ask_with_the_others(_: int) -> Answer:
        start.wait(10)
        return ask(pipeline.service, headers=header, timeout=12)

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(ask_with_the_others, range(CLIENTS)))
    assert Counter(answer.status for answer in answers) == {201: 1, 403: CLIENTS - 1}
    assert all(_codes(answer) == ["token-used"] for answer in answers if answer.status == 403)
    record = read_ledger(pipeline.service.ledger_file)
    record.check()
    uses = [fields["kind"] for fields in record.fields if fields.get("singleUse", {}).get("tokenId") == "at-once"]
    assert Counter(uses) == {"issued": 1, "refused": CLIENTS - 1}


def test_what_uses_no_token_up(pipeline: Pipeline) -> None:
    """To read, and to ask what would be decided, uses no token up; nor does a body that is no request at all."""
    header, service = pipeline.token("read"), pipeline.service
    for path in ("/v1/policy", "/v1/certificates", "/v1/policy"):
        assert service.call("GET", path, headers=header).status == 200
    assert ask(service, path="/v1/decisions", headers=header).status == 200
    json = {"Content-Type": "application/json"}
    assert ask(service, body=b"{}", headers=header | json).status == 400
    assert ask(service, headers=header).status == 201
    assert _codes(ask(service, headers=header)) == ["token-used"]
    assert service.call("GET", "/v1/certificates", headers=header).status == 200


def test_the_first_decision_counts(pipeline: Pipeline) -> None:
    """A request that was refused has used its token up; with the next token it may be put right."""
    header = pipeline.token("refused")
    assert _codes(ask(pipeline.service, body=good_csr(groups=["admins"]), headers=header)) == ["group-not-allowed"]
    assert _codes(ask(pipeline.service, headers=header)) == ["token-used"]
    assert ask(pipeline.service, headers=pipeline.token("put-right")).status == 201


def test_a_retry(pipeline: Pipeline) -> None:
    """The same request under its Idempotency-Key gets the same certificate, whether the token is used or new."""
    key = {"Idempotency-Key": "retry"}
    first = ask(pipeline.service, headers=pipeline.token("retry-1") | key)
    assert first.status == 201
    header = pipeline.token("retry-2")
    again = [ask(pipeline.service, headers=header | key) for _ in range(2)]
    assert [answer.json() for answer in again] == [first.json()] * 2
    assert ask(pipeline.service, headers=header).status == 201  # it was not needed before


def test_what_the_record_tells(pipeline: Pipeline) -> None:
    """The record names who asked, and the claims that the policy saw, and nothing of the token itself."""
    header = pipeline.token("told")
    assert ask(pipeline.service, headers=header).status == 201
    fields = pipeline.issued()[-1]
    assert (fields["requester"], fields["method"]) == ("oidc:ci:jane", "oidc")
    assert fields["claims"]["repository"] == "acme/shop"
    assert fields["singleUse"] == {"authority": "ci", "tokenId": "told"}
    assert header["Authorization"].rpartition(".")[2] not in pipeline.service.ledger_file.read_bytes().decode(
        "latin-1"
    )


@pytest.mark.parametrize("claims", [{"jti": None}, {"aud": "others"}, {"exp": 1}], ids=["no jti", "aud", "exp"])
def test_a_token_that_does_not_hold(pipeline: Pipeline, claims: dict[str, Any]) -> None:
    """A token that does not hold is 401 and leaves no record."""
    size = read_ledger(pipeline.service.ledger_file).size
    body = claims_of(
        pipeline.issuer.issuer, datetime.now(UTC), **{"repository": "acme/shop", "jti": "x", **claims}
    )
    answer = ask(pipeline.service, body=CSR, headers={"Authorization": f"Bearer {pipeline.key.token(body)}"})
    assert answer.status == 401
    assert read_ledger(pipeline.service.ledger_file).size == size
