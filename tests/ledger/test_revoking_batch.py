"""A key that a revocation keeps out is kept out of what waits behind it, too."""

import time
from concurrent.futures import ThreadPoolExecutor

from kubemint.record import NotBlocked
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, assert_sound
from ledger.events import NOW, issued, refused, revoked

LONG = 60.0


def test_what_waits_behind_a_revocation_is_judged_after_it(adapter: Adapter) -> None:
    """A request that waits together with the revocation of its key, and behind it, is refused."""
    ledger = adapter.open()
    first = issued(1)
    key = first.fields["publicKeySha256"]
    free = NotBlocked(user="jané", groups=("developers",), public_key_sha256=key, now=NOW)
    compromise = revoked("v1", reason=RevocationReason.KEY_COMPROMISE, user="jané")
    with ThreadPoolExecutor(4) as pool:
        with adapter.held():
            waiting = [pool.submit(ledger.append, issued(9, user="first"))]
            for event, conditions in ((first, [free]), (compromise, []), (issued(2), [free])):
                time.sleep(0.2)  # so that they queue in this order, behind the one that has the lock
                waiting.append(
                    pool.submit(ledger.append, event, conditions=conditions, otherwise=lambda _: refused())
                )
            time.sleep(0.2)
        _, granted, _, again = (one.result(LONG) for one in waiting)
    assert granted.unmet is None
    assert again.unmet is not None
    assert again.unmet.blocked == "key"
    assert_sound(adapter)
