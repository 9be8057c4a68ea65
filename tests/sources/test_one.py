"""One input of a shard, read by itself, is what reading the whole shard gives in its place."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.sources import open_source
from clipsieve.sources.remote_folder import RemoteFolderSource
from clipsieve.sources.storage import Storage
from image_files import png, tar

N_IMAGES = 7


def folder(root):
    (root / "c").mkdir(parents=True)
    for index in range(N_IMAGES):
        (root / "c" / f"{index}.png").write_bytes(png(index))
    return open_source(root)


def remote_folder(root):
    folder(root)
    return RemoteFolderSource(Storage(f"file://{root}"))


def tars(root):
    root.mkdir()
    (root / "0.tar").write_bytes(tar([(f"{index}.png", png(index)) for index in range(4)]))
    (root / "1.tar").write_bytes(tar([(f"{index}.png", png(index)) for index in range(4, 7)])[:-1300])  # cut
    return open_source(root)


def table_of_paths(root):
    folder(root / "images")
    lines = ["path,caption", *(f"images/c/{index}.png,words {index}" for index in range(N_IMAGES))]
    (root / "table.csv").write_text("\n".join(lines))
    return open_source(root / "table.csv")


def table_of_bytes(root):
    root.mkdir()
    pq.write_table(pa.table({"jpg": [png(i) for i in range(N_IMAGES)]}), root / "t.parquet", row_group_size=3)
    return open_source(root)


@pytest.fixture(params=[folder, remote_folder, tars, table_of_paths, table_of_bytes], ids=lambda make: make.__name__)
def source(request, tmp_path):
    return request.param(tmp_path / "source")


def test_one_is_what_the_whole_gives_in_its_place(source):
    for shard in source.plan(3).shards:
        whole = list(source.read(shard))
        for position in reversed(range(shard.n_images)):
            one = source.one(shard, position)
            assert one.n_images == 1
            assert list(source.read(one)) == [whole[position]]


@pytest.mark.parametrize("position", [-1, 3])
def test_there_is_none_beyond_the_shard(source, position):
    with pytest.raises(IndexError, match="of a shard of 3"):
        source.one(source.plan(3).shards[0], position)
