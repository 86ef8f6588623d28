"""Which entry changed the lists last, and what was revoked then, on each database."""

from datetime import timedelta

from issuance.desk import NOW
from kubemint.ledger.revocations import Change
from revoking.bureau import HOLD, HOUR, Bureau


def test_the_newest_change(bureau: Bureau) -> None:
    """An entry that hit something is a change, the end of a hold too; one that hit nothing is none until old."""
    newest = bureau.revocations.newest_change
    assert newest(NOW) is None
    bureau.issue()
    bureau.revoke(user="nobody")
    assert newest(NOW) is None
    held = bureau.revoke(user="jane", reason=HOLD)
    assert newest(NOW) == Change(index=held.entry.index, time=NOW)
    later = bureau.revoke(user="nobody")
    assert newest(NOW) == Change(index=held.entry.index, time=NOW)
    assert newest(NOW + timedelta(seconds=1)) == Change(index=later.entry.index, time=NOW)
    bureau.now += HOUR
    lifted = bureau.lift(held).lifted
    assert lifted is not None
    assert newest(NOW) == Change(index=lifted.index, time=NOW + HOUR)


def test_what_was_revoked_then(bureau: Bureau) -> None:
    """With the index of an entry, the walk gives what was revoked after it, whatever came since."""

    def count(newest: int | None = None) -> int:
        return len(list(bureau.revocations.revoked(bureau.now, newest)))

    bureau.issue("jane")
    bureau.issue("joe")
    held = bureau.revoke(user="jane", reason=HOLD)
    second = bureau.revoke(user="joe")
    lifted = bureau.lift(held).lifted
    assert lifted is not None
    indexes = (held.entry.index - 1, held.entry.index, second.entry.index, lifted.index)
    assert [count(index) for index in indexes] == [0, 1, 2, 1]
    assert count() == 1
