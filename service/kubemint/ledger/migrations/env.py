"""Alembic's entry point: migrates over the connection that it is given, inside that transaction."""

from alembic import context

from kubemint.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
