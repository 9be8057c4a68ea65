"""The reader of torch's checkpoints gives back what torch.save wrote, bit for bit."""

import io
from collections import OrderedDict

import numpy as np
import pytest

from clipsieve.classifiers.torch_zip import LEGACY_MAGIC, read_tensors
from clipsieve.errors import ClassifierFileError, UnsafeFileError
from torch_files import FLOATS, archive, state, tensor


def saved(value, **options):
    import torch

    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def refused(content, kind=UnsafeFileError):
    with pytest.raises(kind) as caught:
        read_tensors(content, where="head.pt")
    assert "`head.pt`" in caught.value.what
    assert len(str(caught.value)) < 1000
    return caught.value.found


def test_a_file_in_torchs_form_is_read_without_torch():
    found = read_tensors(archive(state(tensor()), [FLOATS]), where="x")
    assert found["w0"].tolist() == [1.5, -2.5]
    assert found["w0"].dtype == np.float32
    assert found["w0"].flags.owndata


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ({"size": (), "stride": (), "offset": 1}, -2.5),
        ({"size": (3,), "stride": (0,)}, [1.5] * 3),
        ({"size": (1, 2), "stride": (99, 1)}, [[1.5, -2.5]]),
        ({"size": (0, 5), "stride": (5, 1), "offset": 7}, []),
        ({"size": (2, 2), "stride": (0, 1)}, [[1.5, -2.5]] * 2),
    ],
)
def test_strides_and_offsets_are_followed(shape, values):
    found = read_tensors(archive(state(tensor(**shape)), [FLOATS]), where="x")["w0"]
    assert found.tolist() == values
    assert found.shape == shape["size"]
    assert found.flags.c_contiguous


def test_numbers_of_the_other_byte_order_are_turned():
    big = np.array([1.5, -2.5], ">f4").tobytes()
    assert read_tensors(archive(state(tensor()), [big], byteorder=b"big"), where="x")["w0"].tolist() == [1.5, -2.5]
    assert read_tensors(archive(state(tensor()), [FLOATS], byteorder=None), where="x")["w0"].tolist() == [1.5, -2.5]
    assert "odd" in refused(archive(state(tensor()), [FLOATS], byteorder=b"odd"), ClassifierFileError)


def test_tensors_may_share_a_storage():
    content = archive(state(tensor(), tensor(size=(1,), offset=1)), [FLOATS])
    assert [v.tolist() for v in read_tensors(content, where="x").values()] == [[1.5, -2.5], [-2.5]]


# What torch writes


@pytest.mark.torch
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "int32", "int64"])
def test_what_torch_saved_comes_back_bit_for_bit(dtype, protocol):
    import torch

    base = (torch.randn(5, 6) * 100).to(getattr(torch, dtype))
    values = OrderedDict(
        a=base, b=base.T, c=base[1:, ::2], d=base[2, 3], e=base[:0], f=base[:1].expand(4, 6), g=base.reshape(1, 5, 6, 1)
    )
    found = read_tensors(saved(values, pickle_protocol=protocol), where="x")
    assert list(found) == list(values)
    for name, value in values.items():
        exact = (value.float() if dtype == "bfloat16" else value).contiguous().numpy()
        assert found[name].dtype == exact.dtype
        assert found[name].shape == exact.shape
        assert found[name].tobytes() == exact.tobytes()


@pytest.mark.torch
def test_modules_parameters_and_training_states_are_read():
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    plain = read_tensors(saved(module.state_dict()), where="x")
    assert list(plain) == list(module.state_dict())
    assert plain["2.num_batches_tracked"].dtype == np.int64
    training = {"epoch": 3, "lr": 0.5, "betas": [0.9, 0.99], "state_dict": module.state_dict(), "optimizer": {0: None}}
    for value in (training, dict(module.named_parameters()), module.state_dict(keep_vars=True)):
        found = read_tensors(saved(value), where="x")
        assert all((found[name] == plain[name]).all() for name in found)
        assert found["0.weight"].shape == (3, 4)


@pytest.mark.torch
def test_the_form_from_before_torch_1_6_is_named():
    import torch

    old = saved({"w": torch.zeros(2)}, _use_new_zipfile_serialization=False)
    assert old.startswith(LEGACY_MAGIC)
    with pytest.raises(ClassifierFileError, match=r"1\.6") as caught:
        read_tensors(old, where="x")
    assert "save it again" in caught.value.hint


@pytest.mark.torch
def test_other_things_that_torch_saves_are_refused():
    import torch

    for value in (torch.nn.Linear(2, 1), torch.zeros(2), [torch.zeros(2)], {}, {"a": 1}, {1: torch.zeros(1)}):
        refused(saved(value))
    for other in (torch.zeros(2, dtype=torch.complex64), torch.zeros(2) > 0, torch.zeros(2).to_sparse()):
        refused(saved({"w": other}))
