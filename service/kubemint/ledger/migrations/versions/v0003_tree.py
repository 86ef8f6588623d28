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
    store_tree(op.get_bind())


def downgrade() -> None:
    raise NotImplementedError("a ledger is never taken apart")
