"""The reader of published pickles: it gives back numpy's arrays, and nothing that a pickle says is ever run.

The hostile files are made here by the true `pickle`, or opcode by opcode; where one would do something when unpickled, it
would create a canary file. The test shows first that the canary works, by unpickling one of them.
"""

import datetime
import gzip
import io
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.classifiers.plain_pickle import MAX_BYTES, read_array
from clipsieve.errors import UnsafeFileError

PROTOCOLS = range(6)


def dumps(value: object, protocol: int = 4) -> bytes:
    return pickle.dumps(value, protocol=protocol)


def refused(content: bytes) -> UnsafeFileError:
    with pytest.raises(UnsafeFileError) as caught:
        read_array(content, where="head.p")
    assert "`head.p`" in caught.value.what
    assert caught.value.state == "nothing in the file was run"
    assert len(str(caught.value)) < 1000
    return caught.value


# What numpy writes


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8", "<i4", ">i8", "u1", "i1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays_come_back_bit_for_bit(protocol, code, order):
    values = np.random.default_rng(0).integers(-3, 100, (2, 7)).astype(code) / np.array(1, code)
    values = np.array(values, dtype=code, order=order)
    found = read_array(dumps(values, protocol), where="x")
    assert found.dtype == np.dtype(code).newbyteorder("=")
    assert found.dtype.isnative
    assert found.flags.c_contiguous
    assert found.flags.owndata
    assert found.flags.writeable
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 512), (1, 2, 3, 4)])
def test_every_shape_comes_back(protocol, shape):
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    found = read_array(dumps(values, protocol), where="x")
    assert found.shape == shape
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("shape", [(0,), (0, 5)])
def test_an_empty_array_comes_back_unless_it_was_written_as_a_call(shape):
    values = np.zeros(shape, np.float32)
    assert read_array(dumps(values, 3), where="x").shape == shape
    assert refused(dumps(values, 2)).found.startswith("the name __builtin__.bytes")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_view_with_gaps_comes_back(protocol):
    values = np.arange(40, dtype=np.float32).reshape(4, 10)[::2, ::3]
    np.testing.assert_array_equal(read_array(dumps(values, protocol), where="x"), values)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_special_numbers_keep_their_bits(protocol):
    values = np.array([np.nan, -0.0, np.inf, -np.inf, 5e-324, 1.7e308])
    assert read_array(dumps(values, protocol), where="x").tobytes() == values.tobytes()


def test_the_names_of_old_and_new_numpy_mean_the_same():
    values = np.arange(6, dtype=np.float32)
    for protocol in (0, 2):
        content = dumps(values, protocol)
        for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
            written = content.replace(b"numpy._core.multiarray", module).replace(b"numpy.core.multiarray", module)
            np.testing.assert_array_equal(read_array(written, where="x"), values)


def test_what_python_2_wrote_is_read():
    data = np.arange(3, dtype="<f4").tobytes() + b"\x80\xff\xff\x7f"
    content = b"".join(
        [
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01K\x04\x85",
            b"cnumpy\ndtype\nq\x04U\x02f4K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
            b"U" + bytes([len(data)]) + data + b"tb.",
        ]
    )
    assert read_array(content, where="x").tobytes() == data


# Files that would run something


class Runs:
    """Something whose pickle calls a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


CREATE = "open({0!r}, 'w').close()"


def attacks(canary: Path) -> dict[str, bytes]:
    shell, code = f"touch {canary}", CREATE.format(str(canary))
    array = np.zeros((2, 3), np.float32)
    system, run = Runs(os.system, shell), Runs(exec, code)
    text = {name: value.encode() for name, value in {"shell": shell, "code": code}.items()}
    short_shell = b"X" + struct.pack("<I", len(text["shell"])) + text["shell"]
    short_code = b"X" + struct.pack("<I", len(text["code"])) + text["code"]
    return {
        "posix.system": dumps(system),
        "posix.system, protocol 0": dumps(system, 0),
        "os.system by name": b"cos\nsystem\n(" + short_shell + b"tR.",
        "builtins.exec": dumps(run),
        "builtins.eval": dumps(Runs(eval, f"__import__('os').system({shell!r})")),
        "__builtin__.eval, protocol 0": b"c__builtin__\neval\n(S" + repr(code).encode() + b"\ntR.",
        "subprocess": b"csubprocess\ncheck_call\n((lp0\n" + short_shell + b"atR.",
        "getattr on a module": dumps(Runs(getattr, Runs(__import__, "os"), "system")),
        "a call in a call": dumps(Runs(tuple, [run])),
        "an array, then a call": dumps([array, run]),
        "a call, then an array": dumps([run, array]),
        "a call in an object array": dumps(np.array([run, system], dtype=object)),
        "a call popped before an array": b"\x80\x04cbuiltins\nexec\n" + short_code + b"\x85R0" + dumps(array)[2:],
        "a call as the array's type": b"cnumpy._core.multiarray\n_reconstruct\ncbuiltins\nexec\n"
        + short_code
        + b"\x85R\x85R.",
        "a call as the state": dumps(array)[:-2] + b"cbuiltins\nexec\n" + short_code + b"\x85Rb.",
        "numpy.load of another pickle": b"cnumpy\nload\n(" + short_shell + b"NI01\ntR.",
        "numpy runs a string": b"cnumpy.testing._private.utils\nrunstring\n(" + short_code + b"}tR.",
        "numpy's ndarray as a function": b"cnumpy\nndarray\n(I2\nI2\ntp0\n(g0\ntR.",
        "STACK_GLOBAL from strings": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + short_shell + b"\x85R.",
        "STACK_GLOBAL from memo": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93"
        + short_shell
        + b"\x85R.",
        "STACK_GLOBAL with a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__class__.x\x93.",
        "INST": b"(" + short_shell + b"iposix\nsystem\n.",
        "OBJ": b"(cposix\nsystem\n" + short_shell + b"o.",
        "NEWOBJ": b"\x80\x02cposix\nsystem\n" + short_shell + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04cposix\nsystem\n" + short_shell + b"\x85}\x92.",
        "EXT1": b"\x80\x02\x82\x01.",
        "EXT2": b"\x80\x02\x83\x01\x01.",
        "EXT4": b"\x80\x02\x84\x01\x01\x01\x01.",
        "PERSID": b"Pposix.system\n.",
        "BINPERSID": short_shell + b"Q.",
        "BUILD of a module's dictionary": b"cnumpy\ndtype\n}" + short_shell + b"Nsb.",
        "NEXT_BUFFER": b"\x80\x05\x97\x98.",
        "memo of what is not there": b"h\x07.",
        "memo overwritten by a call": b"cnumpy\ndtype\nq\x00cposix\nsystem\nq\x00h\x00" + short_shell + b"\x85R.",
        "datetime": dumps(datetime.datetime(2020, 1, 1)),  # noqa: DTZ001 - never used as a time
        "a dictionary": dumps({"a": array}),
        "a list of arrays": dumps([array]),
        "a string": dumps("array"),
        "a set": dumps({1}),
        "a numpy scalar": dumps(np.float32(1)),
        "an array of text": dumps(np.array(["a", "b"])),
        "an array of bytes": dumps(np.array([b"a", b"b"])),
        "an array of dates": dumps(np.array(["2020-01-01"], dtype="datetime64[D]")),
        "an array of void": dumps(np.zeros(2, dtype="V4")),
        "an array of truth values": dumps(np.zeros(2, dtype=bool)),
        "an array of complex numbers": dumps(np.zeros(2, dtype=complex)),
        "an array of records": dumps(np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])),
        "an array of subarrays": dumps(np.zeros(2, dtype=[("a", "f4", (2,))])),
        "an element type with metadata": dumps(np.zeros(2, dtype=np.dtype("f4", metadata={"a": system}))),
        "an aligned element type": dumps(np.zeros(2, dtype=np.dtype({"names": ["a"], "formats": ["f4"]}, align=True))),
        "a masked array": dumps(np.ma.masked_array([1.0, 2.0], [True, False])),
        "a subclass of the array": dumps(np.recarray((2,), dtype=[("a", "f4")])),
        "memory on disk": dumps(array.view(np.memmap)),
        "two arrays on the stack": dumps(array)[:-1] + dumps(array)[2:],
        "two pickles in one file": dumps(array) + dumps(system),
        "a pickle and a word": dumps(array) + b"\n",
        "a zip archive": _zip(),
        "a compressed pickle": gzip.compress(dumps(array)),
        "a .npy file": _npy(array),
        "nothing": b"",
        "only a stop": b".",
        "a newline": b"\n",
        "a mark alone": b"(.",
        "an unknown protocol and no more": b"\x80\xff",
        "text": b"This is a text.\n",
        "a PNG's head": b"\x89PNG\r\n\x1a\n" + bytes(64),
    }


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", dumps(np.zeros(2)))
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ATTACKS = sorted(attacks(Path("canary")))


def test_the_canary_would_sing(tmp_path):
    canary = tmp_path / "canary"
    pickle.loads(attacks(canary)["builtins.exec"])  # noqa: S301 - the one that this test made
    assert canary.exists()


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_and_foreign_files_are_refused_and_nothing_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    refused(attacks(canary)[name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_cut_at_any_byte_is_refused(protocol):
    content = dumps(np.arange(8, dtype=np.float32).reshape(2, 4), protocol)
    for n in range(len(content)):
        refused(content[:n])


# Files that would cost too much, or lie about their size


def with_state(shape: bytes, data: bytes, *, dtype: bytes = b"f4") -> bytes:
    """Return a pickle as numpy writes it, but with any shape (opcodes of a tuple) and any bytes."""
    return b"".join(
        [
            b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(K\x01",
            shape,
            b"cnumpy\ndtype\n(\x8c\x02"
            + dtype
            + b"\x89\x88tR(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89B" + struct.pack("<I", len(data)) + data + b"tb.",
        ]
    )


def test_the_handmade_form_is_the_true_one():
    np.testing.assert_array_equal(read_array(with_state(b"(K\x02K\x01t", bytes(8)), where="x"), np.zeros((2, 1)))


@pytest.mark.parametrize(
    "shape",
    [
        b"(K\x02K\x02t",
        b"(J\xff\xff\xff\xffK\x02t",
        b"(J\xff\xff\xff\xffJ\xfe\xff\xff\xfft",
        b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft",
        b"(\x8a\x09" + b"\xff" * 8 + b"\x00K\x00t",
        b"(\x8a\xff" + b"\x7f" * 255 + b"K\x02t",
        b"(I02\nI01\nI1\nI1\nI1\nI1\nI1\nI1\nI1\nt",
        b"(\x88K\x02t",
        b"(X\x01\x00\x00\x002t",
        b"K\x02",
        b"N",
        b"((K\x02ttt"[:5],
    ],
)
def test_a_shape_that_is_no_shape_or_does_not_fit_the_bytes_is_refused(shape):
    refused(with_state(shape, bytes(8)))


@pytest.mark.parametrize("n_bytes", [0, 1, 7, 9, 4096])
def test_bytes_that_do_not_fit_the_shape_are_refused(n_bytes):
    refused(with_state(b"(K\x02K\x01t", bytes(n_bytes)))


@pytest.mark.parametrize("dtype", [b"O8", b"f3", b"S4", b"V4", b"M8", b"b1", b"c8", b"U1", b"xx", b"4f"])
def test_an_element_type_that_is_no_number_is_refused(dtype):
    refused(with_state(b"(K\x02K\x01t", bytes(8), dtype=dtype))


@pytest.mark.parametrize(
    "declared",
    [
        b"B\xff\xff\xff\xff" + b"x",
        b"X\xff\xff\xff\xff" + b"x",
        b"\x8e" + b"\xff" * 7 + b"\x7f",
        b"\x8e" + b"\xff" * 8,
        b"\x8d" + b"\xff" * 8,
        b"\x96" + b"\xff" * 8,
        b"T\xff\xff\xff\xff",
        b"T\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\x7f",
        b"\x95" + b"\xff" * 8,
        b"I" + b"9" * 100_000 + b"\n.",
        b"L" + b"9" * 100_000 + b"L\n.",
        b"r\xff\xff\xff\xff.",
        b"j\xff\xff\xff\xff.",
    ],
)
def test_a_length_that_the_file_does_not_have_is_refused_at_once(declared):
    started = time.thread_time()
    refused(b"\x80\x05" + declared)
    assert time.thread_time() - started < 1


def test_tuples_within_tuples_are_refused():
    refused(b"\x80\x04)" + b"\x85" * 900 + b".")
    refused(b"\x80\x04)" + b"\x85" * 2000 + b".")
    refused(b"\x80\x04\x8c\x05numpy)" + b"\x85" * 900 + b"\x93.")
    refused(b"\x80\x04cnumpy\ndtype\n)" + b"\x85" * 900 + b"R.")
    refused(b"(" * 900 + b"t" * 900 + b".")


@pytest.mark.parametrize("last", [b"\x93.", b"\x85cnumpy\ndtype\nq\xfe0h\xfeh\xfdR.", b"R.", b"b.", b".", b"\x93R."])
def test_tuples_that_double_at_each_step_cost_no_time(last):
    laughs = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(100))
    started = time.thread_time()
    refused(b"\x80\x04\x8c\x05numpycnumpy\ndtype\n)" + laughs + b"\x85" + last.replace(b"h\xfd", b""))
    refused(b"\x80\x04cnumpy\ndtype\n)" + laughs + last)
    refused(b"\x80\x04cnumpy\ndtype\n)" + laughs + b"\x85" + last)
    assert time.thread_time() - started < 1


def test_one_text_encoded_again_and_again_is_refused_before_it_fills_the_memory():
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    arguments = b"c_codecs\nencode\nq\x00(" + text + b"\x8c\x06latin1tq\x01R"
    error = refused(b"\x80\x04" + arguments + b"h\x00h\x01R" * 300 + b".")
    assert "the same bytes over and over" in str(error)


def test_a_file_that_is_too_large_is_refused():
    error = refused(bytes(MAX_BYTES + 1))
    assert error.expected == "at most 67,108,864 bytes"


def test_the_message_names_what_was_found_and_where():
    error = refused(dumps(Runs(os.system, "true"), 2))
    assert error.found == "the name posix.system at byte 2"


# Anything at all

SEEDS = [dumps(np.arange(6, dtype=code).reshape(2, 3), p) for p in PROTOCOLS for code in ("<f4", ">f8")]


@settings(max_examples=150)
@given(
    content=st.sampled_from(SEEDS),
    changes=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 255), st.sampled_from("sid")), min_size=1, max_size=8
    ),
)
def test_a_mutated_file_is_an_array_or_refused(content, changes):
    mutated = bytearray(content)
    for anywhere, value, kind in changes:
        position = anywhere % (len(mutated) or 1)
        if kind == "s" and mutated:
            mutated[position] = value
        elif kind == "i":
            mutated.insert(position, value)
        elif mutated:
            del mutated[position]
    array_or_refused(bytes(mutated))


@settings(max_examples=150)
@given(st.lists(st.sampled_from([bytes([code]) for code in range(256)]) | st.binary(max_size=6), max_size=60))
def test_random_opcodes_are_an_array_or_refused(pieces):
    array_or_refused(b"".join(pieces))


PIECES = [
    b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cnumpy._core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n",
    b"cnumpy._core.numeric\n_frombuffer\n", b"(", b")", b"\x85", b"\x86", b"\x87", b"t", b"R", b"b", b"K\x00", b"K\x01",
    b"K\x02", b"C\x01b", b"\x8c\x02f4", b"\x8c\x01<", b"\x8c\x01C", b"N", b"\x88", b"\x89", b"J\xff\xff\xff\xff", b"q\x00",
    b"h\x00", b"\x94", b"\x93", b"C\x08abcdefgh", b"\x8c\x06latin1", b"S'a\\q'\n", b"S'b'\n", b"U\x02f4", b"Va\n", b".",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_the_words_of_numpy_in_any_order_are_an_array_or_refused(pieces):
    array_or_refused(b"".join(pieces) + b".")


def array_or_refused(content: bytes) -> None:
    try:
        found = read_array(content, where="x")
    except UnsafeFileError:
        return
    assert isinstance(found, np.ndarray)
    assert found.dtype.kind in "fiu"
