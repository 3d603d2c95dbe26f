"""Run by Alembic on the connection that `Catalog.migrate` hands over."""

from alembic import context

from minus_server.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
