"""Revoking a key by its possession: the CSR that says so is the only proof, and tells a stranger nothing."""

import pytest

from csrs import BAD_CSRS, KEY_TYPES, good_csr, pem, private_key
from issuance.doors import submission
from kubemint.errors import LedgerUnavailable, MalformedRequest, NotFound, RequestRefused, UnacceptableRequest
from kubemint.key_revocation import KEY_STATEMENT, revoke_key
from kubemint.x509.revocation import RevocationReason
from revoking.bureau import ANN, ASKER, COMPROMISE, HOLD, HOUR, OTHER, Bureau, key_statement, of_key
from x509 import der


@pytest.mark.parametrize("kind", sorted(KEY_TYPES))
def test_every_kind_of_key(bureau: Bureau, kind: str) -> None:
    """Whoever holds a key of any kind may revoke it: its certificates are hit, and it never comes again."""
    csr = good_csr(private_key(kind, "client"), "jane", ("developers",))
    entry = bureau.issuance.issue(submission(csr, profile="developers"), ASKER).entry
    other = bureau.issue("jane", key="another")
    record = bureau.state_key(kind=kind)
    assert bureau.is_revoked(entry, other) == [True, False]
    fields = record.entry.fields
    assert (fields["reason"], fields["blocksKeys"], fields["note"]) == ("keyCompromise", True, "found in a bucket")
    assert (fields["method"], fields["requester"]) == ("key", f"key:{of_key(entry)}")
    assert fields["select"] == {"publicKeySha256": of_key(entry)}
    with pytest.raises(RequestRefused) as refused:
        bureau.issuance.issue(submission(csr, profile="developers"), ASKER)
    assert [reason.code for reason in refused.value.reasons] == ["key-revoked"]


@pytest.mark.parametrize("user", ["jane", "kubemint:revoke-this-keys", "Kubemint:revoke-this-key", "kubemint:"])
def test_a_csr_that_says_something_else(bureau: Bureau, user: str) -> None:
    """A CSR that was made to get a certificate, and may be found anywhere, revokes nothing."""
    entry = bureau.issue()
    with pytest.raises(UnacceptableRequest) as refused:
        revoke_key(bureau.desk, key_statement(user=user), "", None)
    assert [reason.code for reason in refused.value.reasons] == ["key-statement-missing"]
    assert (bureau.kinds(), bureau.is_revoked(entry)) == (["issued"], [False])


def test_a_csr_with_groups(bureau: Bureau) -> None:
    """The subject says that the key is revoked, and nothing else."""
    bureau.issue()
    with pytest.raises(UnacceptableRequest):
        revoke_key(
            bureau.desk,
            pem(good_csr(private_key("ecdsa-p256", "client"), KEY_STATEMENT, ("developers",))),
            "",
            None,
        )
    assert bureau.kinds() == ["issued"]


def test_a_csr_that_proves_nothing(bureau: Bureau) -> None:
    """A statement of which one bit is another proves no key, nor does one that another key has signed."""
    bureau.issue()
    good = good_csr(private_key("ecdsa-p256", "client"), KEY_STATEMENT, ())
    other = good_csr(private_key("ecdsa-p256", "client"), KEY_STATEMENT.replace("revoke", "rovoke"), ())
    for bad in (der.flip_last_bit(good), der.tamper(other, b"rovoke", b"revoke")):
        with pytest.raises(UnacceptableRequest) as refused:
            revoke_key(bureau.desk, pem(bad), "", None)
        assert [reason.code for reason in refused.value.reasons] == ["signature-invalid"]
    assert bureau.kinds() == ["issued"]


def test_what_is_no_csr(bureau: Bureau) -> None:
    """What is refused as a CSR is refused as a statement, and garbage is; nothing is recorded."""
    for bad in BAD_CSRS:
        with pytest.raises((MalformedRequest, UnacceptableRequest)):
            revoke_key(bureau.desk, pem(bad.build()), "", None)
    for garbage in (b"", b"garbage", b"\xff" * 100, pem(b"no DER")):
        with pytest.raises(MalformedRequest):
            revoke_key(bureau.desk, garbage, "", None)
    assert bureau.kinds() == []


def test_a_key_of_nobody(bureau: Bureau) -> None:
    """For a key that is in no valid certificate nothing is recorded: strangers must not fill the ledger."""
    bureau.issue(key="one")
    with pytest.raises(NotFound):
        bureau.state_key("two")
    bureau.now += 2 * HOUR
    with pytest.raises(NotFound):
        bureau.state_key("one")
    assert bureau.kinds() == ["issued"]


def test_a_statement_that_is_repeated(bureau: Bureau) -> None:
    """Whoever sends it again, in the same or in new words, gets the first revocation, and nothing is recorded."""
    bureau.issue(key="one")
    first = bureau.state_key("one")
    assert bureau.state_key("one") == first
    bureau.now += 2 * HOUR
    assert bureau.state_key("one") == first
    assert bureau.kinds() == ["issued", "revoked"]


def test_what_an_operator_did_before(bureau: Bureau) -> None:
    """Where an operator has revoked all of the key for good, that one counts."""
    entry = bureau.issue(key="one")
    record = bureau.revoke(public_key_sha256=of_key(entry), reason=RevocationReason.SUPERSEDED)
    assert bureau.state_key("one") == record
    assert bureau.kinds() == ["issued", "revoked"]


def test_a_hold_is_not_enough(bureau: Bureau) -> None:
    """A key on hold is revoked for good by its holder: lifting the hold gives nothing back."""
    entry = bureau.issue(key="one")
    held = bureau.revoke(public_key_sha256=of_key(entry), reason=HOLD)
    assert bureau.state_key("one") != held
    bureau.lift(held)
    assert bureau.is_revoked(entry) == [True]
    with pytest.raises(RequestRefused):
        bureau.issue(key="one")


@pytest.mark.parametrize("by", [{"user": "jane"}, {"user": "jane", "public_key_sha256": ""}])
def test_a_part_is_not_enough(bureau: Bureau, by: dict[str, str]) -> None:
    """Where some certificates of a key were revoked and the key was blocked, the statement hits the others too."""
    janes, joes = bureau.issue("jane", key="one"), bureau.issue("joe", by=OTHER, key="one")
    wish = by | ({"public_key_sha256": of_key(janes)} if "public_key_sha256" in by else {})
    bureau.revoke(ANN, reason=COMPROMISE, **wish)
    assert bureau.is_revoked(janes, joes) == [True, False]
    first = bureau.state_key("one")
    assert bureau.is_revoked(janes, joes) == [True, True]
    assert bureau.state_key("one") == first
    assert bureau.kinds() == ["issued", "issued", "revoked", "revoked"]


def test_no_certificate_has_this_name(bureau: Bureau) -> None:
    """The statement itself is refused as a request for a certificate, by whatever profile."""
    with pytest.raises(RequestRefused) as refused:
        bureau.issue(KEY_STATEMENT)
    assert "name-forbidden" in [reason.code for reason in refused.value.reasons]


def test_a_ledger_that_is_away(bureau: Bureau) -> None:
    """Where the ledger cannot be written, whoever states it is told so, and may try again."""
    entry = bureau.issue(key="one")
    bureau.adapter.execute("ALTER TABLE blocks RENAME TO away")
    with pytest.raises(LedgerUnavailable):
        bureau.state_key("one")
    bureau.adapter.execute("ALTER TABLE away RENAME TO blocks")
    bureau.state_key("one")
    assert bureau.is_revoked(entry) == [True]
