"""What every source promises, whatever it reads."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clipsieve.errors import SourceError
from clipsieve.sources import FolderSource, Source
from clipsieve.types import Failure

N_IMAGES = 7


def folder(root: Path) -> Source:
    for index in range(N_IMAGES):
        path = root / f"class {index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (4, 4), (index, 0, 0)).save(path)
    return FolderSource(root)


MAKERS = [pytest.param(folder, id="folder")]


@pytest.fixture(params=MAKERS)
def make(request) -> Callable[[Path], Source]:
    return request.param


@pytest.fixture
def source(make, tmp_path) -> Source:
    return make(tmp_path / "source")


@pytest.mark.parametrize("part_size", [1, 2, 3, 7, 100])
def test_each_input_is_in_exactly_one_shard(source, part_size):
    plan = source.plan(part_size)
    members = [member for shard in plan.shards for member in shard.members]
    assert len(members) == len(set(members)) == plan.n_images == N_IMAGES
    assert [shard.index for shard in plan.shards] == list(range(-(-N_IMAGES // part_size)))
    assert all(len(shard.members) == part_size for shard in plan.shards[:-1])


def test_the_plan_is_a_function_of_the_listing(source):
    assert source.plan(3) == source.plan(3)


def test_a_shard_is_read_in_order_with_one_reference_for_each_member(source):
    for shard in source.plan(3).shards:
        first, second = list(source.read(shard)), list(source.read(shard))
        assert len(first) == len(shard.members)
        assert first == second
        assert not any(isinstance(ref.content, Failure) for ref in first)


def test_ids_are_unique(source):
    ids = [ref.image_id for shard in source.plan(3).shards for ref in source.read(shard)]
    assert len(set(ids)) == N_IMAGES


def test_a_copy_in_another_process_reads_the_same(source):
    shard = source.plan(100).shards[0]
    assert list(pickle.loads(pickle.dumps(source)).read(shard)) == list(source.read(shard))  # noqa: S301


def test_nothing_in_the_source_is_changed(make, tmp_path):
    source = make(tmp_path / "source")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "source").rglob("*")}
    for shard in source.plan(2).shards:
        list(source.read(shard))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "source").rglob("*")} == before


def test_a_source_without_images_is_an_error_that_names_it(make, tmp_path):
    source = make(tmp_path / "source")
    for path in (tmp_path / "source").rglob("*.png"):
        path.unlink()
    with pytest.raises(SourceError, match="source"):
        source.plan(3)
