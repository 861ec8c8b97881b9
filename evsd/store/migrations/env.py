"""Alembic's entry: runs migrations on the connection `Database.migrate` hands over."""

from alembic import context

from evsd.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite can't ALTER most things in place
)
with context.begin_transaction():
    context.run_migrations()
