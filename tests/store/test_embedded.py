"""Embeddings taken from the pages as they lie, and in blocks: the same numbers as the general reader gives."""

import io
import subprocess
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.store import read_embedded_part, to_float32, unit_blocks
from clipsieve.store.embedded import _read_plain
from clipsieve.store.pages import _nulls, read_plain_embeddings
from clipsieve.store.writer import write_table
from scored_runs import write_scored_run


def column(n, width, missing):
    values = np.random.default_rng(n).standard_normal((n, width)).astype(np.float16)
    mask = pa.array(np.isin(np.arange(n), missing))
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.reshape(-1)), type=pa.list_(pa.float16(), width), mask=mask
    )


def read(path):
    with pq.ParquetFile(path) as file:
        return read_plain_embeddings(memoryview(path.read_bytes()), file.schema_arrow)


CASES = {
    "all there": (1600, 700, []),  # several pages, which end within rows
    "some gone": (1600, 700, [0, 1, 2, 77, 1500, 1599]),
    "every second gone": (400, 512, list(range(0, 400, 2))),
    "a third gone": (3000, 300, np.flatnonzero(np.random.default_rng(0).random(3000) < 0.3).tolist()),
    "all gone": (50, 8, list(range(50))),
    "one row": (1, 5, []),
    "none": (0, 5, []),
}


@pytest.mark.parametrize(("n", "width", "missing"), CASES.values(), ids=CASES)
def test_pages_hold_what_the_general_reader_gives(tmp_path, n, width, missing):
    stored = column(n, width, missing)
    write_table(tmp_path / "part", pa.table({"image_id": [str(i) for i in range(n)], "embedding": stored}))
    values, present = read(tmp_path / "part")
    expected = stored.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    assert values[:].tobytes() == expected.tobytes()
    for some in (slice(0, 1), slice(n // 3, n // 2), slice(len(expected) - 1, None), slice(3, 2)):
        assert values[some].tobytes() == expected[some].tobytes()
    assert np.flatnonzero(~present).tolist() == missing


def test_rows_are_taken_by_slices_or_all_of_them(tmp_path):
    write_table(tmp_path / "part", pa.table({"embedding": column(9, 4, [2])}))
    values, _ = read(tmp_path / "part")
    assert values.shape == (8, 4)
    assert np.asarray(values).tobytes() == values[:].tobytes()
    assert np.asarray(values, dtype=np.float32).dtype == np.float32
    assert (values[-3:] == values[5:8]).all()
    with pytest.raises(ValueError, match="step"):
        values[::2]
    with pytest.raises(TypeError):
        values[0]


def test_a_part_that_is_replaced_meanwhile_is_read_to_its_end(tmp_path):
    run = write_scored_run(tmp_path / "run", [0.1, None, 0.9], threshold=0.5)
    found, path = read_embedded_part(run, 0, []), run.image_part(0)
    before = found.values[:]
    write_table(path, pa.table({"embedding": column(3, 4, [])}))
    assert (found.values[:] == before).all()
    path.unlink()
    assert (found.values[:] == before).all()


def test_several_row_groups_are_one_part(tmp_path):
    stored = column(1000, 64, [3, 500, 999])
    pq.write_table(
        pa.table({"embedding": stored}), tmp_path / "part", compression="none", use_dictionary=False, row_group_size=300
    )
    values, present = read(tmp_path / "part")
    assert np.flatnonzero(~present).tolist() == [3, 500, 999]
    assert values.shape == (997, 64)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd", "use_dictionary": False},
        {"compression": "none", "use_dictionary": True},
        {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"},
    ],
)
def test_other_layouts_are_left_to_the_general_reader(tmp_path, options):
    pq.write_table(pa.table({"embedding": column(100, 16, [5])}), tmp_path / "part", **options)
    assert read(tmp_path / "part") is None


def test_damaged_pages_never_do_more_than_be_refused_or_misread(tmp_path):
    out = io.BytesIO()
    pq.write_table(pa.table({"embedding": column(60, 16, [5])}), out, compression="none", use_dictionary=False)
    whole, rng = out.getvalue(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[int(rng.integers(4, 80))] = int(rng.integers(256))  # the head of the page and its levels
        (tmp_path / "part").write_bytes(damaged)
        found = read(tmp_path / "part")
        assert found is None or found[0].shape == (int(found[1].sum()), 16)


def test_a_part_as_a_scan_writes_it_takes_the_short_way(tmp_path):
    """The general reader gives the same, so that only the time would tell that this one was not used."""
    run = write_scored_run(tmp_path / "run", [0.1, None, 0.9], threshold=0.5)
    found = _read_plain(run, 0, ["image_id"])
    assert found is not None
    assert found.rows.column("image_id").to_pylist() == ["0000.png", "0001.png", "0002.png"]
    expected = to_float32(run.read_images(0, ["embedding"]).column("embedding"))
    np.testing.assert_allclose(found.values[:].astype(np.float32), expected, atol=1e-3)
    assert found.present.tolist() == [True, False, True]


def rows_of(levels: bytes, n: int) -> list[int]:
    return _nulls(memoryview(levels), n).tolist()


def test_levels_come_in_runs_and_in_groups():
    assert rows_of(bytes([8 << 1, 3]), 8) == []
    assert rows_of(bytes([5 << 1, 3, 2 << 1, 0, 1 << 1, 3]), 8) == [5, 6]
    assert rows_of(bytes([1 << 1 | 1, 0b11110011, 0b00111111]), 8) == [1, 7]
    assert rows_of(bytes([1 << 1 | 1, 0b11110011, 0b00111111]), 5) == [1]  # the group is filled up
    assert rows_of(b"", 0) == []


@pytest.mark.parametrize(
    "levels",
    [
        b"",
        bytes([9 << 1, 3]),  # one more than there are
        bytes([8 << 1, 3, 1 << 1, 3]),
        bytes([0, 3, 8 << 1, 3]),
        bytes([8 << 1]),
        bytes([1 << 1 | 1]),
        bytes([1 << 1 | 1, 0b11111111]),
        bytes([2 << 1 | 1, 0b11111111, 0b11111111]),
        bytes([8 << 1, 1]),
        bytes([8 << 1, 2]),
        bytes([8 << 1, 255]),
        bytes([1 << 1 | 1, 0b11111101, 0b11111111]),
        bytes([255] * 20),
    ],
    ids=lambda levels: levels.hex(),
)
def test_levels_that_do_not_add_up_are_refused(levels):
    with pytest.raises((ValueError, IndexError)):
        rows_of(levels, 8)


def test_what_a_damaged_footer_says_is_not_taken_room_for(tmp_path):
    """A part that says that it has half a billion of null rows."""
    write_table(tmp_path / "part", pa.table({"embedding": column(3, 8, [1])}))
    raw = bytearray((tmp_path / "part").read_bytes())
    n_footer = int.from_bytes(raw[-8:-4], "little")
    footer = bytes(raw[-8 - n_footer : -8])
    with pq.ParquetFile(tmp_path / "part") as file:
        schema = file.schema_arrow
    n_refused = 0
    for place in (place for place, octet in enumerate(footer) if octet == 3 << 1):  # the number of rows among others
        other = footer[:place] + bytes([0x80, 0x80, 0x80, 0x80, 0x04]) + footer[place + 1 :]
        damaged = bytes(raw[: -8 - n_footer]) + other + len(other).to_bytes(4, "little") + b"PAR1"
        tracemalloc.start()
        n_refused += read_plain_embeddings(memoryview(damaged), schema) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()
    assert n_refused > 0


@pytest.mark.slow
def test_a_bit_that_flips_in_the_footer_ends_no_process(tmp_path):
    """Some of them name a codec that does not exist; in a process of its own, since that may end it."""
    write_table(tmp_path / "part", pa.table({"embedding": column(20, 8, [])}))
    code = """
import sys, pyarrow as pa, pyarrow.parquet as pq
from clipsieve.store.pages import read_plain_embeddings
whole = open(sys.argv[1], "rb").read()
n_footer = 8 + int.from_bytes(whole[-8:-4], "little")
for place in range(len(whole) - n_footer, len(whole) - 8):
    for bit in range(8):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        try:
            with pq.ParquetFile(pa.BufferReader(bytes(damaged))) as file:
                if "embedding" in file.schema_arrow.names:
                    read_plain_embeddings(memoryview(damaged), file.schema_arrow)
        except (OSError, ValueError, pa.ArrowException):
            pass
print("survived")
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "part"], capture_output=True, text=True)
    assert done.stdout == "survived\n", done.stderr


@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 2047, 2048, 5000])
def test_blocks_are_the_rows_of_the_whole(n):
    stored = column(n, 24, [])
    values = stored.flatten().to_numpy(zero_copy_only=False).reshape(-1, 24)
    blocks = list(unit_blocks(values))
    assert [start for start, _ in blocks] == np.cumsum([0, *(len(b) for _, b in blocks)])[:-1].tolist()
    np.testing.assert_array_equal(np.concatenate([b for _, b in blocks]), to_float32(pa.chunked_array([stored])))
