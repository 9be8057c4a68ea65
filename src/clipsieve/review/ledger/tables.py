"""The tables as they are now; `migrations` says how a database comes to have them."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

__all__ = [
    "METADATA",
    "UtcTime",
    "accounts",
    "leases",
    "sampled_images",
    "samples",
    "sessions",
    "verdicts",
]

METADATA = sa.MetaData()
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up in INTEGER columns alone


class UtcTime(sa.TypeDecorator[datetime]):
    """A moment to the microsecond, in UTC whatever the server's or this machine's zone is."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC; SQLite writes it without a zone."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


verdicts = sa.Table(
    "verdicts",
    METADATA,
    sa.Column("seq", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("run_key", sa.Text, nullable=False),
    sa.Column("verdict_id", sa.Text, nullable=False),
    sa.Column("image_id", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text),
    sa.Column("annotator", sa.Text, nullable=False),
    sa.Column("choice", sa.Text, nullable=False),
    sa.Column("made", UtcTime, nullable=False),
    sa.Column("voice", sa.Text, nullable=False),
    sa.Column("undoes", sa.Text),
    sa.Column("concepts", sa.Text, nullable=False),  # a JSON list
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("guideline", sa.Text, nullable=False),
    sa.Column("classifier", sa.Text),
    sa.Column("score", sa.Double),
    sa.Column("duration_s", sa.Double),
    sa.Column("queue", sa.Text),
    sa.Column("group_id", sa.Text),
    sa.UniqueConstraint("run_key", "verdict_id", name="uq_verdicts_id"),
    sa.CheckConstraint("choice IN ('keep', 'remove', 'unsure', 'undo')", name="ck_verdicts_choice"),
    sa.CheckConstraint("voice IN ('review', 'adjudication')", name="ck_verdicts_voice"),
    sa.Index("ix_verdicts_order", "run_key", "seq"),
    sqlite_autoincrement=True,
)

leases = sa.Table(
    "leases",
    METADATA,
    sa.Column("run_key", sa.Text, primary_key=True),
    sa.Column("image_key", sa.Text, primary_key=True),  # sha256 of the image id, which may be too long for an index
    sa.Column("annotator", sa.Text, primary_key=True),
    sa.Column("image_id", sa.Text, nullable=False),
    sa.Column("expires", UtcTime, nullable=False),
    sa.Index("ix_leases_expires", "run_key", "expires"),
)

accounts = sa.Table(
    "accounts",
    METADATA,
    sa.Column("name_key", sa.Text, primary_key=True),  # the name without case and width: two such names are one
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("created", UtcTime, nullable=False),
    sa.CheckConstraint("role IN ('reviewer', 'adjudicator')", name="ck_accounts_role"),
)

sessions = sa.Table(
    "sessions",
    METADATA,
    sa.Column("secret_hash", sa.Text, primary_key=True),
    sa.Column("run_key", sa.Text, nullable=False),
    sa.Column("account", sa.Text, sa.ForeignKey("accounts.name_key", name="fk_sessions_account", ondelete="CASCADE")),
    sa.Column("annotator", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("expires", UtcTime, nullable=False),
    sa.CheckConstraint("role IN ('reviewer', 'adjudicator')", name="ck_sessions_role"),
    sa.Index("ix_sessions_account", "account"),
)

samples = sa.Table(
    "samples",
    METADATA,
    sa.Column("sample_id", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("run_key", sa.Text, nullable=False),
    sa.Column("scores_name", sa.Text, nullable=False),
    sa.Column("made", UtcTime, nullable=False),
    sa.Index("ix_samples_order", "run_key", "sample_id"),
    sqlite_autoincrement=True,
)

sampled_images = sa.Table(
    "sampled_images",
    METADATA,
    sa.Column(
        "sample_id",
        _COUNTER,
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
