"""What Alembic runs to bring a database of any older version to the newest."""
