"""Run the steps on the connection, and in the transaction, that `schema.migrate` holds."""

from __future__ import annotations

from alembic import context

from clipsieve.review.ledger.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,  # SQLite's too: a step that fails leaves nothing behind
)
with context.begin_transaction():
    context.run_migrations()
