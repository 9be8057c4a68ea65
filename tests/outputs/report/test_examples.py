import io
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.engines import ScanOptions, scan
from clipsieve.errors import UsageError
from clipsieve.images import BlockList
from clipsieve.outputs.report.examples import choose_examples
from clipsieve.outputs.report.flagged import FlaggedImage
from clipsieve.outputs.report.records import Example
from clipsieve.outputs.report.thumbnails import add_thumbnails
from clipsieve.sources import open_source
from clipsieve.store import Run
from image_files import tar
from tiny_encoder import TinyEncoder

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def row(index: int, image_id: str, probability: float, concept: str | None) -> FlaggedImage:
    return FlaggedImage(
        index,
        image_id,
        "file:///x",
        "label",
        None,
        probability,
        "bad",
        1,
        concept,
        None if concept is None else 0.2,
        None,
    )


def rows(n: int, seed: int = 0) -> list[FlaggedImage]:
    rng = np.random.default_rng(seed)
    concepts = ("a", "b", "c", None)
    values = rng.integers(0, 20, n) / 20  # many ties
    return [row(i, f"{i}.png", float(values[i]), concepts[rng.choice(4, p=[0.5, 0.3, 0.15, 0.05])]) for i in range(n)]


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_they_are_the_most_probable_of_each_concept_in_whatever_order_rows_come(order):
    given = rows(2000)
    shown = {"forwards": given, "backwards": given[::-1]}.get(order) or list(
        np.random.default_rng(1).permutation(np.array(given, object))
    )
    found = choose_examples(iter(shown), per_concept=6, most=100)
    expected = []
    for concept in ("a", "b", "c", None):
        of_it = sorted((row for row in given if row.concept == concept), key=lambda row: (-row.probability, row.index))
        expected += [row.image_id for row in of_it[:6]]
    assert [example.image_id for example in found] == expected
    assert all(example.thumbnail is None for example in found)


def test_where_there_is_no_room_for_all_each_concept_keeps_its_first_ones():
    found = choose_examples(rows(2000), per_concept=6, most=10)
    assert [sum(each.concept == c for each in found) for c in ("a", "b", "c", None)] == [3, 3, 2, 2]
    many = [row(i, str(i), 0.5, f"concept {i:04d}") for i in range(500)]
    assert len(choose_examples(many)) == 60
    assert choose_examples(many, most=0) == () == choose_examples([])


@pytest.mark.parametrize(("per_concept", "most"), [(0, 1), (1, -1)])
def test_numbers_that_make_no_sense_are_refused(per_concept, most):
    with pytest.raises(UsageError, match="number of examples"):
        choose_examples([], per_concept=per_concept, most=most)


def drawn(number: int, size=(60, 30)) -> bytes:
    """Return a file of one colour, another for each number."""
    file = io.BytesIO()
    Image.new("RGB", size, (20 * number, 250 - 20 * number, 128)).save(file, "PNG")
    return file.getvalue()


def color_of(example: Example) -> tuple[int, ...]:
    image = Image.open(io.BytesIO(example.thumbnail)).convert("RGB")
    assert image.size == (example.width, example.height)
    return tuple(np.asarray(image).reshape(-1, 3).mean(axis=0).round().astype(int).tolist())


def is_number(example: Example, number: int) -> bool:
    return bool(np.abs(np.subtract(color_of(example), (20 * number, 250 - 20 * number, 128))).max() <= 6)


def write_folder(root):
    (root / "c").mkdir(parents=True)
    for i in range(7):
        (root / "c" / f"{i}.png").write_bytes(drawn(i))
    return root


def write_tars(root):
    root.mkdir()
    for name, numbers in (("a", range(4)), ("b", range(4, 7))):
        (root / f"{name}.tar").write_bytes(tar([(f"{i}.png", drawn(i)) for i in numbers]))
    return root


def write_parquet(root):
    root.mkdir()
    pq.write_table(pa.table({"jpg": [drawn(i) for i in range(7)]}), root / "t.parquet", row_group_size=3)
    return root


def scanned(source_path, run_path, **options) -> Run:
    scan(open_source(source_path), run_path, TinyEncoder(), options=ScanOptions(part_size=3, **options))
    return Run.open(run_path)


def examples(run: Run) -> tuple[Example, ...]:
    """Return an example for each image of a run, the last one first."""
    ids = [name for table in run.iter_images(["image_id"]) for name in table.column("image_id").to_pylist()]
    return choose_examples((row(i, name, i / 10, "c") for i, name in enumerate(ids)), per_concept=99)


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory):
    place = tmp_path_factory.mktemp("thumbnails")
    return scanned(write_folder(place / "photos"), place / "run")


def test_each_example_gets_its_own_picture(folder_run):
    found, problem = add_thumbnails(folder_run, examples(folder_run))
    assert problem is None
    assert [is_number(example, 6 - i) for i, example in enumerate(found)] == [True] * 7
    for example in found:
        assert (example.width, example.height) == (96, 48)
        assert len(example.thumbnail) <= 4096
        assert Image.open(io.BytesIO(example.thumbnail)).format == "WEBP"


def test_only_what_was_asked_for_is_read(folder_run):
    one = examples(folder_run)[3:4]
    found, problem = add_thumbnails(folder_run, one, n_workers=1)
    assert problem is None
    assert is_number(found[0], 3)
    assert add_thumbnails(folder_run, []) == ((), None)


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_tars, write_parquet])
def test_it_is_so_for_tars_and_tables_too(write, tmp_path):
    run = scanned(write(tmp_path / "source"), tmp_path / "run")
    found, problem = add_thumbnails(run, examples(run))
    assert problem is None
    assert [is_number(example, 6 - i) for i, example in enumerate(found)] == [True] * 7


@pytest.mark.slow
def test_what_failed_or_is_blocked_is_not_opened(tmp_path):
    import hashlib

    photos = write_folder(tmp_path / "photos")
    (photos / "c" / "1.png").write_bytes(drawn(1)[:60])
    blocked = BlockList(sha256=frozenset({hashlib.sha256(drawn(2)).digest()}))
    run = scanned(photos, tmp_path / "run", block_list=blocked)
    found, problem = add_thumbnails(run, examples(run))
    without = {example.image_id for example in found if example.thumbnail is None}
    assert without == {"c/1.png", "c/2.png"}
    assert problem.startswith("2 of 7 examples have no thumbnail")


@pytest.mark.slow
def test_a_file_that_has_changed_since_is_not_shown_whatever_its_time_says(tmp_path):
    photos = write_folder(tmp_path / "photos")
    run = scanned(photos, tmp_path / "run")
    path = photos / "c" / "4.png"
    before, content = path.stat(), drawn(4)
    other = content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]
    path.write_bytes(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found, problem = add_thumbnails(run, examples(run))
    assert [example.image_id for example in found if example.thumbnail is None] == ["c/4.png"]
    assert "1 of 7" in problem
    path.write_bytes(drawn(4, size=(61, 30)))  # now its part tells, too: the two others in it are what they were
    found, problem = add_thumbnails(run, examples(run))
    assert [each.image_id for each in found if each.thumbnail is None] == ["c/4.png"]
    assert problem == "1 of 7 examples has no thumbnail: their files have changed since the scan, or cannot be read"


def test_files_that_came_before_the_others_do_not_matter(tmp_path):
    photos = write_folder(tmp_path / "photos")
    run = scanned(photos, tmp_path / "run")
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(drawn(9))
    (photos / "c" / "2.png").unlink()
    found, problem = add_thumbnails(run, examples(run))
    assert [each.image_id for each in found if each.thumbnail is None] == ["c/2.png"]
    assert is_number(found[0], 6)
    assert problem.startswith("1 of 7 examples has")


def test_without_the_source_there_are_no_thumbnails_and_a_reason(folder_run, tmp_path):
    moved = replace(folder_run.manifest, source_location=str(tmp_path / "gone"))
    given = examples(folder_run)
    found, problem = add_thumbnails(Run(folder_run.path, moved), given)
    assert found == given
    assert "source cannot be opened any more" in problem
    assert problem.startswith("no example has a thumbnail: ")
    assert ("gone" in problem, str(tmp_path) in problem) == (True, False)
    adopted = Run(folder_run.path, replace(folder_run.manifest, source_kind="embeddings"))
    found, problem = add_thumbnails(adopted, given)
    assert (found, "no images to show" in problem) == (given, True)


def test_a_source_that_was_moved_is_known_by_names_and_hashes(folder_run, tmp_path):
    copy = write_folder(tmp_path / "copy")
    (copy / "c" / "5.png").write_bytes(drawn(3))
    found, problem = add_thumbnails(folder_run, examples(folder_run), location=str(copy))
    assert [example.image_id for example in found if example.thumbnail is None] == ["c/5.png"]
    assert is_number(found[0], 6)
    assert "1 of 7" in problem


def test_out_of_time_is_said(folder_run):
    found, problem = add_thumbnails(folder_run, examples(folder_run), max_seconds=-1)
    assert all(example.thumbnail is None for example in found)
    assert problem == "7 of 7 examples have no thumbnail: the time for them ran out"
