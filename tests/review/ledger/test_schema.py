"""Databases of every version become the newest; those of others are left alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from clipsieve.errors import LedgerError
from clipsieve.review.ledger import open_ledger, schema
from clipsieve.review.ledger.database import connect
from clipsieve.review.ledger.places import read_place
from clipsieve.review.ledger.tables import METADATA
from clipsieve.review.records import Choice

OLD_ROW = (
    "INSERT INTO verdicts (run_key, verdict_id, image_id, annotator, choice, made, voice, concepts, note, guideline)"
    " VALUES ('run', 'v1', 'a.jpg', 'Ann', 'remove', '2026-01-02 03:04:05.000006', 'review', '[\"knife\"]', 'n', 'g')"
)


@pytest.fixture
def database(place):
    """Give an empty database."""
    opened = connect(read_place(place))
    yield opened
    opened.close()


def test_the_tables_in_the_code_are_those_that_the_steps_make(database):
    schema.migrate(database)
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, METADATA) == []


def test_the_comparison_would_see_a_column_that_no_step_makes(database):
    schema.migrate(database)
    changed = sa.MetaData()
    for table in METADATA.sorted_tables:
        table.to_metadata(changed)
    changed.tables["leases"].append_column(sa.Column("forgotten", sa.Text))
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), changed)


def test_the_newest_version_is_the_last_step():
    assert ScriptDirectory(schema._FOLDER).get_heads() == [schema.NEWEST]


def test_an_old_database_keeps_its_rows(place, database):
    schema.migrate(database, "0001")
    with database.writing("x") as connection:
        connection.exec_driver_sql(OLD_ROW)
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version", "verdicts"}
    with open_ledger(place, "run") as ledger:
        ((_, row),) = ledger.rows()
        assert (row.verdict_id, row.choice, row.concepts, row.note) == ("v1", Choice.REMOVE, ("knife",), "n")
        assert row.made.isoformat() == "2026-01-02T03:04:05.000006+00:00"
        assert ledger.append([row]) == frozenset()
        assert ledger.lease(["a.jpg"], "Ann", n=1, per_image=1, ttl_s=60) == ["a.jpg"]


def test_a_step_that_fails_leaves_the_database_as_it_was(place, database):
    schema.migrate(database, "0001")
    with database.writing("x") as connection:
        connection.exec_driver_sql("CREATE TABLE samples (mine TEXT)")  # in the way of the second step's last tables
    with pytest.raises(LedgerError, match="cannot use"):
        open_ledger(place, "run")
    with database.reading() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {"alembic_version", "verdicts", "samples"}
        assert schema._version_of(connection) == "0001"


def test_many_who_open_a_new_database_at_once_all_can_use_it(place):
    with ThreadPoolExecutor(8) as pool:
        ledgers = list(pool.map(lambda _: open_ledger(place, "run"), range(8)))
    for ledger in ledgers:
        assert ledger.rows() == []
        ledger.close()


@pytest.mark.slow
def test_processes_that_open_a_new_database_at_once_all_can_use_it(place):
    code = "import sys; from clipsieve.review.ledger import open_ledger; print(open_ledger(sys.argv[1], 'run').rows())"
    command = [sys.executable, "-c", code, str(place)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate() for process in started] == [("[]\n", "")] * 4


def test_a_newer_database_is_refused_and_left_alone(place):
    open_ledger(place, "run").close()
    database = connect(read_place(place))
    with database.writing("x") as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="newer version of clipsieve") as refused:
        open_ledger(place, "run")
    assert "9999" in refused.value.found
    with database.reading() as connection:
        assert schema._version_of(connection) == "9999"
    database.close()


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE customers (name TEXT)"],
        ["CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('cafe')"],
        ["CREATE TABLE verdicts (judge TEXT)"],
    ],
    ids=["another's tables", "another's Alembic", "another's verdicts"],
)
def test_another_programs_database_is_refused_and_left_alone(place, database, statements):
    with database.writing("x") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        before = set(sa.inspect(connection).get_table_names())
    with pytest.raises(LedgerError, match="another program's"):
        open_ledger(place, "run")
    with database.reading() as connection:
        assert set(sa.inspect(connection).get_table_names()) == before


def test_the_steps_lie_where_the_package_is_installed():
    assert {path.name for path in (schema._FOLDER / "versions").glob("0*.py")} == {"0001_verdicts.py", "0002_people.py"}


def test_the_file_keeps_what_was_accepted_through_a_loss_of_power(tmp_path):
    database = connect(read_place(tmp_path / "verdicts.db"))
    with database.reading() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    database.close()
    assert settings == ["wal", 2, 1, 5_000]
