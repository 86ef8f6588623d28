"""The ways in which several appends can come to a ledger: what holds for one holds for all of them."""

from collections.abc import Callable, Sequence

from kubemint.ledger.batch import Batch, Unit
from kubemint.ledger.growing import Sealer
from kubemint.ledger.statements import Statements
from kubemint.record import Condition, Event, Recorded, Unmet
from ledger.adapters import Adapter

Way = Callable[[Adapter, Sequence[Unit]], list[Recorded]]


def unit(
    *events: Event, conditions: Sequence[Condition] = (), otherwise: Callable[[Unmet], Event] | None = None
) -> Unit:
    """Give what one append brings."""
    return Unit(events, conditions, otherwise)


def in_one_batch(adapter: Adapter, units: Sequence[Unit]) -> list[Recorded]:
    """Write units by one transaction, as those of threads that wait together."""
    database = adapter.database()
    with database.transaction() as cursor:
        batch = Batch(cursor, Statements(database.engine), Sealer(adapter.keys))
        recorded = [batch.take(each) for each in units]
        batch.write()
    return recorded


def one_by_one(adapter: Adapter, units: Sequence[Unit]) -> list[Recorded]:
    """Append units one after the other."""
    ledger = adapter.open()
    return [ledger.append(*each.events, conditions=each.conditions, otherwise=each.otherwise) for each in units]


def by_turns(adapter: Adapter, units: Sequence[Unit]) -> list[Recorded]:
    """Append units through two that are open, as two processes are."""
    ledgers = [adapter.open(), adapter.open()]
    return [
        ledgers[turn % 2].append(*each.events, conditions=each.conditions, otherwise=each.otherwise)
        for turn, each in enumerate(units)
    ]


WAYS: dict[str, Way] = {"in one batch": in_one_batch, "one by one": one_by_one, "by turns": by_turns}
