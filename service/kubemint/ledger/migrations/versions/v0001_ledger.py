"""The ledger: entries, head, and the tables to find them by"""

from alembic import op
import sqlalchemy as sa


revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    is_postgresql = op.get_context().dialect.name == "postgresql"
    # PostgreSQL: what grows with every request is partitioned by when it is of no more use, and a key has that
    # column in it. Such a ledger was never without partitions, so they are made here.
    expiry = ['not_after'] if is_postgresql else []
    decision = ['decided_at'] if is_postgresql else []
    groups_expiry = ['expires_at'] if is_postgresql else []
    op.create_table('entries',
    sa.Column('index', _COUNT, autoincrement=False, nullable=False, comment='0, 1, 2, … without a gap'),
    sa.Column('time', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False, comment='canonical JSON of the event'),
    sa.Column('leaf_hash', sa.LargeBinary(), nullable=False, comment='RFC 6962 2.1, over body'),
    sa.CheckConstraint('length(leaf_hash) = 32', name='leaf_hash_length'),
    sa.PrimaryKeyConstraint('index')
    )
    op.create_table('head',
    sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('size', _COUNT, nullable=False, comment='number of entries; the next index'),
    sa.CheckConstraint('id = 1', name='head_one_row'),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('heartbeat',
    sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('time', sa.Text(), nullable=False, comment='when a replica last proved that it can write'),
    sa.CheckConstraint('id = 1', name='heartbeat_one_row'),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('certificates',
    sa.Column('entry_index', _COUNT, autoincrement=False, nullable=False),
    sa.Column('serial_number', sa.LargeBinary(), nullable=False),
    sa.Column('credential_id', sa.LargeBinary(), nullable=False),
    sa.Column('requester', sa.Text(), nullable=False),
    sa.Column('user_name', sa.Text(), nullable=False),
    sa.Column('profile', sa.Text(), nullable=False),
    sa.Column('decided_at', _COUNT, nullable=False),
    sa.Column('not_after', _COUNT, nullable=False),
    sa.Column('idempotency_key', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('entry_index', *expiry),
    sa.UniqueConstraint('credential_id', *expiry),
    sa.UniqueConstraint('serial_number', *expiry),
    postgresql_partition_by='RANGE (not_after)'
    )
    op.create_index('ix_certificates_requester', 'certificates', ['requester', 'entry_index'], unique=False)
    op.create_index('ix_certificates_user_name', 'certificates', ['user_name', 'entry_index'], unique=False)
    op.create_index('ux_certificates_idempotency_key', 'certificates', ['requester', 'idempotency_key', *expiry], unique=True, sqlite_where=sa.text('idempotency_key IS NOT NULL'), postgresql_where=sa.text('idempotency_key IS NOT NULL'))
    op.create_table('entry_groups',
    sa.Column('group_name', sa.Text(), nullable=False),
    sa.Column('entry_index', _COUNT, autoincrement=False, nullable=False),
    *([sa.Column('expires_at', _COUNT, nullable=False, comment='of the certificate or request; of a refusal, its time')] if is_postgresql else []),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('group_name', 'entry_index', *groups_expiry),
    sqlite_with_rowid=False,
    postgresql_partition_by='RANGE (expires_at)'
    )
    op.create_table('refusals',
    sa.Column('entry_index', _COUNT, autoincrement=False, nullable=False),
    sa.Column('requester', sa.Text(), nullable=False),
    sa.Column('user_name', sa.Text(), nullable=True),
    sa.Column('profile', sa.Text(), nullable=True, comment='the one that was asked for'),
    sa.Column('decided_at', _COUNT, nullable=False),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('entry_index', *decision),
    postgresql_partition_by='RANGE (decided_at)'
    )
    op.create_index('ix_refusals_requester', 'refusals', ['requester', 'entry_index'], unique=False)
    op.create_index('ix_refusals_user_name', 'refusals', ['user_name', 'entry_index'], unique=False)
    if is_postgresql:
        for table in ('certificates', 'entry_groups', 'refusals'):
            op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    op.execute("INSERT INTO head (id, size) VALUES (1, 0)")
    op.execute("INSERT INTO heartbeat (id, time) VALUES (1, '')")
    if is_postgresql:
        op.execute(
            "CREATE FUNCTION entries_stay() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'entries are only ever added'; END $$"
        )
    for verb in ("UPDATE", "DELETE"):
        if is_postgresql:
            op.execute(
                f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries "
                "FOR EACH STATEMENT EXECUTE FUNCTION entries_stay()"
            )
        else:
            op.execute(
                f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries "
                "BEGIN SELECT RAISE(ABORT, 'entries are only ever added'); END"
            )


def downgrade() -> None:
    raise NotImplementedError("a ledger is never taken apart")
