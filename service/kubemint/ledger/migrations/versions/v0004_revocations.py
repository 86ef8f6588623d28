"""Revocations: what was taken back, whom it keeps from getting more, and by what a certificate is found for it"""

from alembic import op
import sqlalchemy as sa

from kubemint.ledger.revoking import fill_certificates


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


_COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column('certificates', sa.Column('public_key', sa.LargeBinary(), nullable=True, comment='SHA-256 of the SubjectPublicKeyInfo'))
    op.add_column('certificates', sa.Column('twin_id', sa.LargeBinary(), nullable=True, comment='credential id of the same with its ECDSA signature rewritten'))
    op.create_index('ix_certificates_not_after', 'certificates', ['not_after'], unique=False)
    op.create_table('revocations',
    sa.Column('entry_index', _COUNT, autoincrement=False, nullable=False),
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('revoked_at', _COUNT, nullable=False),
    sa.Column('requester', sa.Text(), nullable=False),
    sa.Column('lifted_index', _COUNT, nullable=True, comment='what ended a hold'),
    sa.ForeignKeyConstraint(['entry_index'], ['entries.index'], ),
    sa.ForeignKeyConstraint(['lifted_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('entry_index'),
    sa.UniqueConstraint('id')
    )
    op.create_index('ix_revocations_lifted_index', 'revocations', ['lifted_index'], unique=False)
    op.create_table('revoked_certificates',
    sa.Column('revocation_index', _COUNT, autoincrement=False, nullable=False),
    sa.Column('certificate_index', _COUNT, autoincrement=False, nullable=False),
    sa.Column('serial_number', sa.LargeBinary(), nullable=False),
    sa.Column('credential_id', sa.LargeBinary(), nullable=False),
    sa.Column('twin_id', sa.LargeBinary(), nullable=True),
    sa.Column('not_after', _COUNT, nullable=False),
    sa.ForeignKeyConstraint(['certificate_index'], ['entries.index'], ),
    sa.ForeignKeyConstraint(['revocation_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('revocation_index', 'certificate_index')
    )
    op.create_index('ix_revoked_certificates_certificate', 'revoked_certificates', ['certificate_index'], unique=False)
    op.create_index('ix_revoked_certificates_credential_id', 'revoked_certificates', ['credential_id'], unique=False)
    op.create_index('ix_revoked_certificates_serial_number', 'revoked_certificates', ['serial_number'], unique=False)
    op.create_index('ix_revoked_certificates_twin_id', 'revoked_certificates', ['twin_id'], unique=False)
    op.create_table('blocks',
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('value', sa.LargeBinary(), nullable=False, comment='a name in UTF-8, or the SHA-256 of a public key'),
    sa.Column('revocation_index', _COUNT, autoincrement=False, nullable=False),
    sa.Column('until', _COUNT, nullable=True, comment='none: for ever'),
    sa.CheckConstraint("kind IN ('user', 'group', 'key')", name='blocks_kind'),
    sa.ForeignKeyConstraint(['revocation_index'], ['entries.index'], ),
    sa.PrimaryKeyConstraint('kind', 'value', 'revocation_index'),
    sqlite_with_rowid=False
    )
    op.create_index('ix_blocks_revocation_index', 'blocks', ['revocation_index'], unique=False)
    fill_certificates(op.get_bind())


def downgrade() -> None:
    raise NotImplementedError("a ledger is never taken apart")
