"""Ledgers that are large, or old, made fast: the entries are loaded as rows, and the tree is built of them."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from kubemint.ledger.growing import sign_first, store_tree
from kubemint.ledger.statements import Statements
from kubemint.transparency.tree import leaf_hash, node_hash
from ledger.adapters import Adapter, EntryRow

TIME = "2026-11-20T12:00:00Z"


def bodies(count: int, first: int = 0) -> Iterator[bytes]:
    """Give the bodies of entries that tell nothing but their number."""
    return (b'{"kind":"refused","number":%d}' % number for number in range(first, first + count))


def entry_rows(bodies: Iterable[bytes]) -> Iterator[EntryRow]:
    """Give the rows of entries, from the first index on."""
    return ((index, TIME, "refused", body, leaf_hash(body)) for index, body in enumerate(bodies))


def fill(adapter: Adapter, size: int) -> None:
    """Make an empty ledger one of so many entries, with its tree and a signed head, as a migration does."""
    adapter.load(entry_rows(bodies(size)))
    engine = adapter.database().engine
    with engine.begin() as connection:
        connection.execute(text("UPDATE head SET size = :size, checkpoint = ''"), {"size": size})
        store_tree(connection)
        sign_first(adapter.keys, connection.connection.cursor(), Statements(engine))
    engine.dispose()


def migrate_to(revision: str, engine: Engine) -> None:
    """Make the tables as an earlier version left them."""
    configuration = Config()
    configuration.set_main_option("script_location", str(files("kubemint.ledger") / "migrations"))
    with engine.begin() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """Hash a tree as RFC 6962, section 2.1, defines it, level by level of the recursion."""
    if len(hashes) == 1:
        return hashes[0]
    middle = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(naive_root(hashes[:middle]), naive_root(hashes[middle:]))
