"""What an API server is told of a credential: from memory, as new as the ledger, and never that it is allowed."""

import base64
import hashlib
import logging
from datetime import timedelta

import pytest

from kubemint.kubernetes.access_review import AccessReview, Unknown
from kubemint.kubernetes.revoked_credentials import Denied, NoOpinion
from kubemint.record import Entry
from kubemint.x509.revocation import RevocationReason
from revoking.bureau import HOLD, HOUR, Bureau
from revoking.questions import by_group, judges, of, question, refresh_until
from revoking.twins import twin_of, with_one_more_element


def test_revoked_and_not(bureau: Bureau) -> None:
    """A revoked certificate is denied with when and why, by id and by group; of others there is no opinion."""
    janes, joes = bureau.issue("jane", profile="marked"), bureau.issue("joe", profile="marked")
    record = bureau.revoke(user="jane", reason=RevocationReason.SUPERSEDED)
    judge = judges(bureau)
    told = f"revoked at 2026-11-20T12:00:00Z (superseded; revocation {record.entry.fields['revocation']})"
    for review in (
        of(janes),
        by_group(janes),
        question(joes.fields["credentialId"], janes.fields["credentialId"]),
    ):
        verdict = judge.judge(review)
        assert isinstance(verdict, Denied)
        assert told in verdict.reason
    for review in (of(joes), by_group(joes), question(), question(user="joe"), question("JTI=7")):
        assert judge.judge(review) == NoOpinion()
    assert len(judge) == 1


def test_what_is_loaded_first(bureau: Bureau) -> None:
    """Who starts with revocations on record denies at its first answer."""
    entries = [bureau.issue(f"user-{number}", profile="marked") for number in range(30)]
    bureau.revoke(group="developers")
    for user in ("user-7", "user-20"):
        bureau.revoke(user=user)
    judge = judges(bureau)
    verdicts = [isinstance(judge.judge(of(entry)), Denied) for entry in entries]
    assert [number for number, denied in enumerate(verdicts) if denied] == [7, 20]


def test_the_twin_of_a_revoked_certificate(bureau: Bureau) -> None:
    """The same certificate with its signature rewritten has another id, and is denied as well."""
    entry = bureau.issue()
    twin = hashlib.sha256(twin_of(base64.b64decode(entry.fields["certificate"]))).hexdigest()
    judge = judges(bureau)
    assert judge.judge(question(f"X509SHA256={twin}")) == NoOpinion()
    bureau.revoke(user="jane")
    judge.refresh()
    assert isinstance(judge.judge(question(f"X509SHA256={twin}")), Denied)


def test_what_is_revoked_later(bureau: Bureau) -> None:
    """Each look finds what was revoked since the last, and forgets nothing."""
    judge = judges(bureau)
    entries = []
    for number in range(5):
        entries.append(bureau.issue(f"user-{number}"))
        assert judge.judge(of(entries[-1])) == NoOpinion()
        bureau.revoke(user=f"user-{number}")
        judge.refresh()
        assert all(isinstance(judge.judge(of(entry)), Denied) for entry in entries)
    assert len(judge) == 5


def test_a_hold_that_is_lifted(bureau: Bureau) -> None:
    """What was lifted has no opinion again, at once, and is out of memory with the next look."""
    entry, other = bureau.issue("jane"), bureau.issue("joe")
    held = bureau.revoke(user="jane", reason=HOLD)
    bureau.revoke(user="joe")
    judge = judges(bureau)
    assert isinstance(judge.judge(of(entry)), Denied)
    bureau.lift(held)
    assert judge.judge(of(entry)) == NoOpinion()
    assert len(judge) == 2
    refresh_until(judge, lambda: len(judge) == 1)
    assert judge.judge(of(entry)) == NoOpinion()
    assert isinstance(judge.judge(of(other)), Denied)
    bureau.revoke(user="jane")
    judge.refresh()
    assert isinstance(judge.judge(of(entry)), Denied)


def test_what_has_expired(bureau: Bureau) -> None:
    """What has expired is not loaded, but for API servers whose clocks are some minutes late."""
    bureau.issue()
    bureau.revoke(user="jane")
    expired = bureau.now + HOUR
    assert len(judges(bureau, clock=lambda: expired + timedelta(minutes=9))) == 1
    assert len(judges(bureau, clock=lambda: expired + timedelta(minutes=11))) == 0


@pytest.mark.parametrize("unknown", [Unknown.IGNORE, Unknown.ALARM, Unknown.DENY])
def test_credentials_that_are_not_on_record(
    bureau: Bureau, unknown: Unknown, caplog: pytest.LogCaptureFixture
) -> None:
    """What was never issued here is let be, or an alarm, or denied, as is configured; what was, is neither."""
    entry = bureau.issue()
    judge = judges(bureau, unknown)
    stranger = question("X509SHA256=" + "ab" * 32)
    expected = (
        Denied("this certificate is not on record at its issuer") if unknown is Unknown.DENY else NoOpinion()
    )
    for _ in range(3):
        assert judge.judge(stranger) == expected
        assert judge.judge(of(entry)) == NoOpinion()
        assert judge.judge(question("JTI=7")) == judge.judge(question()) == NoOpinion()
    alarms = [line for line in caplog.records if line.levelno == logging.CRITICAL]
    assert [vars(line)["credentialId"] for line in alarms] == ["X509SHA256=" + "ab" * 32] * (
        unknown != Unknown.IGNORE
    )


def test_one_that_is_not_on_record_beside_one_that_is(bureau: Bureau) -> None:
    """Of several credentials none may be unknown."""
    entry = bureau.issue()
    judge = judges(bureau, Unknown.DENY)
    both = question(entry.fields["credentialId"], "X509SHA256=" + "ab" * 32)
    assert isinstance(judge.judge(both), Denied)


def _forms(entry: Entry) -> list[AccessReview]:
    """Ask about forms of a certificate that nobody has signed, each with an id of its own."""
    certificate = base64.b64decode(entry.fields["certificate"])
    forms = [with_one_more_element(certificate, b"%d" % number) for number in range(3)]
    ids = [f"X509SHA256={hashlib.sha256(form).hexdigest()}" for form in forms]
    return [question(each, user=entry.fields["user"]) for each in ids]


@pytest.mark.parametrize("unknown", Unknown)
def test_other_forms_of_a_revoked_certificate(bureau: Bureau, unknown: Unknown) -> None:
    """Whoever holds a revoked certificate gets nowhere with it in another form, whatever is configured."""
    entry, other = bureau.issue("jane"), bureau.issue("joe")
    bureau.revoke(serial_number=entry.fields["serialNumber"])
    judge = judges(bureau, unknown)
    assert all(isinstance(judge.judge(each), Denied) for each in _forms(entry))
    assert [isinstance(judge.judge(each), Denied) for each in _forms(other)] == [unknown is Unknown.DENY] * 3


def test_a_user_with_a_revoked_certificate_and_a_good_one(bureau: Bureau) -> None:
    """A new certificate works where an old one of its user is revoked, from the first question."""
    bureau.issue("jane")
    bureau.revoke(user="jane")
    again = bureau.issue("jane")
    for unknown in Unknown:
        assert judges(bureau, unknown).judge(of(again)) == NoOpinion()


def test_other_forms_while_a_hold_lasts(bureau: Bureau) -> None:
    """A hold that is lifted makes other forms what they were: unknown."""
    entry = bureau.issue("jane")
    held = bureau.revoke(user="jane", reason=HOLD)
    judge = judges(bureau)
    assert all(isinstance(judge.judge(each), Denied) for each in _forms(entry))
    bureau.lift(held)
    refresh_until(judge, lambda: not len(judge))
    assert [judge.judge(each) for each in _forms(entry)] == [NoOpinion()] * 3


def test_users_are_loaded_with_what_expires_last(bureau: Bureau) -> None:
    """While any revoked certificate of a user may still be shown, its other forms are denied."""
    first = bureau.issue("jane")
    bureau.now += HOUR / 2
    last = bureau.issue("jane")
    bureau.revoke(user="jane")
    bureau.now += timedelta(minutes=50)
    judge = judges(bureau)
    assert all(isinstance(judge.judge(each), Denied) for each in (*_forms(first), *_forms(last)))
    bureau.now += HOUR
    assert [judges(bureau).judge(each) for each in _forms(last)] == [NoOpinion()] * 3
