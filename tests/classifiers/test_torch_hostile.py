"""Checkpoints that would run something, lie about their size or were changed end in words; a canary would show otherwise."""

import os
import pickle
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.classifiers.torch_zip import MAX_PICKLE_BYTES, read_tensors
from clipsieve.errors import ClassifierFileError, UnsafeFileError
from torch_files import FLOATS, archive, state, tensor, text

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


def refused(content, kind=UnsafeFileError):
    with pytest.raises(kind) as caught:
        read_tensors(content, where="head.pt")
    assert "`head.pt`" in caught.value.what
    assert len(str(caught.value)) < 1000
    return caught.value.found


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(canary):
    shell, code = f"touch {canary}", f"open({str(canary)!r}, 'w').close()"
    system, run = Runs(os.system, shell), Runs(exec, code)
    given = text(shell)
    return {
        "os.system": pickle.dumps(system, 2),
        "eval": pickle.dumps({"w": Runs(eval, code)}, 2),
        "exec by STACK_GLOBAL": pickle.dumps(run, 4),
        "protocol 0": pickle.dumps(system, 0),
        "a call in a dictionary": pickle.dumps({"w": run}, 2),
        "a call beside a tensor": b"\x80\x02}(" + text("w") + tensor() + text("v") + pickle.dumps(run, 2)[2:-1] + b"u.",
        "a call popped before": b"\x80\x02cposix\nsystem\n" + given + b"\x85R0" + state(tensor())[2:],
        "a call as a storage's kind": state(tensor().replace(b"ctorch\nFloatStorage", b"cposix\nsystem")),
        "a name of torch that loads": b"\x80\x02ctorch\nload\n" + given + b"\x85R.",
        "torch's storage from a file": b"\x80\x02ctorch\nFloatStorage\n" + given + b"\x85R.",
        "a dotted name": b"\x80\x04" + text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93.",
        "OrderedDict with arguments": b"\x80\x02ccollections\nOrderedDict\n(]tR.",
        "INST": b"(" + given + b"iposix\nsystem\n.",
        "OBJ": b"(cposix\nsystem\n" + given + b"o.",
        "NEWOBJ": b"\x80\x02cposix\nsystem\n" + given + b"\x85\x81.",
        "EXT1": b"\x80\x02\x82\x01.",
        "PERSID": b"Pposix.system\n.",
        "another reference": b"\x80\x02("
        + text("module")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("cpu")
        + b"K\x02tQ.",
        "a reference to text": text("storage") + b"Q.",
        "BUILD of a tensor": state(tensor() + b"}b"),
        "BUILD of a name": b"\x80\x02ctorch\nFloatStorage\n}b.",
        "BUILD with a call": b"\x80\x02}cposix\nsystem\n" + given + b"\x85Rb.",
        "a name as a key": b"\x80\x02}ctorch\nFloatStorage\nK\x01s.",
        "items of a list": b"\x80\x02]K\x01K\x02s.",
        "a value from below a mark": b"\x80\x02}K\x01(s.",
        "two values": b"\x80\x02}}.",
        "a mark left": b"\x80\x02(}.",
        "a memo that is not there": b"\x80\x02h\x07.",
        "bytes behind": state(tensor()) + b"}.",
        "nothing": b"",
        "a stop": b".",
        "no pickle": b"\x89PNG\r\n\x1a\n",
        "itself": b"\x80\x02}q\x00" + text("state_dict") + b"h\x00s.",
    }


@pytest.mark.parametrize("name", sorted(attacks("x")))
def test_hostile_pickles_are_refused_and_nothing_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(archive(attacks(tmp_path / "canary")[name], [FLOATS]))
    assert list(tmp_path.iterdir()) == []


def test_the_canary_would_sing(tmp_path):
    pickle.loads(attacks(tmp_path / "canary")["exec by STACK_GLOBAL"])  # noqa: S301 - the one that this test made
    assert (tmp_path / "canary").exists()


def test_the_refusal_names_the_opcode():
    assert refused(archive(attacks("x")["os.system"])) == "the name posix.system at byte 2"


@pytest.mark.parametrize(
    "shape",
    [
        {"size": (3,)},
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**40},
        {"stride": (2,)},
        {"stride": (-1,)},
        {"stride": (2**62,)},
        {"size": (-2,)},
        {"size": (2**62,), "stride": (0,)},
        {"size": (2**39,), "stride": (0,)},
        {"size": (2**30,), "stride": (0,)},
        {"size": (0, 2**39, 2**39), "stride": (1, 1, 1)},
        {"size": (2,), "stride": ()},
        {"size": (1,) * 9, "stride": (1,) * 9},
        {"n": -1},
        {"n": 2**64},
        {"kind": "BoolStorage"},
        {"kind": "ByteStorage"},
        {"kind": "UntypedStorage"},
    ],
)
def test_a_view_beyond_its_storage_or_without_end_is_refused(shape):
    refused(archive(state(tensor(**shape)), [FLOATS]))


@pytest.mark.parametrize("n", [0, 7, 9, 400])
def test_a_storage_of_another_length_is_refused(n):
    assert refused(archive(state(tensor()), [bytes(n)]), ClassifierFileError) == f"{n}"


@pytest.mark.parametrize("key", ["1", "", "../byteorder", "/etc/passwd"])
def test_a_storage_that_is_not_there_is_refused(key):
    assert refused(archive(state(tensor(key=key)), [FLOATS]), ClassifierFileError) == "no such member"


def test_archives_of_another_form_are_refused():
    good = state(tensor())
    kind = ClassifierFileError
    assert "compressed" in refused(archive(good, [FLOATS], compression=zipfile.ZIP_DEFLATED), kind)
    assert "unusual" in refused(archive(good, [FLOATS], compression=zipfile.ZIP_BZIP2), kind)
    assert "2 in" in refused(archive(good, [FLOATS], extra=[("other/data.pkl", good)]), kind)
    assert "0 in" in refused(archive(good).replace(b"data.pkl", b"beta.pkl"), kind)
    assert "1 in" in refused(archive(good).replace(b"head/data.pkl", b"h/dd/data.pkl"), kind)
    assert "broken" in refused(b"PK\x03\x04", kind)
    assert "unusual" in refused(_encrypted(archive(good, [FLOATS])), kind)
    assert "16,777,217 bytes" in refused(archive(bytes(MAX_PICKLE_BYTES + 1)), kind)
    assert "more members" in refused(b"PK\x01\x02" * 5000, kind)
    changed = bytearray(archive(good, [FLOATS]))
    changed[changed.index(FLOATS)] ^= 1
    assert "broken" in refused(bytes(changed), kind)


def _encrypted(content):
    changed = bytearray(content)
    changed[changed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def test_the_same_name_twice_is_refused():
    content = archive(state(tensor()), [FLOATS], extra=[("head/dat1.pkl", b"")]).replace(b"dat1.pkl", b"data.pkl")
    assert "same name" in refused(content, ClassifierFileError)


def test_members_that_overlap_do_not_multiply():
    tensors = [tensor(size=(3,), stride=(0,), key=str(n)) for n in range(100)]
    assert len(read_tensors(archive(state(*tensors), [FLOATS] * 100), where="x")) == 100
    wide = [tensor(size=(2**26 // 90,), stride=(0,))] * 100
    assert "tensors of more than" in refused(archive(state(*wide), [FLOATS]))


GOOD = archive(state(tensor(), tensor(size=(1,), offset=1)), [FLOATS])
PICKLED = state(tensor(), tensor(size=(1,), offset=1))


def changed_by(content, changes):
    changed = bytearray(content)
    for anywhere, value, kind in changes:
        position = anywhere % (len(changed) or 1)
        if kind == "i":
            changed.insert(position, value)
        elif changed and kind == "s":
            changed[position] = value
        elif changed:
            del changed[position]
    return bytes(changed)


CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255), st.sampled_from("sid")), min_size=1, max_size=6)


@settings(max_examples=300)
@given(CHANGES)
def test_a_mutated_file_is_read_or_refused(changes):
    read_or_refused(changed_by(GOOD, changes))
    read_or_refused(archive(changed_by(PICKLED, changes), [FLOATS]))


@settings(max_examples=100)
@given(st.integers(0, len(GOOD)), st.binary(max_size=40))
def test_a_cut_or_random_file_is_read_or_refused(n, anything):
    read_or_refused(GOOD[:n])
    read_or_refused(archive(PICKLED[: n % len(PICKLED)], [FLOATS]))
    read_or_refused(archive(b"\x80\x02" + anything + b".", [anything]))


def read_or_refused(content):
    try:
        found = read_tensors(content, where="x")
    except ClassifierFileError:
        return
    assert all(values.dtype.kind in "fi" for values in found.values())
