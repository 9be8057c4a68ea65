"""From names in a table to embeddings of a run: nothing is lost, and nothing is matched that might be another image."""

import hashlib
import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.demo import write_demo_data
from clipsieve.engines import LocalEngine, ScanOptions, adopt_embeddings, scan
from clipsieve.engines.rated_images import RatedImages, join_ratings
from clipsieve.engines.rated_names import match_names
from clipsieve.engines.rating_files import Ratings, read_ratings
from clipsieve.errors import RunCorruptError, UsageError
from clipsieve.sources import FolderSource
from clipsieve.store import Run, RunManifest, image_table
from clipsieve.types import EmbeddedImage, FailedImage, Failure, FailureCode, FailureStep, FileFacts, ImageRef
from tiny_encoder import TinyEncoder

IDENTITY = TinyEncoder().identity
D = IDENTITY.embedding_dim
PART = 3
SMID_IDS = ["smid/b1_p1_1.jpg", "smid/b1_p1_2.jpg", "smid/b2_p3_4.JPG", "smid/b10_p225_16.png", "smid/notes.v2.jpg"]


def embedding(image_id: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8])
    row = np.random.default_rng(seed).standard_normal(D).astype(np.float32)
    return row / np.linalg.norm(row)


def make_run(path: Path, ids: list[str], broken: tuple[str, ...] = (), uris: list[str] | None = None) -> Run:
    """Write a run in parts of three rows; the id decides the embedding, and the position the digest."""
    n_parts = -(-len(ids) // PART)
    run = Run.create(path, RunManifest("folder", "/photos", PART, len(ids), n_parts, 0, IDENTITY, "tiny", {}, "0"))
    rows = [
        row(n, image_id, uri, image_id in broken)
        for n, (image_id, uri) in enumerate(zip(ids, uris or [f"file:///photos/{i}" for i in ids], strict=True))
    ]
    facts = {"encoder": IDENTITY.fingerprint, "options": run.manifest.options_fingerprint}
    for index in range(n_parts):
        table = image_table(rows[index * PART : (index + 1) * PART], D, inputs=f"{index}", **facts)
        run.write_part(run.image_part(index), table)
    return run


def row(number: int, image_id: str, uri: str, is_broken: bool) -> EmbeddedImage | FailedImage:
    ref = ImageRef(image_id, uri, None, None, b"")
    if is_broken:
        return FailedImage(ref, None, Failure(FailureStep.DECODE, FailureCode.TRUNCATED, "broken"))
    return EmbeddedImage(ref, FileFacts(f"{number:064x}", 1, 1, 1, "PNG"), embedding(image_id))


def rated(path: Path, names: list[str], values: list[object] | None = None, **options) -> Ratings:
    """Write and read ratings: 1.5, 3, 4.5 and so on, unless given."""
    values = values or [(1.5, 4.5, 3.0)[n % 3] for n in range(len(names))]
    quoted = ('"' + name.replace('"', '""') + '"' for name in names)
    lines = (f"{name},{value},{n % 2}" for n, (name, value) in enumerate(zip(quoted, values, strict=True)))
    path.write_text("\n".join(["file,rating,part", *lines]), encoding="utf-8", newline="")
    return read_ratings(path, **options)


def join(tmp_path: Path, ids: list[str], names: list[str], **options) -> RatedImages:
    return join_ratings(make_run(tmp_path / "run", ids, **options), rated(tmp_path / "r.csv", names))


@pytest.mark.slow  # starts a process that decodes
def test_the_demo_data_meets_its_own_scan(tmp_path):
    demo = write_demo_data(tmp_path / "photos", n_images=9)
    source = FolderSource(tmp_path / "photos")
    scan(source, tmp_path / "run", TinyEncoder(), options=ScanOptions(part_size=4), engine=LocalEngine(workers=1))
    run, ratings = Run.open(tmp_path / "run"), read_ratings(demo.ratings_path, low=3, high=3)
    found = join_ratings(run, ratings)
    assert found.report.matched_by == {"image_id": 0, "file name": 0, "stem": 9}
    assert [Path(image_id).stem for image_id in found.image_ids] == list(ratings.names)
    np.testing.assert_array_equal(found.rating, ratings.rating)
    digests = [hashlib.sha256((tmp_path / "photos" / i).read_bytes()).hexdigest()[:16] for i in found.image_ids]
    assert found.digests == tuple(digests)
    by_path = join_ratings(run, read_ratings(demo.ratings_path, image_column="file", low=3, high=3))
    assert by_path.report.matched_by["image_id"] == 9
    assert by_path.image_ids == found.image_ids
    np.testing.assert_array_equal(by_path.embeddings, found.embeddings)


def test_names_of_smid_in_the_order_of_the_table_with_their_own_embeddings(tmp_path):
    names = ["b10_p225_16", "b1_p1_2", "b2_p3_4", "b1_p1_1"]
    found = join(tmp_path, SMID_IDS, names)
    assert found.image_ids == tuple(SMID_IDS[i] for i in (3, 1, 2, 0))
    assert found.digests == tuple(f"{i:064x}"[:16] for i in (3, 1, 2, 0))
    np.testing.assert_allclose(found.embeddings, [embedding(i) for i in found.image_ids], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-6)
    assert found.rating.tolist() == [1.5, 4.5, 3.0, 1.5]
    assert found.report.n_left_out == 1


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("smid/b1_p1_1.jpg", "image_id"),
        ("./smid/b1_p1_1.jpg", "image_id"),
        ("smid\\b1_p1_1.jpg", "image_id"),
        ("b1_p1_1.jpg", "file name"),
        ("C:\\data\\b1_p1_1.jpg", "file name"),
        ("/elsewhere/b1_p1_1.jpg", "file name"),
        ("b1_p1_1", "stem"),
        ("b1_p1_1.png", "stem"),
        ("data/b2_p3_4.jpeg", "stem"),
        ("notes.v2", "stem"),
        ("b1_p1", None),
        ("B1_P1_1", None),
        ("notes", None),
        ("notes.v3", None),
        ("smid", None),
        ("smid/", None),
        ("./", None),
        ("jpg", None),
        (".jpg", None),
    ],
)
def test_ways_to_name_an_image(tmp_path, name, level):
    report = join(tmp_path, SMID_IDS, [name, "b10_p225_16"]).report
    expected = {"image_id": 0, "file name": 0, "stem": 1}
    assert report.unmatched == (() if level else (name,))
    assert report.matched_by == expected | ({level: expected[level] + 1} if level else {})


@pytest.mark.parametrize(
    ("image_id", "uri", "name"),
    [
        ("0", "https://example.org/a/sea%20view.jpg?size=3", "sea view.jpg"),
        ("0", "https://example.org/a/sea%20view.jpg", "sea%20view"),
        ("0", "/photos/tea.jpg", "tea"),
        ("0", "photos\\tea.jpg", "tea.jpg"),
        ("100%25.jpg", "file:///100%2525.jpg", "100%"),
        ("caf%C3%A9/%FFa.jpg", "file:///x", "%FFa"),
        ("00001.tar/photos/0007.jpg", "file:///00001.tar#photos/0007.jpg", "0007"),
        (unicodedata.normalize("NFD", "café.jpg"), "file:///x", unicodedata.normalize("NFC", "café.jpg")),
        (unicodedata.normalize("NFC", "café.jpg"), "file:///x", unicodedata.normalize("NFD", "café")),
    ],
)
def test_addresses_escapes_and_forms_of_unicode(tmp_path, image_id, uri, name):
    found = join(tmp_path, [image_id, "other.jpg"], [name, "other"], uris=[uri, "file:///other.jpg"])
    assert found.image_ids == (image_id, "other.jpg")


def test_an_id_goes_before_a_file_name_and_that_before_a_stem(tmp_path):
    ids = ["a.jpg", "x/a.jpg", "x/a.jpg.png", "a", "x/b.png", "x/b.png.jpg"]
    found = join(tmp_path, ids, ["a.jpg", "a", "b.png"])
    assert found.image_ids == ("a.jpg", "a", "x/b.png")


def test_every_name_ends_in_exactly_one_heap(tmp_path):
    ids = ["a/1.jpg", "b/1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg"]
    names = ["1", "2", "nowhere", "3.jpg", "3", "4.png", "4.gif", "5", "6"]
    found = join(tmp_path, ids, names, broken=("5.jpg",))
    assert found.image_ids == ("2.jpg", "3.jpg", "6.jpg")
    report = found.report
    assert report.unmatched == ("nowhere",)
    assert report.failed == (("5", "truncated"),)
    assert report.ambiguous == (
        ("1", ("a/1.jpg", "b/1.jpg")),
        ("3", ("3.jpg",)),  # the row is that of `3.jpg`, the stronger match
        ("4.png", ("4.jpg",)),
        ("4.gif", ("4.jpg",)),
    )
    assert report.matched_by == {"image_id": 1, "file name": 0, "stem": 2}
    n_heaps = report.n_matched + len(report.unmatched) + len(report.ambiguous) + len(report.failed)
    assert n_heaps == report.n_rated == len(names)


def test_of_very_many_candidates_a_few_are_named(tmp_path):
    ids = [f"{n}/image.jpg" for n in range(30)]
    report = join(tmp_path, ids, ["image", "3/image.jpg"]).report
    assert report.ambiguous == (("image", tuple(ids[:4])),)


def test_an_id_that_the_run_has_twice_is_ambiguous(tmp_path):
    assert join(tmp_path, ["a", "b", "c", "a"], ["a", "b"]).report.ambiguous == (("a", ("a", "a")),)


FOLDER, BASE = st.sampled_from(["", "x/", "y/"]), st.sampled_from(["a", "b", "c.d", "ä"])
PATH = st.tuples(FOLDER, BASE, st.sampled_from(["", ".jpg", ".PNG"])).map("".join)


@given(st.lists(PATH, max_size=8, unique=True), st.lists(PATH, max_size=8, unique=True))
def test_the_rule_said_otherwise_gives_the_same(ids, names):
    table = pa.table({"image_id": pa.array(ids, pa.string()), "uri": pa.array(ids, pa.string())})
    matches, unmatched, ambiguous = match_names(names, [table])
    ways = [
        lambda path: path,
        lambda path: path.split("/")[-1],
        lambda path: path.split("/")[-1].removesuffix(".jpg").removesuffix(".PNG"),
    ]
    meets = {}
    for name in names:
        rows = [[i for i in ids if way(i) == way(name)] for way in ways]
        meets[name] = next(((level, found) for level, found in enumerate(rows) if found), (3, []))
    alone = {name: (level, found[0]) for name, (level, found) in meets.items() if len(found) == 1}
    expected = {
        name: image_id
        for name, (level, image_id) in alone.items()
        if all(level < other[0] for n, other in alone.items() if n != name and other[1] == image_id)
    }
    assert {names[i]: match.place.image_id for i, match in matches.items()} == expected
    assert unmatched == tuple(name for name in names if not meets[name][1])
    assert [name for name, _ in ambiguous] == [n for n in names if n not in expected and n not in unmatched]


def test_nothing_in_common_shows_names_of_both_sides(tmp_path):
    with pytest.raises(UsageError, match="none of the 3 images") as caught:
        join(tmp_path, SMID_IDS, ["one", "two", "three"])
    assert caught.value.expected == "names such as `smid/b1_p1_1.jpg`, `smid/b1_p1_2.jpg`"
    assert caught.value.found == "`one`, `two` in `file` (3 not found, 0 ambiguous, 0 failed)"


def test_failed_images_alone_are_nothing_to_learn_from(tmp_path):
    with pytest.raises(UsageError, match="none of the 2 images") as caught:
        join(tmp_path, ["a.jpg", "b.jpg"], ["a", "b"], broken=("a.jpg", "b.jpg"))
    assert "2 failed" in caught.value.found


def test_an_unfinished_scan_is_told(tmp_path):
    run = make_run(tmp_path / "run", SMID_IDS)
    run.image_part(1).unlink()
    with pytest.raises(RunCorruptError, match="part-00001"):
        join_ratings(run, rated(tmp_path / "r.csv", ["b1_p1_1", "b1_p1_2"]))


def test_the_labelled_images_and_a_choice_of_them(tmp_path):
    ids = [f"{n}.jpg" for n in range(6)]
    ratings = rated(tmp_path / "r.csv", ids, split_column="part")
    found = join_ratings(make_run(tmp_path / "run", ids), ratings)
    assert found.labels.tolist() == [1, 0, -1, 1, 0, -1]
    labelled = found.labelled()
    assert labelled.image_ids == ("0.jpg", "1.jpg", "3.jpg", "4.jpg")
    assert labelled.splits == ("0", "1", "1", "0")
    assert labelled.report is found.report
    taken = labelled.take(np.array([3, 0]))
    assert taken.image_ids == ("4.jpg", "0.jpg")
    assert (taken.labels.tolist(), taken.rating.tolist(), taken.digests) == (
        [0, 1],
        [4.5, 1.5],
        (found.digests[4], found.digests[0]),
    )
    np.testing.assert_array_equal(taken.embeddings, found.embeddings[[4, 0]])


def test_class_names_travel_and_all_of_them_are_labels(tmp_path):
    ids = [f"{n}.jpg" for n in range(4)]
    ratings = rated(tmp_path / "r.csv", ids, ["hate", "blood", "safe", "hate"], label_column="rating")
    found = join_ratings(make_run(tmp_path / "run", ids, broken=("1.jpg",)), ratings)
    assert found.classes == ("hate", "safe", "hate")
    assert found.labelled().classes == found.classes
    assert found.report.n_left_out == 0


def test_embeddings_of_others_have_no_digest_but_that_of_their_id(tmp_path):
    (tmp_path / "emb" / "img_emb").mkdir(parents=True)
    rows = np.random.default_rng(0).standard_normal((100, 512)).astype(np.float32)
    rows[2] = np.nan
    np.save(tmp_path / "emb" / "img_emb" / "img_emb_0.npy", rows)
    adopt_embeddings(tmp_path / "emb", tmp_path / "run", model="ViT-B-32__openai")
    ids = [f"img_emb_0:{n}" for n in (3, 2, 0)]
    found = join_ratings(Run.open(tmp_path / "run"), rated(tmp_path / "r.csv", ids))
    assert found.report.failed == (("img_emb_0:2", "not_finite"),)
    assert found.digests == tuple("id-" + hashlib.sha256(ids[i].encode()).hexdigest()[:13] for i in (0, 2))
    np.testing.assert_allclose(
        found.embeddings, rows[[3, 0]] / np.linalg.norm(rows[[3, 0]], axis=1)[:, None], rtol=1e-6
    )


def test_memory_does_not_grow_with_the_run():
    def parts(n_parts: int):
        for part in range(n_parts):
            ids = [f"{part}/{n}.jpg" for n in range(200)]
            yield pa.table({"image_id": ids, "uri": ids})

    def peak(n_parts: int) -> int:
        tracemalloc.start()
        match_names(["0", "1/3.jpg", "nowhere"], parts(n_parts))
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    assert peak(12) < 1.5 * peak(3)
