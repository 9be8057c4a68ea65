"""Variables of TensorFlow come back bit for bit, from what TensorFlow 2.21 wrote and from files in its published format;
files that were cut, changed or forged end in words."""

import base64
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.classifiers.crc32c import crc32c, masked_crc32c
from clipsieve.classifiers.tf_bundle import MAX_INDEX_BYTES, read_variables
from clipsieve.errors import ClassifierFileError
from tf_bundles import HEADER, block, bundle, entry, field, masked, sealed, slow_crc32c, table, varint

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

# Written by `tf.raw_ops.SaveV2` of TensorFlow 2.21.
TRUE_DATA = base64.b64decode(
    "AAAAPwAAgL4AAAA+AACAQAAAgD8AAAAABwAAAAAAAAAAAAAAAACAPgAAAD8AAEA/AACAPwAAoD8AAIA/AACAvwAAgD8AAADAAABAP8A/AMBAQAA4VVVVVVVV"
    "1T8BAAAA/v///wEDAu66SM9hYmNkZQ=="
)
TRUE_INDEX = base64.b64decode(
    "AAAGCAEaAggBAAoRYS9iZmxvYXQxNggOEgQSAggDIEwoBjX+hwt+AwMRb29sCAoSBBICCAEgZCgBNQUrKEMCBhFkb3VibGUIAhIEEgIIASBUKAg1NXD+tQIF"
    "EWVtcHR5CAESBhIAEgIIBCBwNdjqgqICBBVoYWxmCBMSCBICCAESAggBIFIoAjWOgdtvAgURaW50MzIIAxIEEgIIAiBcKAg1a0reRAIEEXRleHQIBxIEEgII"
    "AiBlKAs1Tq2PwgA1DWxheWVyX3dpdGhfd2VpZ2h0cy0wL2NvdW50Ly5BVFRSSUJVVEVTL1ZBUklBQkxFX1ZBTFVFCAkSACAYKAg1u9efERUfD21lYW4vLkFU"
    "VFJJQlVURVMvVkFSSUFCTEVfVkFMVUUIARIEEgIIAygMNYC0JNEVIxF2YXJpYW5jZS8uQVRUUklCVVRFUy9WQVJJQUJMRV9WQUxVRQgBEgQSAggDIAwoDDU1"
    "tWmlEyERMS9iaWFzLy5BVFRSSUJVVEVTL1ZBUklBQkxFX1ZBTFVFCAESBBICCAIgOCgINdTntWIVIRVrZXJuZWwvLkFUVFJJQlVURVMvVkFSSUFCTEVfVkFM"
    "VUUIARIIEgIIAxICCAIgICgYNU3JwDcTIREyL2JpYXMvLkFUVFJJQlVURVMvVkFSSUFCTEVfVkFMVUUIARIEEgIIASBIKAQ12Z0wkxUhFWtlcm5lbC8uQVRU"
    "UklCVVRFUy9WQVJJQUJMRV9WQUxVRQgBEggSAggCEgIIASBAKAg1RT8WiAAAAAABAAAAAIbDR5MAAAAAAQAAAADA8qGwAAEDbQDPBAAAAAABAAAAADzAId7U"
    "BAjhBA8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFf7gIskdUfb"
)
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def refused(index, data=b""):
    with pytest.raises(ClassifierFileError) as caught:
        read_variables(index, data, where="head.zip")
    assert "`head.zip`" in caught.value.what
    assert len(str(caught.value)) < 1000
    return caught.value.found


def test_what_tensorflow_wrote_comes_back():
    found = read_variables(TRUE_INDEX, TRUE_DATA, where="x")
    expected = {
        "a/bfloat16": np.array([1.5, -2, 3], np.float32),
        "a/double": np.array([1 / 3]),
        "a/empty": np.zeros((0, 4), np.float32),
        "a/half": np.array([[0.5]], np.float16),
        "a/int32": np.array([1, -2], np.int32),
        f"layer_with_weights-0/count{VALUE}": np.array(7, np.int64),
        f"layer_with_weights-0/mean{VALUE}": np.array([0.5, -0.25, 0.125], np.float32),
        f"layer_with_weights-0/variance{VALUE}": np.array([4, 1, 0], np.float32),
        f"layer_with_weights-1/bias{VALUE}": np.array([1, -1], np.float32),
        f"layer_with_weights-1/kernel{VALUE}": np.arange(6, dtype=np.float32).reshape(3, 2) / 4,
        f"layer_with_weights-2/bias{VALUE}": np.array([0.75], np.float32),
        f"layer_with_weights-2/kernel{VALUE}": np.array([[1], [-2]], np.float32),
    }
    assert list(found) == list(expected)  # text and truth values are left out
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize(
    ("content", "crc"),
    [
        (b"", 0x00000000),
        (b"a", 0xC1D04330),
        (b"abc", 0x364B3FB7),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksums_are_those_of_rfc_3720(content, crc):
    assert crc32c(content) == crc


@given(st.binary(max_size=700))
def test_checksums_of_rows_at_once_are_those_byte_by_byte(content):
    assert crc32c(content) == slow_crc32c(content)
    assert masked_crc32c(content) == masked(content)


@pytest.mark.parametrize("per_block", [1, 3, 1000])
def test_tables_in_many_blocks_come_back(per_block):
    rng = np.random.default_rng(0)
    variables = {f"layer/{n:03d}": rng.normal(size=(n % 4, 3)).astype("f4") for n in range(70)}
    found = read_variables(*bundle(variables, per_block=per_block), where="x")
    assert list(found) == sorted(variables)
    assert all((found[name] == values).all() for name, values in variables.items())


def test_big_endian_numbers_are_turned():
    values = np.array([1.5, -2], ">f4")
    index = table({b"": HEADER + field(2, 1), b"a": entry(1, (2,), 0, 8, masked(values.tobytes()))}.items())
    found = read_variables(index, values.tobytes(), where="x")["a"]
    assert found.dtype == np.float32
    assert found.tolist() == [1.5, -2]


# Files that were cut or changed


@pytest.mark.parametrize("n", [0, 1, 8, 47, 48, 100, len(TRUE_INDEX) - 1])
def test_a_table_that_was_cut_is_refused(n):
    assert "no table" in refused(TRUE_INDEX[:n], TRUE_DATA)


def test_data_that_were_cut_are_refused():
    for n in range(len(TRUE_DATA)):
        assert refused(TRUE_INDEX, TRUE_DATA[:n])


def test_a_changed_number_is_found():
    changed = bytearray(TRUE_DATA)
    changed[3] ^= 1
    assert "wrong checksum" in refused(TRUE_INDEX, bytes(changed))


@pytest.mark.slow
@settings(max_examples=300)
@given(st.integers(0, len(TRUE_INDEX) - 1), st.integers(1, 255))
def test_a_changed_table_is_refused_or_the_same(position, mask):
    changed = bytearray(TRUE_INDEX)
    changed[position] ^= mask
    try:
        found = read_variables(bytes(changed), TRUE_DATA, where="x")
    except ClassifierFileError:
        return
    assert len(found) == 12


# Files that were forged: true checksums, false content


def forged(value, data=bytes(8), header=HEADER):
    return refused(table([(b"", header), (b"a", value)]), data)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (entry(1, (3,), 0, 8, masked(bytes(8))), "for the shape"),
        (entry(1, (2,), 4, 8, masked(bytes(8))), "for the shape"),
        (entry(1, (2,), 2**63, 8, 0), "for the shape"),
        (entry(1, (2**62,), 0, 8, 0), "endless"),
        (entry(1, (2**39, 2**39, 0), 0, 0, masked(b"")), "endless"),
        (entry(1, (2**64 - 1, 2**64 - 2), 0, 8, 0), "endless"),
        (entry(1, (1,) * 9, 0, 4, 0), "unknown shape"),
        (entry(1, (2,), 0, 2**63, 0), "reach beyond"),
        (entry(1, (2,), 0, 8, 1), "checksum"),
        (entry(1, (2,), 0, 8, 0, extra=field(7, b"")), "slices"),
        (entry(1, (2,), 0, 8, 0, extra=field(3, 1)), "another form"),
        (field(1, b"x"), "another form"),
        (field(2, 5), "another form"),
        (field(2, field(2, field(1, b"y"))), "unknown shape"),
        (b"\x0b", "no protobuf"),
        (b"\x0a\x7f", "cut"),
        (b"\x35\x00", "cut"),
        (b"\x08" + b"\xff" * 11, "without an end"),
        (b"\x80", "without an end"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(value, words):
    assert words in forged(value)


@pytest.mark.parametrize("header", [b"", field(1, 2), field(1, b"1"), field(2, 1)])
def test_a_bundle_in_several_parts_is_refused(header):
    assert "parts" in forged(entry(1, (2,), 0, 8, masked(bytes(8))), header=header)


def test_variables_that_overlap_are_refused():
    value = entry(1, (2,), 0, 8, masked(bytes(8)))
    assert "overlap" in refused(table([(b"", HEADER), (b"a", value), (b"b", value)]), bytes(8))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0",
        struct.pack("<I", 2**32 - 1),
        b"\x05\x01\x00a" + bytes(4) + b"\x01\0\0\0",
        b"\x00\xff\x7f\x00a" + bytes(4) + b"\x01\0\0\0",
        b"\x00\x01\xff\x7fa" + bytes(4) + b"\x01\0\0\0",
        block([(b"k" * 5000, b"")]),
        block([(b"a", b""), (b"a", b"")]),
        block([(b"\xff", b"")]),
        block([(b"%05d" % n, b"") for n in range(20_001)]),
    ],
)
def test_a_block_that_is_none_is_refused(body):
    assert refused(table([], blocks=[block([(b"", HEADER)]), body]), bytes(8))


def test_a_compressed_block_is_refused_in_words():
    assert "snappy" in refused(table([(b"", HEADER)], kind=1))


def test_one_block_named_again_and_again_is_refused():
    body = sealed(block([(b"a" * 4000, b"")]))
    index = block([(b"%06d" % n, varint(0) + varint(len(body) - 5)) for n in range(1000)], every=1)
    footer = (varint(0) + varint(0) + varint(len(body)) + varint(len(index))).ljust(40, b"\0")
    assert refused(body + sealed(index) + footer + TRUE_INDEX[-8:])


def test_a_table_that_is_too_large_is_refused():
    assert "more bytes" in refused(bytes(MAX_INDEX_BYTES + 1))


TRUE_BLOCK = TRUE_INDEX[:591]  # as its index says


@pytest.mark.slow
@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 590), st.integers(0, 255), st.sampled_from("sid")), min_size=1, max_size=6),
)
def test_a_forged_block_with_a_true_checksum_is_read_or_refused(changes):
    changed = bytearray(TRUE_BLOCK)
    for position, value, kind in changes:
        if kind == "s":
            changed[position % len(changed)] = value
        elif kind == "i":
            changed.insert(position, value)
        else:
            del changed[position % len(changed)]
    read_or_refused(table([], blocks=[bytes(changed)]), TRUE_DATA)


@pytest.mark.slow
@settings(max_examples=200)
@given(st.binary(max_size=60), st.binary(max_size=30), st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(header, value, anything):
    read_or_refused(table([(b"", header), (b"a", value)]), anything)
    read_or_refused(table([], blocks=[anything]), anything)
    read_or_refused(anything, anything)
    read_or_refused(anything + TRUE_INDEX[-48:], anything)


def read_or_refused(index, data):
    try:
        found = read_variables(index, data, where="x")
    except ClassifierFileError:
        return
    assert all(values.dtype.kind in "fi" for values in found.values())
