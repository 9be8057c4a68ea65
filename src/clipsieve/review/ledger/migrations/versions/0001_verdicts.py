"""The verdicts, to which rows can only be added: the database itself refuses all else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REFUSAL = "verdicts are only ever added"
_SQLITE = (
    f"""CREATE TRIGGER verdicts_no_update BEFORE UPDATE ON verdicts
        BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END""",
    f"""CREATE TRIGGER verdicts_no_delete BEFORE DELETE ON verdicts
        BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END""",
    # INSERT OR REPLACE deletes the older row without asking the triggers above.
    """CREATE TRIGGER verdicts_no_replace BEFORE INSERT ON verdicts
       WHEN EXISTS (SELECT 1 FROM verdicts WHERE run_key = NEW.run_key AND verdict_id = NEW.verdict_id)
         OR EXISTS (SELECT 1 FROM verdicts WHERE seq = NEW.seq)
       BEGIN SELECT RAISE(IGNORE); END""",
)
_POSTGRESQL = (
    f"""CREATE FUNCTION refuse_verdict_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$""",
    """CREATE TRIGGER verdicts_no_change BEFORE UPDATE OR DELETE ON verdicts
       FOR EACH ROW EXECUTE FUNCTION refuse_verdict_change()""",
    """CREATE TRIGGER verdicts_no_truncate BEFORE TRUNCATE ON verdicts
       FOR EACH STATEMENT EXECUTE FUNCTION refuse_verdict_change()""",
)


def upgrade() -> None:
    """Make the table, its index and its triggers."""
    op.create_table(
        "verdicts",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("run_key", sa.Text, nullable=False),
        sa.Column("verdict_id", sa.Text, nullable=False),
        sa.Column("image_id", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text),
        sa.Column("annotator", sa.Text, nullable=False),
        sa.Column("choice", sa.Text, nullable=False),
        sa.Column("made", sa.DateTime(timezone=True), nullable=False),
        sa.Column("voice", sa.Text, nullable=False),
        sa.Column("undoes", sa.Text),
        sa.Column("concepts", sa.Text, nullable=False),
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
        sqlite_autoincrement=True,
    )
    op.create_index("ix_verdicts_order", "verdicts", ["run_key", "seq"])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
