"""A run's rows in memory: every lookup says what the files say, and what is out of date is refused or noticed."""

import random
import shutil
import threading

import numpy as np
import pyarrow as pa
import pytest

from clipsieve.engines import adopt_embeddings
from clipsieve.errors import ClipsieveError, RunConflictError, RunCorruptError, RunNotFoundError, UsageError
from clipsieve.review.catalog import Catalog, Described
from clipsieve.store import Run, score_table
from clipsieve.types import EncoderIdentity
from scored_runs import write_scored_run, write_scores

PROBABILITY = [0.5, 0.2, None, 0.9, "blocked", 0.1, 0.49999, 0.7]
LABELS = ["cat", None, "dog", "cat", "ant", "dog", "<b>", None]
CAPTIONS = [f"caption {i}\u202e" if i % 2 else None for i in range(8)]
CONTENTS = ["a", "b", None, "a", "d", "b", "g", "a"]


@pytest.fixture
def run(tmp_path) -> Run:
    return write_scored_run(
        tmp_path / "run",
        PROBABILITY,
        threshold=0.5,
        part_size=3,
        labels=LABELS,
        captions=CAPTIONS,
        contents=CONTENTS,
    )


def test_arrays_are_those_of_the_files(run):
    catalog = Catalog.open(run)
    assert (catalog.n, catalog.scores_name, catalog.threshold) == (8, "test", 0.5)
    expected = [value if isinstance(value, float) else np.nan for value in PROBABILITY]
    np.testing.assert_array_equal(catalog.probability, np.array(expected, dtype=np.float32))
    assert np.flatnonzero(~catalog.is_seen).tolist() == [2, 4]
    assert np.flatnonzero(catalog.is_blocked).tolist() == [4]
    assert np.flatnonzero(catalog.is_flagged).tolist() == [0, 3, 7]
    assert catalog.labels == ("<b>", "ant", "cat", "dog")
    assert [None if code < 0 else catalog.labels[code] for code in catalog.label_codes] == LABELS


def test_rows_are_found_by_their_ids_and_what_is_none_is_not(run):
    catalog = Catalog.open(run, "test")
    ids = [catalog.image_id(row) for row in range(catalog.n)]
    assert ids == [f"{number:04d}.png" for number in range(8)]
    strange = ["", "0000.pn", "0000.png\0", "../0000.png", "\udcff", "' OR 1=1 --"]
    mixed = ids + strange
    random.Random(0).shuffle(mixed)
    assert catalog.rows_of(mixed).tolist() == [ids.index(name) if name in ids else -1 for name in mixed]
    assert catalog.rows_of([]).shape == (0,)
    assert [catalog.row_of(name) for name in ids] == list(range(8))
    assert all(catalog.row_of(name) is None for name in strange)


def test_many_threads_may_ask_at_once(run):
    catalog, found = Catalog.open(run), []

    def ask() -> None:
        found.append([catalog.row_of(f"{row:04d}.png") for row in range(8)])
        found.append([described.row for described in catalog.describe(range(8))])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(8))] * 16


def test_hashes_and_copies(run):
    catalog = Catalog.open(run)
    column = pa.concat_tables(run.iter_images(["sha256"])).column("sha256").to_pylist()
    assert [catalog.sha256(row) for row in range(8)] == column
    assert catalog.copies(3).tolist() == [0, 3, 7]
    assert catalog.copies(5).tolist() == [1, 5]
    assert catalog.copies(2).tolist() == [2]  # whose hash nobody knows
    codes = catalog.contents(np.array([7, 2, 0, 5, 1, 6]))
    assert codes[0] == codes[2]
    assert codes[3] == codes[4]
    assert len(set(codes.tolist())) == 4
    assert codes[1] == -1


@pytest.mark.parametrize("wrong", ["ab" * 31, "xy" * 32, "é" * 32, ""])
def test_what_is_no_hash_is_none(run, wrong):
    table = run.read_images(0)
    column = table.schema.get_field_index("sha256")
    good = "AB" * 32
    run.write_part(run.image_part(0), table.set_column(column, "sha256", pa.array([wrong, good, good])))
    catalog = Catalog.open(run)
    assert [catalog.sha256(row) for row in range(3)] == [None, good.lower(), good.lower()]
    assert catalog.copies(0).tolist() == [0]


def test_places_and_descriptions_in_any_order(run):
    catalog = Catalog.open(run)
    assert [catalog.place(row) for row in range(8)] == [(row // 3, row % 3) for row in range(8)]
    found = catalog.describe([7, 0, 4, 7, 1])
    assert [described.row for described in found] == [7, 0, 4, 7, 1]
    assert found[1] == Described(0, "file:///photos/0000.png", "cat", None, 8, 8)
    assert found[4].caption == "caption 1\u202e"
    assert catalog.describe([]) == []


def test_an_empty_run_opens(tmp_path):
    catalog = Catalog.open(write_scored_run(tmp_path / "run", [], threshold=0.5))
    assert (catalog.n, catalog.labels, catalog.row_of("a")) == (0, (), None)
    assert catalog.is_flagged.shape == (0,)


def test_what_cannot_be_opened_is_refused_as_a_run_does(run, tmp_path):
    with pytest.raises(RunNotFoundError, match="no scores named `other`"):
        Catalog.open(run, "other")
    shutil.copytree(run.path, tmp_path / "bare")
    Run.open(tmp_path / "bare").drop_scores()
    with pytest.raises(UsageError, match="has no scores"):
        Catalog.open(Run.open(tmp_path / "bare"))


@pytest.mark.parametrize("what", ["image", "score"])
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_part_that_is_not_whole_is_named(run, what, how):
    path = run.image_part(1) if what == "image" else run.score_part("test", 1)
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(b"PAR1 and then nonsense")
    with pytest.raises(RunCorruptError, match=f"part-00001.parquet` is {how}") as ours:
        Catalog.open(run)
    with pytest.raises(RunCorruptError) as theirs:
        list(run.iter_scores("test", ["image_id"]))
    assert str(ours.value) == str(theirs.value)


def test_scores_of_another_scan_are_refused_as_a_run_does(run):
    table = run.read_images(1)
    facts = dict(table.schema.metadata) | {b"clipsieve.inputs": b"others"}
    run.write_part(run.image_part(1), table.replace_schema_metadata(facts))
    with pytest.raises(RunCorruptError, match="older than the scan"):
        Catalog.open(run)


def test_parts_of_another_encoder_are_refused_as_a_run_does(run):
    table = run.read_images(1)
    facts = dict(table.schema.metadata) | {b"clipsieve.encoder": b"others"}
    run.write_part(run.image_part(1), table.replace_schema_metadata(facts))
    with pytest.raises(ClipsieveError, match="made by another encoder"):
        Catalog.open(run)


def test_what_is_written_anew_is_noticed(run):
    catalog = Catalog.open(run)
    assert catalog.is_current()
    (run.path / "history.jsonl").write_text("{}\n")
    assert catalog.is_current()
    write_scores(run, 1, run.read_images(1), [0.9, 0.9, 0.9])
    assert not catalog.is_current()
    catalog = Catalog.open(run)
    assert catalog.is_current()
    run.write_part(run.image_part(2), run.read_images(2))
    assert not catalog.is_current()
    catalog = Catalog.open(run)
    run.image_part(0).unlink()
    assert not catalog.is_current()


def test_a_description_of_a_part_with_other_rows_is_refused(run):
    catalog = Catalog.open(run)
    run.write_part(run.image_part(0), run.read_images(0).slice(0, 2))
    with pytest.raises(RunConflictError, match="scanned anew while it was open"):
        catalog.describe([0])


def test_other_scores_share_the_images(run):
    catalog = Catalog.open(run)
    for index in range(run.manifest.n_parts):
        images = run.read_images(index)
        n, ids = images.num_rows, images.column("image_id").combine_chunks()
        facts = images.schema.metadata[b"clipsieve.inputs"].decode()
        values = np.full(n, 0.25, np.float32)
        table = score_table(ids, np.ones(n, bool), values, np.stack([values, values], 1), inputs=facts)
        run.write_part(run.score_part("second", index), table)
    run.write_score_facts("second", {"threshold": 0.25})
    found = catalog.rescored("second")
    assert (found.scores_name, found.threshold, catalog.scores_name) == ("second", 0.25, "test")
    assert found.is_blocked is catalog.is_blocked
    assert found.label_codes is catalog.label_codes
    # What has no embedding has no score, whatever the file says.
    assert np.flatnonzero(~found.is_flagged).tolist() == [2, 4]
    assert found.is_current()
    with pytest.raises(RunNotFoundError):
        catalog.rescored("third")


def test_a_run_of_embeddings_that_lie_elsewhere(tmp_path):
    rows = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    rows[3] = 0
    np.save(tmp_path / "emb_0.npy", rows)
    adopt_embeddings(tmp_path / "emb_0.npy", tmp_path / "run", model="some/model", part_size=3)
    run = Run.open(tmp_path / "run")
    for index, images in enumerate(run.iter_images()):
        present = images.column("embedding").is_valid().to_numpy()
        values = np.full(int(present.sum()), 0.75, np.float32)
        facts = images.schema.metadata[b"clipsieve.inputs"].decode()
        ids = images.column("image_id").combine_chunks()
        table = score_table(ids, present, values, np.stack([values, values], 1), inputs=facts)
        run.write_part(run.score_part("test", index), table)
    run.write_score_facts("test", {"threshold": 0.5})
    catalog = Catalog.open(run)
    assert np.flatnonzero(~catalog.is_seen).tolist() == [3]
    assert [catalog.sha256(row) for row in range(7)] == [None] * 7
    assert catalog.row_of("emb_0:5") == 5
    assert catalog.describe([5])[0].uri.endswith("emb_0.npy#5")
    assert catalog.is_current()
    np.save(tmp_path / "emb_0.npy", rows[::-1])
    assert not catalog.is_current()
    assert run.manifest.encoder != EncoderIdentity("some/model", None, None, "fp32", 4)
