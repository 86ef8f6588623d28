"""From the configuration to those who watch the log, and what the rest of the service knows of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from kubemint.config_ledger import Anchor as AnchorSettings
from kubemint.config_ledger import Log
from kubemint.config_ledger import Witness as WitnessSettings
from kubemint.errors import ConfigurationError
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.stores import Store
from kubemint.ledger.witnessed import store_witnessed
from kubemint.transparency.checkpoint import NoteVerifier, SignatureType
from kubemint.transparency.receipt import Receipt
from kubemint.witnesses.anchoring import Anchoring
from kubemint.witnesses.anchors import Anchor, AnchorFault, AnchorProblem, FileAnchor, UrlAnchor, check_against
from kubemint.witnesses.exchange import address_problem
from kubemint.witnesses.kept import KeptCheckpoint
from kubemint.witnesses.reading import WitnessedLog, WitnessedReader
from kubemint.witnesses.standing import Standing, WitnessTimes
from kubemint.witnesses.witness import Witness
from kubemint.witnesses.witnessing import Witnessing


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Those who watch the log. `log` and `reader` give what the world may see of it.

    `witnessing` and `anchoring` are None where nobody is configured; `must_wait` says that certificates wait
    for witnesses. `connections` are those of its own.
    """

    log: LedgerLog
    reader: LedgerReader | WitnessedReader
    witnessing: Witnessing | None
    anchoring: Anchoring | None
    must_wait: bool
    connections: ExitStack

    def check(self) -> None:
        """Find out before a certificate is recorded that it could not leave.

        Raises:
            LedgerUnavailable: a required witness does not cosign now.
        """
        if self.must_wait and self.witnessing is not None:
            self.witnessing.check()

    def committed(self) -> None:
        """Tell that there are new entries; nobody is waited for."""
        if self.witnessing is not None:
            self.witnessing.wake()
        if self.anchoring is not None:
            self.anchoring.wake()

    def receipt(self, receipt: Receipt) -> Receipt:
        """Give the receipt that may leave for one of an entry that was recorded just now.

        Raises:
            LedgerUnavailable: a required witness has not seen the entry in time. It stays on record.
        """
        return self.log.receipt(receipt.index) if self.must_wait else receipt

    def close(self) -> None:
        """Show no more to witnesses, write the anchors a last time, and close its own connections."""
        if self.witnessing is not None:
            self.witnessing.close()
        if self.anchoring is not None:
            self.anchoring.close()
        self.connections.close()

    def problem(self) -> str | None:
        """Say what witnesses have against the log; None if nothing is known."""
        return None if self.witnessing is None else self.witnessing.problem()


def open_watch(  # noqa: PLR0913, PLR0917 - what a watch is made of, each from elsewhere
    settings: Log,
    store: Store,
    keys: LogKeys,
    reading: Engine,
    clock: Callable[[], datetime],
    archive: Archive = NO_ARCHIVE,
) -> Watch:
    """Begin to watch, until it is closed; to be called after the fork. `reading` serves those who ask.

    Raises:
        ConfigurationError: a witness or an anchor is not one.
    """
    check_settings(settings)
    connections = ExitStack()
    private_reading = store.for_reading(len(settings.witnesses) + 2)
    connections.callback(private_reading.dispose)
    private = LedgerLog(private_reading, keys)
    public: LedgerLog = LedgerLog(reading, keys, archive)
    reader: LedgerReader | WitnessedReader = LedgerReader(reading, archive)
    witnessing, must_wait = None, False
    anchoring: Anchoring | None = None
    if settings.witnesses:
        required, optional = _keys_of(settings, required=True), _keys_of(settings, required=False)
        kept = KeptCheckpoint(private, keys, required, optional, _storing(store, connections))
        times = WitnessTimes()
        standings = [_standing(one, clock, times) for one in settings.witnesses]
        witnessing = Witnessing(standings, private, kept, lambda: anchoring.wake() if anchoring else None, times)
        if must_wait := bool(required):
            public = log = WitnessedLog(reading, keys, kept, witnessing, archive)
            reader = WitnessedReader(reading, log, witnessing, archive)
    if settings.anchors:
        anchoring = Anchoring([_anchor(one) for one in settings.anchors], public, private, keys)
        anchoring.start()
    if witnessing is not None:
        witnessing.start()
    return Watch(
        log=public,
        reader=reader,
        witnessing=witnessing,
        anchoring=anchoring,
        must_wait=must_wait,
        connections=connections,
    )


def check_settings(settings: Log) -> None:
    """Check what the shape of the configuration does not say.

    Raises:
        ConfigurationError: with every mistake.
    """
    if problems := [*_problems(settings)]:
        raise ConfigurationError("log", problems)


def check_anchors(settings: Log, log: LedgerLog, keys: LogKeys) -> None:
    """Compare the ledger with what its anchors hold. An address that does not answer is no obstacle.

    Raises:
        ConfigurationError: the ledger is older than an anchor or another than it was: a restored old backup?
        LedgerUnavailable: the ledger cannot be read, or contradicts itself (LedgerDamaged).
    """
    for anchor in map(_anchor, settings.anchors):
        try:
            if (held := anchor.read()) is not None:
                check_against(held, log, keys)
        except AnchorFault as fault:
            if fault.problem is AnchorProblem.UNREACHABLE and isinstance(anchor, UrlAnchor):
                continue
            raise ConfigurationError("log.anchors", [f"{anchor.name}: {fault}"]) from None


def check_unanchored(settings: Log, *, all_must_answer: bool) -> None:
    """Refuse to sign a first checkpoint where an anchor holds one: then this is not the first.

    Raises:
        ConfigurationError: one holds something, or cannot be asked. An address that does not answer is an
            obstacle only if all must answer.
    """
    for anchor in map(_anchor, settings.anchors):
        try:
            held = anchor.read()
        except AnchorFault as fault:
            if (
                fault.problem is AnchorProblem.UNREACHABLE
                and isinstance(anchor, UrlAnchor)
                and not all_must_answer
            ):
                continue
            raise ConfigurationError("log.anchors", [f"{anchor.name}: {fault}"]) from None
        if held is not None:
            problem = "holds a checkpoint, or what is none, and the ledger has none: was it signed before?"
            raise ConfigurationError("log.anchors", [f"{anchor.name}: {problem}"])


def _problems(settings: Log) -> Iterator[str]:
    for number, witness in enumerate(settings.witnesses):
        key = NoteVerifier.from_vkey(witness.key)
        if key.signature_type is not SignatureType.COSIGNATURE:
            yield f"witnesses.{number}.key: is no key for cosignatures (its type is not 4)"
        if (problem := address_problem(witness.url, witness.ca_file)) is not None:
            yield f"witnesses.{number}.url: {problem}"
    if len({witness.key for witness in settings.witnesses}) != len(settings.witnesses):
        yield "witnesses: two have the same key, and one of them would count twice"
    for number, anchor in enumerate(settings.anchors):
        if anchor.url is not None and (problem := address_problem(anchor.url, anchor.ca_file)) is not None:
            yield f"anchors.{number}.url: {problem}"


def _keys_of(settings: Log, *, required: bool) -> tuple[NoteVerifier, ...]:
    return tuple(NoteVerifier.from_vkey(one.key) for one in settings.witnesses if one.required == required)


def _standing(settings: WitnessSettings, clock: Callable[[], datetime], times: WitnessTimes) -> Standing:
    key = NoteVerifier.from_vkey(settings.key)
    witness = Witness(key, settings.url, settings.ca_file, clock, times.request)
    return Standing(witness=witness, is_required=settings.required, times=times)


def _anchor(settings: AnchorSettings) -> Anchor:
    if settings.file is not None:
        return FileAnchor(settings.file)
    return UrlAnchor(settings.url or "", settings.ca_file)


def _storing(store: Store, connections: ExitStack) -> Callable[[int, str, str], bool]:
    database = store.writable()
    connections.callback(database.close)

    def put(size: int, note: str, before: str) -> bool:
        return store_witnessed(database, size=size, note=note, before=before)

    return put
