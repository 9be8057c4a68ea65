"""What every source promises, whatever it reads."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsieve.errors import SourceError
from clipsieve.sources import Source, open_source, recognise
from clipsieve.types import Failure
from image_files import png
from source_kinds import KINDS, N_IMAGES


@pytest.fixture(params=KINDS, ids=lambda write: write.__name__)
def write(request) -> Callable[[Path], Path]:
    return request.param


@pytest.fixture
def source(write, tmp_path) -> Source:
    return open_source(write(tmp_path / "source"))


def read(source: Source, part_size: int) -> list:
    return [ref for shard in source.plan(part_size).shards for ref in source.read(shard)]


def test_the_kind_is_recognised_by_what_lies_there(write, tmp_path):
    location = write(tmp_path / "source")
    assert recognise(str(location)) == KINDS[write] == open_source(location).kind


@pytest.mark.parametrize("part_size", [1, 2, 3, 7, 100])
def test_each_input_is_in_exactly_one_shard(source, part_size):
    plan = source.plan(part_size)
    assert plan.n_images == N_IMAGES == sum(shard.n_images for shard in plan.shards)
    assert [shard.index for shard in plan.shards] == list(range(len(plan.shards)))
    assert all(1 <= shard.n_images <= part_size for shard in plan.shards)
    assert len({shard.fingerprint for shard in plan.shards}) == len(plan.shards)
    contents = [ref.content for shard in plan.shards for ref in source.read(shard)]
    assert sorted(contents) == sorted(png(index) for index in range(N_IMAGES))


def test_the_plan_is_a_function_of_the_listing(source, write, tmp_path):
    assert source.plan(3) == source.plan(3)
    assert open_source(source.location).plan(3) == source.plan(3)


def test_a_shard_is_read_in_order_with_one_reference_for_each_input(source):
    for shard in source.plan(3).shards:
        first, second = list(source.read(shard)), list(source.read(shard))
        assert len(first) == shard.n_images
        assert first == second
        assert not any(isinstance(ref.content, Failure) for ref in first)


def test_shards_can_be_read_in_any_order(source):
    shards = source.plan(2).shards
    forwards = {shard.index: list(source.read(shard)) for shard in shards}
    backwards = {shard.index: list(source.read(shard)) for shard in reversed(shards)}
    assert forwards == backwards


def test_a_shard_may_be_left_half_read(source):
    first, second = source.plan(2).shards[:2]
    wanted = list(source.read(second))
    reading = source.read(first)
    next(reading)
    reading.close()
    assert list(source.read(second)) == wanted


def test_rows_do_not_depend_on_the_size_of_parts(source):
    assert read(source, 1) == read(source, 3) == read(source, 100)


def test_ids_are_unique(source):
    assert len({ref.image_id for ref in read(source, 3)}) == N_IMAGES


def test_a_copy_in_another_process_reads_the_same(source):
    shards = source.plan(3).shards
    list(source.read(shards[0]))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert list(copy.read(shards[1])) == list(source.read(shards[1]))


def test_nothing_in_the_source_is_changed(write, tmp_path):
    source = open_source(write(tmp_path / "source"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "source").rglob("*")}
    read(source, 2)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "source").rglob("*")} == before


def test_an_image_over_the_budget_is_not_read(write, tmp_path):
    source = open_source(write(tmp_path / "source"), max_bytes=10)
    assert {ref.content.code.value for ref in read(source, 3)} == {"too_many_bytes"}


def test_a_source_whose_files_are_gone_is_an_error_that_names_it(write, tmp_path):
    location = write(tmp_path / "source")
    for path in (tmp_path / "source").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(SourceError, match="source"):
        open_source(location).plan(3)
