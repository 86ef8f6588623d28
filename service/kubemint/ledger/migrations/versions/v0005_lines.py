"""Lines of renewals: who asked for the first certificate of each, and which lines a revocation has ended

Replicas of the version before go on while this one starts. They name their columns, and know neither of the new ones:

- of a renewal they would write no first requester, so a trigger does, from the entry that they wrote before the row;
- a revocation that they order has no `lines` in its entry: it means what it meant in their version, for ever, so that
  its rows follow from its entry here and there. It hits no renewals by who asked first, and of the lines that it hits
  only those whose first certificate it hit are ended. Revoke again what was ordered then, if that matters;
- they go on renewing what has been revoked here, until they end.

Rows of revocations from before are as those: nothing is written to them.
"""

from alembic import op
import sqlalchemy as sa

from kubemint.ledger.revoking import fill_first_requesters


revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('certificates', sa.Column('first_requester', sa.Text(), nullable=True, comment='of a renewal: who asked for the first certificate of its line'))
    op.add_column('revoked_certificates', sa.Column('line', sa.Text(), nullable=True, comment='of a renewal: its requester, which all renewals of the line have'))
    fill_first_requesters(op.get_bind())
    is_renewal = sa.text('first_requester IS NOT NULL')
    op.create_index('ix_certificates_first_requester', 'certificates', ['first_requester', 'entry_index'], unique=False, sqlite_where=is_renewal, postgresql_where=is_renewal)
    has_line = sa.text('line IS NOT NULL')
    op.create_index('ix_revoked_certificates_line', 'revoked_certificates', ['line'], unique=False, sqlite_where=has_line, postgresql_where=has_line)
    if op.get_context().dialect.name == "postgresql":
        _fill_for_others_postgresql()
    else:
        _fill_for_others_sqlite()


def _fill_for_others_sqlite() -> None:
    op.execute(
        "CREATE TRIGGER certificates_first_requester AFTER INSERT ON certificates "
        "WHEN NEW.first_requester IS NULL AND NEW.requester LIKE 'renewal:%' "
        "BEGIN UPDATE certificates SET first_requester = "
        "(SELECT json_extract(CAST(body AS TEXT), '$.renews.first.requester') FROM entries "
        "WHERE \"index\" = NEW.entry_index) WHERE entry_index = NEW.entry_index; END"
    )


def _fill_for_others_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION fill_first_requester() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "NEW.first_requester := (SELECT convert_from(body, 'UTF8')::json #>> '{renews,first,requester}' "
        "FROM entries WHERE index = NEW.entry_index); RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER certificates_first_requester BEFORE INSERT ON certificates FOR EACH ROW "
        "WHEN (NEW.first_requester IS NULL AND NEW.requester LIKE 'renewal:%') "
        "EXECUTE FUNCTION fill_first_requester()"
    )


def downgrade() -> None:
    raise NotImplementedError("a ledger is never taken apart")
