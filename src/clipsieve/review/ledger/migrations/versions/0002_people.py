"""Who reviews: accounts, sessions, leases; and the samples that `prevalence` draws."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ROLES = "role IN ('reviewer', 'adjudicator')"


def _counter() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables and their indexes."""
    _make_leases()
    _make_people()
    _make_samples()


def _make_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("run_key", sa.Text, primary_key=True),
        sa.Column("image_key", sa.Text, primary_key=True),
        sa.Column("annotator", sa.Text, primary_key=True),
        sa.Column("image_id", sa.Text, nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_leases_expires", "leases", ["run_key", "expires"])


def _make_people() -> None:
    op.create_table(
        "accounts",
        sa.Column("name_key", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(_ROLES, name="ck_accounts_role"),
    )
    op.create_table(
        "sessions",
        sa.Column("secret_hash", sa.Text, primary_key=True),
        sa.Column("run_key", sa.Text, nullable=False),
        sa.Column(
            "account", sa.Text, sa.ForeignKey("accounts.name_key", name="fk_sessions_account", ondelete="CASCADE")
        ),
        sa.Column("annotator", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(_ROLES, name="ck_sessions_role"),
    )
    op.create_index("ix_sessions_account", "sessions", ["account"])


def _make_samples() -> None:
    op.create_table(
        "samples",
        sa.Column("sample_id", _counter(), primary_key=True, autoincrement=True),
        sa.Column("run_key", sa.Text, nullable=False),
        sa.Column("scores_name", sa.Text, nullable=False),
        sa.Column("made", sa.DateTime(timezone=True), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_samples_order", "samples", ["run_key", "sample_id"])
    op.create_table(
        "sampled_images",
        sa.Column(
            "sample_id",
            _counter(),
            sa.ForeignKey("samples.sample_id", name="fk_sampled_images_sample", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("image_id", sa.Text, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("stratum", sa.Integer, nullable=False),
        sa.Column("stratum_size", sa.BigInteger, nullable=False),
        sa.Column("flagged", sa.Boolean, nullable=False),
    )
