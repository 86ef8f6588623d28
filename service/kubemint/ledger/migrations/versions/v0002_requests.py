"""Requests that wait for approval, tokens that count once, versions of the policy, keys of more than certificates"""

from alembic import op
import sqlalchemy as sa


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table('requests',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('entry_index', _COUNT, nullable=False),
    sa.Column('requester', sa.Text(), nullable=False),
    sa.Column('user_name', sa.Text(), nullable=False),
    sa.Column('profile', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('approvals', sa.Integer(), nullable=False, comment='those that came while it was pending'),
    sa.Column('expires_at', _COUNT, nullable=False),
    sa.Column('outcome_index', _COUNT, nullable=True, comment='what ended it'),
    sa.CheckConstraint("state IN ('pending', 'issued', 'denied')", name='requests_state'),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.ForeignKeyConstraint(['outcome_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('entry_index')
    )
    op.create_index('ix_requests_requester', 'requests', ['requester', 'entry_index'], unique=False)
    op.create_index('ix_requests_state', 'requests', ['state', 'entry_index'], unique=False)
    op.create_table('approvals',
    sa.Column('request', sa.Text(), nullable=False),
    sa.Column('entry_index', _COUNT, autoincrement=False, nullable=False),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.ForeignKeyConstraint(['request'], ['requests.id'], ),
    sa.PrimaryKeyConstraint('request', 'entry_index'),
    sqlite_with_rowid=False
    )
    op.create_table('token_uses',
    sa.Column('authority', sa.Text(), nullable=False),
    sa.Column('token_id', sa.Text(), nullable=False),
    sa.Column('entry_index', _COUNT, nullable=False, comment='the first use'),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('authority', 'token_id'),
    sqlite_with_rowid=False
    )
    op.create_table('policies',
    sa.Column('entry_index', _COUNT, autoincrement=False, nullable=False),
    sa.Column('version', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('entry_index')
    )
    op.create_table('idempotency_keys',
    sa.Column('requester', sa.Text(), nullable=False),
    sa.Column('idempotency_key', sa.Text(), nullable=False),
    sa.Column('entry_index', _COUNT, nullable=False),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('requester', 'idempotency_key'),
    sqlite_with_rowid=False
    )
    op.execute(
        "INSERT INTO idempotency_keys (requester, idempotency_key, entry_index) "
        "SELECT requester, idempotency_key, entry_index FROM certificates WHERE idempotency_key IS NOT NULL"
    )
    op.drop_index('ux_certificates_idempotency_key', 'certificates')
    op.drop_column('certificates', 'idempotency_key')


def downgrade() -> None:
    raise NotImplementedError("a ledger is never taken apart")
