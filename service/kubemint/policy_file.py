"""The policy that counts now: the file's, as long as it is good, else the last good one.

A changed file counts within a second or two, and is recorded with its whole text before it does. A bad
one is logged and counted, and changes nothing. A worker that starts while the file is bad takes the
policy that is on record; the service as a whole does not start with a bad file.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from kubemint import metrics
from kubemint.audit import policy_changed_event, policy_text
from kubemint.documents import parse_yaml, read_file
from kubemint.errors import ConfigurationError, InvalidDocument, LedgerUnavailable
from kubemint.policy.loader import load_policy
from kubemint.policy.rules import Policy
from kubemint.policy.warnings import unknown_authorities
from kubemint.record import Condition, Entry, Event, PolicyDiffers, Recorded

CHECK_SECONDS: Final = 0.5  # a change counts after two looks
_TOLD: Final = {
    ConfigurationError: "policy file refused, the last good one stays",
    LedgerUnavailable: "policy change cannot be recorded, the last good one stays",
}
_log = logging.getLogger(__name__)


class PolicyRecord(Protocol):
    """The ledger, as a policy needs it. Both raise LedgerUnavailable."""

    def append(self, *events: Event, conditions: tuple[Condition, ...] = ...) -> Recorded:
        """Keep `kubemint.issuance.Ledger.append`."""

    def last_policy(self) -> Entry | None:
        """Give the newest entry of a changed policy."""


def read_policy(text: bytes, source: str, known: Mapping[str, Collection[str]]) -> Policy:
    """Make a policy of the text of a file; `known` names who may vouch, by kind.

    Raises:
        ConfigurationError: with every mistake.
    """
    try:
        document: Any = parse_yaml(text)
    except InvalidDocument as fault:
        raise ConfigurationError(source, [fault.message]) from None
    policy = load_policy(document, text, source)
    if unknown := [f"{path}: {sentence}" for path, sentence in unknown_authorities(policy, known)]:
        raise ConfigurationError(source, unknown)
    return policy


class CurrentPolicy:
    """Gives the policy that counts; one for a process, made after the fork. `watch` keeps it up to date."""

    def __init__(
        self, file: Path, known: Mapping[str, Collection[str]], record: PolicyRecord, clock: Callable[[], datetime]
    ) -> None:
        """Take the file's policy, or that on record while the file is bad or its change cannot be recorded.

        Raises:
            ConfigurationError, LedgerUnavailable: there is neither.
        """
        self._file = file
        self._known = known
        self._record = record
        self._clock = clock
        self._found: bytes | None = None
        self._taken: bytes | None = None
        self._refused: bytes | None = None
        self._told: str | None = None
        self._stopped = threading.Event()
        self._policy = self._first()

    def __call__(self) -> Policy:
        """Give the policy that counts now."""
        return self._policy

    def watch(self) -> None:
        """Look at the file again and again from now on, in a thread, until `stop` or the end of the process."""
        threading.Thread(target=self._watch, name="policy", daemon=True).start()

    def stop(self) -> None:
        """End the thread before its next look."""
        self._stopped.set()

    def check(self) -> None:
        """Look at the file, and take what it says if it is good and stands as it stood at the last look.

        A file that is being written may be good and mean something else, so it gets a look to settle.
        """
        try:
            text = read_file(self._file)
            is_settled, self._found = text == self._found, text
            if is_settled and text != self._refused:
                self._consider(text)
        except (ConfigurationError, LedgerUnavailable) as fault:
            self._refuse(fault)

    def _first(self) -> Policy:
        last = self._record.last_policy()
        try:
            text = read_file(self._file)
            policy = read_policy(text, str(self._file), self._known)
            if last is None or last.fields["version"] != policy.version:
                self._record_change(policy, text)
        except (ConfigurationError, LedgerUnavailable) as fault:
            if last is None:
                raise
            self._refuse(fault)
            recorded = policy_text(last).encode()
            return read_policy(recorded, f"the policy of entry {last.index}", self._known)
        self._accept(text)
        return policy

    def _consider(self, text: bytes) -> None:
        if text != self._taken:
            self._refused = text  # a bad text is read once, however long it stays
            policy = read_policy(text, str(self._file), self._known)
            self._refused = None
            if policy.version != self._policy.version:
                self._adopt(policy, text)
        self._accept(text)

    def _accept(self, text: bytes) -> None:
        self._found = self._taken = text
        self._refused = self._told = None
        metrics.POLICY_REFUSED.set(0)

    def _adopt(self, policy: Policy, text: bytes) -> None:
        self._record_change(policy, text)
        self._policy = policy
        metrics.POLICY_LOADS.labels("loaded").inc()
        _log.info("policy changed", extra={"policy": policy.version})

    def _record_change(self, policy: Policy, text: bytes) -> None:
        event = policy_changed_event(policy.version, text.decode("utf-8"), self._clock())
        # The other processes see the same file; one of them tells.
        self._record.append(event, conditions=(PolicyDiffers(version=policy.version),))

    def _refuse(self, fault: ConfigurationError | LedgerUnavailable) -> None:
        """Tell once of each state of the file."""
        if fault.message != self._told:
            self._told = fault.message
            metrics.POLICY_LOADS.labels("refused").inc()
            _log.error(_TOLD[type(fault)], extra={"problem": fault.message})
        metrics.POLICY_REFUSED.set(1)

    def _watch(self) -> None:
        while not self._stopped.wait(CHECK_SECONDS):
            try:
                self.check()
            except Exception:  # noqa: BLE001 - the thread must outlive whatever a file may hold
                _log.exception("the policy file could not be looked at")
