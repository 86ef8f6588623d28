"""The Merkle tree over the entries: its frontier and signed size in the head, full tiles, cosigned checkpoints"""

from alembic import op
import sqlalchemy as sa

from kubemint.ledger.growing import store_tree


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    nothing = sa.text("''::bytea" if op.get_context().dialect.name == "postgresql" else "x''")
    op.add_column('head', sa.Column('frontier', sa.LargeBinary(), nullable=False, server_default=nothing, comment='roots of the complete subtrees, largest first'))
    op.add_column('head', sa.Column('checkpoint', sa.Text(), nullable=False, server_default='', comment='signed note of size and root'))
    op.add_column('head', sa.Column('archived', _COUNT, nullable=False, server_default='0', comment='bodies of entries below this index are in the archive'))
    op.create_table('tiles',
    sa.Column('level', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('index', _COUNT, autoincrement=False, nullable=False),
    sa.Column('root', sa.LargeBinary(), nullable=False, comment='what the tile is in the one above it'),
    sa.Column('hashes', sa.LargeBinary(), nullable=False, comment='256 hashes: C2SP tlog-tiles'),
    sa.CheckConstraint('length(hashes) = 8192', name='tiles_are_full'),
    sa.PrimaryKeyConstraint('level', 'index')
    )
    op.create_table('witnessed',
    sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('size', _COUNT, nullable=False),
    sa.Column('checkpoint', sa.Text(), nullable=False, comment='the newest with the cosignatures of witnesses'),
    sa.CheckConstraint('id = 1', name='witnessed_one_row'),
    sa.PrimaryKeyConstraint('id')
    )
    op.execute("INSERT INTO witnessed (id, size, checkpoint) VALUES (1, 0, '')")
    if op.get_context().dialect.name == "postgresql":
        _let_archived_bodies_go_postgresql()
    else:
        _add_expiry_to_groups()
        _let_archived_bodies_go_sqlite()
    store_tree(op.get_bind())


def _add_expiry_to_groups() -> None:
    op.add_column('entry_groups', sa.Column('expires_at', _COUNT, nullable=False, server_default='0', comment='of the certificate or request; of a refusal, its time'))
    op.execute(
        "UPDATE entry_groups SET expires_at = coalesce("
        "(SELECT not_after FROM certificates AS c WHERE c.entry_index = entry_groups.entry_index), "
        "(SELECT decided_at FROM refusals AS r WHERE r.entry_index = entry_groups.entry_index), "
        "(SELECT expires_at FROM requests AS q WHERE q.entry_index = entry_groups.entry_index), 0)"
    )


def _let_archived_bodies_go_sqlite() -> None:
    op.execute("DROP TRIGGER entries_no_update")
    op.execute(
        "CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries "
        "WHEN NOT (NEW.body = x'' AND NEW.\"index\" = OLD.\"index\" AND NEW.time = OLD.time "
        "AND NEW.kind = OLD.kind AND NEW.leaf_hash = OLD.leaf_hash AND OLD.kind IN ('issued', 'refused') "
        "AND OLD.\"index\" < (SELECT archived FROM head)) "
        "BEGIN SELECT RAISE(ABORT, 'entries are only ever added'); END"
    )


def _let_archived_bodies_go_postgresql() -> None:
    op.execute("DROP TRIGGER entries_no_update ON entries")
    op.execute(
        "CREATE FUNCTION entries_are_archived() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.body = ''::bytea AND NEW.index = OLD.index AND NEW.time = OLD.time "
        "AND NEW.kind = OLD.kind AND NEW.leaf_hash = OLD.leaf_hash AND OLD.kind IN ('issued', 'refused') "
        "AND OLD.index < (SELECT archived FROM head) THEN RETURN NEW; END IF; "
        "RAISE EXCEPTION 'entries are only ever added'; END $$"
    )
    op.execute(
        "CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries "
        "FOR EACH ROW EXECUTE FUNCTION entries_are_archived()"
    )


def downgrade() -> None:
    raise NotImplementedError("a ledger is never taken apart")
