"""What any ledger promises, held against SQLite and a real PostgreSQL server."""

import dataclasses
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest
import sqlalchemy as sa

from clipsieve.engines.verdicts import SampledImage
from clipsieve.errors import LedgerError, UsageError
from clipsieve.review.ledger import open_ledger
from clipsieve.review.ledger.database import connect
from clipsieve.review.ledger.places import read_place
from clipsieve.review.records import Choice, VerdictRow, Voice

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ODD = "'; DROP TABLE verdicts; -- \x00 \ud800 \ufdd0 \u202e <script> %s :x {} 🙂"


def row(image_id="a.jpg", annotator="Ann", choice=Choice.KEEP, **more):
    return VerdictRow(more.pop("verdict_id", str(uuid4())), image_id, None, annotator, choice, NOW, **more)


def test_a_row_comes_back_as_it_was(place):
    full = VerdictRow(
        ODD[:100], ODD, "ab" * 32, ODD, Choice.UNDO, NOW, Voice.ADJUDICATION, ODD, (ODD, "knife"), ODD, ODD, ODD, 0.1, 2.5,
        ODD, ODD,
    )  # fmt: skip
    plain = row("x" * 20_000)
    with open_ledger(place, "run") as ledger:
        assert ledger.append([full, plain]) == {full.verdict_id, plain.verdict_id}
        assert [found for _, found in ledger.rows()] == [full, plain]
    with open_ledger(place, "run") as ledger:
        assert [found for _, found in ledger.rows()] == [full, plain]


def test_times_are_kept_to_the_microsecond_in_utc(place):
    made = datetime(2026, 7, 1, 0, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with open_ledger(place, "run") as ledger:
        ledger.append([dataclasses.replace(row(), made=made)])
        found = ledger.rows()[0][1].made
    assert found == made
    assert found.utcoffset() == timedelta(0)


def test_a_row_sent_twice_is_one_row(place):
    first, second = row(), row()
    with open_ledger(place, "run") as ledger:
        assert ledger.append([first, first]) == {first.verdict_id}
        assert ledger.append([second, first]) == {second.verdict_id}
        assert ledger.append([first]) == frozenset()
        assert ledger.append([]) == frozenset()
        assert [found for _, found in ledger.rows()] == [first, second]


def test_each_run_sees_its_own(place):
    mine, shared_id = row(), str(uuid4())
    with open_ledger(place, "one") as one, open_ledger(place, "two") as two:
        one.append([mine, row(verdict_id=shared_id)])
        two.append([row(verdict_id=shared_id, note="other")])
        one.lease(["a"], "Ann", n=1, per_image=1, ttl_s=60)
        one.samples.save([SampledImage("a", "a", 1, 1, False)], "scores", NOW)
        assert len(one.rows()) == 2
        assert [found.note for _, found in two.rows()] == ["other"]
        assert two.leases() == {}
        assert two.samples.load() == ()
        assert two.lease(["a"], "Bob", n=1, per_image=1, ttl_s=60) == ["a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict_id": ""}, "its id"),
        ({"verdict_id": "x" * 101}, "its id"),
        ({"image_id": ""}, "no image"),
        ({"annotator": ""}, "annotator"),
        ({"annotator": "x" * 81}, "annotator"),
        ({"note": "x" * 2001}, "note"),
        ({"made": datetime(2026, 1, 1)}, "zone"),  # noqa: DTZ001
        ({"choice": Choice.UNDO}, "which"),
        ({"undoes": "x"}, "no undo"),
        ({"score": float("nan")}, "score"),
        ({"score": 1.01}, "score"),
        ({"duration_s": float("inf")}, "duration"),
        ({"duration_s": -1.0}, "duration"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_with_all_of_its_batch(tmp_path, change, message):
    with open_ledger(tmp_path / "verdicts.db", "run") as ledger:
        with pytest.raises(LedgerError, match=message):
            ledger.append([row(), dataclasses.replace(row(), **change)])
        assert ledger.rows() == []


def test_the_database_itself_refuses_to_change_or_forget_a_verdict(place):
    kept = row()
    with open_ledger(place, "run") as ledger:
        ledger.append([kept])
        statements = [
            "UPDATE verdicts SET choice = 'remove'",
            "DELETE FROM verdicts",
            "TRUNCATE verdicts" if "://" in str(place) else "DELETE FROM verdicts WHERE seq = 1",
        ]
        database = connect(read_place(place))
        for statement in statements:
            with pytest.raises(LedgerError, match="cannot use") as refused, database.writing("x") as connection:
                connection.exec_driver_sql(statement)
            assert "only ever added" in refused.value.found
        database.close()
        assert [found for _, found in ledger.rows()] == [kept]


def test_sqlite_does_not_replace_a_verdict_either(tmp_path):
    kept = row()
    with open_ledger(tmp_path / "verdicts.db", "run") as ledger:
        ledger.append([kept])
        database = connect(read_place(tmp_path / "verdicts.db"))
        columns = "run_key, image_id, annotator, made, voice, concepts, note, guideline"
        for seq, verdict_id in [(9, kept.verdict_id), (1, "other")]:
            with database.writing("x") as connection:
                connection.exec_driver_sql(
                    f"INSERT OR REPLACE INTO verdicts (seq, verdict_id, choice, {columns})"  # noqa: S608
                    f" SELECT ?, ?, 'remove', {columns} FROM verdicts",
                    (seq, verdict_id),
                )
        database.close()
        assert ledger.rows() == [(1, kept)]


def test_who_reads_on_misses_nothing_that_others_write_meanwhile(place):
    """Numbers must become visible in their order, or a reader would step over a row that is committed late."""
    with open_ledger(place, "run") as one, open_ledger(place, "run") as two:
        seen, done = [], threading.Event()

        def read():
            while True:
                was_done = done.is_set()
                seen.extend(one.rows(after=seen[-1][0] if seen else 0))
                if was_done:
                    return

        def write(who):
            for number in range(20):
                (one, two)[number % 2].append([row(f"{who}-{number}-{k}", f"p{who}") for k in range(1 + number % 3)])

        reader = threading.Thread(target=read)
        reader.start()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        done.set()
        reader.join()
        assert seen == one.rows()
        assert len(seen) == 8 * sum(1 + number % 3 for number in range(20))


def test_many_who_send_the_same_rows_write_them_once(place):
    rows = [row(f"{number}.jpg") for number in range(10)]
    with open_ledger(place, "run") as ledger, ThreadPoolExecutor(16) as pool:
        new = list(pool.map(ledger.append, [rows] * 16))
        assert sum(map(len, new)) == 10
        assert len(ledger.rows()) == 10


def test_nobody_gets_what_others_hold(place):
    images = [f"{number}.jpg" for number in range(200)]
    with open_ledger(place, "run") as one, open_ledger(place, "run") as two:

        def take(who):
            return (one, two)[who % 2].lease(images, f"p{who}", n=5, per_image=2, ttl_s=600)

        with ThreadPoolExecutor(50) as pool:
            taken = list(pool.map(take, range(50)))
        assert [len(names) for names in taken] == [5] * 50
        holders = {image: {f"p{who}" for who in range(50) if image in taken[who]} for image in images}
        assert max(map(len, holders.values())) == 2
        assert one.leases() == {image: frozenset(names) for image, names in holders.items() if names}
        assert sum(map(len, holders.values())) == 250  # 125 images, twice each: nothing was passed over
        assert set(images[:125]) == set(one.leases())


def test_a_lease_is_renewed_released_and_runs_out(place):
    with open_ledger(place, "run") as ledger:

        def lease(who, n, at_s):
            now = NOW + timedelta(seconds=at_s)
            return ledger.lease(["a", ODD, "c", "a"], who, n=n, per_image=1, ttl_s=60, now=now)

        assert lease("Ann", 2, 0) == ["a", ODD]
        assert lease("Bob", 5, 1) == ["c"]
        assert lease("Ann", 5, 50) == ["a", ODD]
        assert lease("Bob", 5, 70) == ["c"]  # Ann's were renewed, and Bob's own had run out
        ledger.release(["a", "c", "unknown"], "Ann")
        assert lease("Bob", 5, 71) == ["a", "c"]
        assert lease("Cem", 5, 111) == [ODD]
        assert lease("Cem", 0, 111) == []
        assert ledger.leases() == {}  # all of them ran out long ago, by the clock


def test_a_lease_of_a_long_list_is_released_as_a_whole(place):
    images = [f"{number}.jpg" for number in range(1_200)]
    with open_ledger(place, "run") as ledger:
        assert ledger.lease(images, "Ann", n=1_200, per_image=1, ttl_s=60) == images
        ledger.release(images[1:], "Ann")
        assert ledger.leases() == {"0.jpg": frozenset({"Ann"})}


def test_the_newest_sample_comes_back_in_its_order(place):
    images = [SampledImage(f"{number}{ODD}", ODD, 1 + number % 3, 10**10, number % 2 == 0) for number in range(50)]
    with open_ledger(place, "run") as ledger:
        assert ledger.samples.load() == ()
        assert ledger.samples.newest() is None
        ledger.samples.save(images[:3], "old", NOW)
        ledger.samples.save(images[::-1], "new", NOW)
        assert ledger.samples.load() == tuple(images[::-1])
        newest = ledger.samples.newest()
        assert (newest.scores_name, newest.made) == ("new", NOW)
        ledger.samples.save([], "empty", NOW)
        assert ledger.samples.load() == ()


def test_a_process_that_is_killed_loses_nothing_that_was_accepted(place):
    code = """if True:
        import os, sys
        from datetime import UTC, datetime
        from clipsieve.review.ledger import open_ledger
        from clipsieve.review.records import Choice, VerdictRow
        ledger = open_ledger(sys.argv[1], "run")
        for number in range(3):
            ledger.append([VerdictRow(f"v{number}", "a.jpg", None, "Ann", Choice.KEEP, datetime.now(UTC))])
        print("written", flush=True)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True)
    assert done.stdout == "written\n", done.stderr
    with open_ledger(place, "run") as ledger:
        assert [found.verdict_id for _, found in ledger.rows()] == ["v0", "v1", "v2"]
        assert ledger.append([row()])


@pytest.mark.slow
def test_a_server_that_broke_the_connections_is_reached_again():
    from postgres import postgres_url, shared_server

    url = postgres_url()
    with open_ledger(url, "run") as ledger:
        ledger.append([row()])
        name = sa.make_url(url).database
        shared_server().execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
        )
        ledger.append([row()])
        assert len(ledger.rows()) == 2


def test_a_key_must_name_a_run(tmp_path):
    for key in ("", "x" * 201):
        with pytest.raises(UsageError, match="1 to 200"):
            open_ledger(tmp_path / "verdicts.db", key)
    assert not (tmp_path / "verdicts.db").exists()
