"""Int8 image towers: how close they come, what outliers do to them, and what is kept where."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from clipsieve.encoders import load_encoder, quantize_towers
from clipsieve.encoders import quantize as module
from clipsieve.encoders.catalog import pictogram_dir
from clipsieve.encoders.folder import ModelFolder
from clipsieve.encoders.quantize import quantize
from clipsieve.encoders.quantize_graph import FloatGraph, fold_constants
from clipsieve.encoders.quantize_ranges import embed_each, measure_ranges
from clipsieve.encoders.quantize_recipes import Recipe, int8_graph
from clipsieve.encoders.quantize_towers import Towers, precision_of, read_quantization
from clipsieve.errors import MissingExtraError, ModelError, ModelFileError, ModelNotFoundError, UsageError
from model_folders import KINDS, SIDE, images, make_onnx_folder, weights, write_json

PIXELS = images(32)
WIDE = 48


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def current(folder: Path) -> Path | None:
    """Return the graph that `--precision int8` takes."""
    towers = Towers(folder)
    return towers.graph(towers.current) if towers.has(towers.current) else None


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def against_fp32(folder: Path, graph: Path) -> np.ndarray:
    recipe = ModelFolder.open(folder).recipe
    fresh = images(16, recipe.size_px, seed=5)
    return cosines(*(embed_each(path, recipe, fresh) for path in (graph, folder / "visual/model.onnx")))


def block_graph(*, norm_outlier: float = 1, hidden_outlier: float = 1) -> onnx.ModelProto:
    """Return patches, and a block of LayerNorm and two matrices, in which a few channels reach far beyond all others.

    Whatever an outlier is, the function is the same: the next matrix's rows are as much smaller.
    """
    norm, hidden = np.ones(WIDE, dtype=np.float32), np.ones(4 * WIDE, dtype=np.float32)
    norm[[3, 17]], hidden[[5, 70]] = norm_outlier, hidden_outlier
    tensors = {
        "patches": weights(0, 3 * 4 * 4, WIDE).T.reshape(WIDE, 3, 4, 4),
        "gain": norm,
        "offset": 0.1 * norm,
        "one": np.ones(WIDE, dtype=np.float32),
        "zero": np.zeros(WIDE, dtype=np.float32),
        "w1": weights(1, WIDE, 4 * WIDE) / norm[:, None] * hidden,
        "w2": weights(2, 4 * WIDE, WIDE) / hidden[:, None],
        "w3": weights(3, WIDE, 16),
        "flat": np.array([0, WIDE, -1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["image", "patches"], ["grid"], strides=[4, 4]),
        helper.make_node("Reshape", ["grid", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["rows", "gain", "offset"], ["normal"]),
        helper.make_node("MatMul", ["normal", "w1"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w2"], ["narrow"]),
        helper.make_node("Add", ["rows", "narrow"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "one", "zero"], ["last"]),
        helper.make_node("MatMul", ["last", "w3"], ["projected"]),
        helper.make_node("ReduceMean", ["projected"], ["features"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 16])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def block_folder(path: Path, **outliers: float) -> Path:
    folder = make_onnx_folder(path)
    onnx.save(block_graph(**outliers), folder / "visual/model.onnx")
    return folder


def mean_cosine(folder: Path, scratch: Path, recipe: Recipe) -> float:
    """Return how close one recipe alone comes."""
    scratch.mkdir(exist_ok=True)
    fold_constants(folder / "visual/model.onnx", scratch / "float.onnx")
    graph = FloatGraph(scratch / "float.onnx")
    ranges, _ = measure_ranges(graph, scratch / "ranges.onnx", ModelFolder.open(folder).recipe, PIXELS)
    onnx.save(int8_graph(graph, ranges, recipe), scratch / "int8.onnx")
    return float(against_fp32(folder, scratch / "int8.onnx").mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_graph_comes_close_in_int8(tmp_path, kind):
    folder = make_onnx_folder(tmp_path / "model", kind)
    graph = quantize(folder, PIXELS)
    found = against_fp32(folder, graph)
    assert found.mean() > 0.999
    assert found.min() > 0.998
    stored = {tensor.data_type for tensor in onnx.load(graph).graph.initializer if len(tensor.dims) == 2}
    assert stored == {TensorProto.INT8}


def test_the_embedded_model_comes_close_in_int8():
    recipe = ModelFolder.open(pictogram_dir()).recipe
    graph = quantize(pictogram_dir(), images(32, recipe.size_px))
    assert against_fp32(pictogram_dir(), graph).min() > 0.99
    assert graph.stat().st_size < 0.75 * (pictogram_dir() / "visual/model.onnx").stat().st_size


def test_a_row_does_not_depend_on_its_neighbours(tmp_path):
    folder = make_onnx_folder(tmp_path / "model")
    quantized = folder / "visual/model.onnx"
    quantized.write_bytes(quantize(folder, PIXELS).read_bytes())
    with load_encoder(str(folder)) as encoder:
        bright = np.concatenate([PIXELS[:3], np.full((5, SIDE, SIDE, 3), 255, dtype=np.uint8)])
        assert np.array_equal(encoder.encode_images(bright)[:3], encoder.encode_images(PIXELS[:3]))


def test_smoothing_saves_what_outliers_behind_a_layer_norm_cost(tmp_path):
    folder = block_folder(tmp_path / "model", norm_outlier=100)
    plain = mean_cosine(folder, tmp_path / "plain", Recipe(smooth=False, fp32_share=0))
    smooth = mean_cosine(folder, tmp_path / "smooth", Recipe(smooth=True, fp32_share=0))
    assert plain < 0.99
    assert smooth > 0.999
    graph = quantize(folder, PIXELS)
    assert read_quantization(graph)["recipe"] == {"smooth": True, "fp32_share": 0}
    assert against_fp32(folder, graph).mean() > 0.999


def test_the_noisiest_product_stays_in_fp32_where_nothing_else_helps(tmp_path):
    folder = block_folder(tmp_path / "model", hidden_outlier=3000)
    smooth = mean_cosine(folder, tmp_path / "smooth", Recipe(smooth=True, fp32_share=0))
    kept = mean_cosine(folder, tmp_path / "kept", Recipe(smooth=True, fp32_share=1 / 4))
    assert smooth < 0.99
    assert kept > 0.999
    graph = onnx.load(tmp_path / "kept/int8.onnx").graph
    floats = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2 and tensor.data_type == 1}
    assert floats == {"int8/narrow/weight"}


def test_outliers_that_no_layer_norm_can_take_climb_the_ladder(tmp_path):
    folder = block_folder(tmp_path / "model", hidden_outlier=3000)
    graph = quantize(folder, PIXELS)
    assert read_quantization(graph)["recipe"] == {"smooth": True, "fp32_share": 1 / 24}
    assert against_fp32(folder, graph).mean() > 0.999


def test_below_the_bar_nothing_is_kept(tmp_path, home, monkeypatch):
    monkeypatch.setattr(module, "LADDER", module.LADDER[:1])
    folder = block_folder(tmp_path / "model", hidden_outlier=3000)
    with pytest.raises(ModelError, match="close enough") as caught:
        quantize(folder, PIXELS)
    assert "bf16" in str(caught.value)
    assert current(folder) is None
    assert [path.suffix for path in (home / "int8").iterdir()] == [".lock"]


def test_too_few_images_calibrate_nothing(tmp_path, home):
    folder = make_onnx_folder(tmp_path / "model")
    with pytest.raises(ModelError, match="too few images to calibrate") as caught:
        quantize(folder, PIXELS[:31])
    assert (caught.value.expected, caught.value.found) == ("at least 32", "31 readable images")
    assert "models quantize" in str(caught.value)
    assert not list((home / "int8").glob("*/*"))
    graph = quantize(folder, PIXELS)
    assert quantize(folder, PIXELS[:1]) == graph  # one that is there is for any images
    with pytest.raises(ModelError, match="too few images"):
        quantize(folder, PIXELS[:31], force=True)
    assert current(folder) == graph


def test_a_check_that_fails_leaves_nothing(tmp_path, home):
    folder = make_onnx_folder(tmp_path / "model")

    def refuse(graph: Path) -> None:
        assert graph.is_file()
        assert current(folder) is None
        raise ModelError("too far off")

    with pytest.raises(ModelError, match="too far off"):
        quantize(folder, PIXELS, check=refuse)
    assert current(folder) is None
    assert [path.suffix for path in (home / "int8").iterdir()] == [".lock"]


def test_the_same_model_is_quantized_once(tmp_path):
    folder = make_onnx_folder(tmp_path / "model")
    graph = quantize(folder, PIXELS)
    before = graph.stat().st_mtime_ns

    def never(_: Path) -> None:
        raise AssertionError

    assert quantize(folder, images(40, seed=9), check=never) == graph == current(folder)
    assert graph.stat().st_mtime_ns == before
    assert read_quantization(graph)["calibration"]["n_images"] == len(PIXELS)


def test_another_one_becomes_the_current_one_and_the_first_stays(tmp_path):
    folder = make_onnx_folder(tmp_path / "model")
    first = quantize(folder, PIXELS)
    content = first.read_bytes()
    second = quantize(folder, images(40, seed=9), force=True)
    assert current(folder) == second != first
    assert first.read_bytes() == content != second.read_bytes()
    assert Towers(folder).graph(precision_of(first)) == first
    assert first.parent.name == precision_of(first).removeprefix("int8-")
    for graph in (first, second):
        with load_encoder(str(folder), precision=precision_of(graph)) as encoder:
            assert encoder.identity.precision == precision_of(graph)
    assert load_encoder(str(folder), precision="int8").identity.precision == precision_of(second)
    assert quantize(folder, PIXELS, force=True) == first == current(folder)


def test_every_image_through_a_graph_is_told(tmp_path):
    told = []
    quantize(make_onnx_folder(tmp_path / "model"), PIXELS, on_image=lambda: told.append(1))
    assert len(told) == 3 * len(PIXELS)


@pytest.mark.parametrize("precision", ["int8-0123456789ab", "int8-", "int8-../../../../etc", "int8-0123456789AB"])
def test_a_tower_of_another_machine_is_asked_for_in_words(tmp_path, precision):
    folder = make_onnx_folder(tmp_path / "model")
    graph = quantize(folder, PIXELS)
    assert not Towers(folder).has(precision)
    with pytest.raises(ModelNotFoundError, match=f"`{precision}` of `model` is not on this machine") as caught:
        load_encoder(str(folder), precision=precision)
    assert caught.value.found == precision_of(graph)
    assert "another machine" in str(caught.value.hint)


def test_a_tower_that_is_copied_from_another_machine_is_found(tmp_path, home, monkeypatch):
    folder = make_onnx_folder(tmp_path / "model")
    graph = quantize(folder, PIXELS)
    monkeypatch.setenv("CLIPSIEVE_HOME", str(tmp_path / "elsewhere"))
    precision = precision_of(graph)
    with pytest.raises(ModelNotFoundError) as caught:
        load_encoder(str(folder), precision=precision)
    shutil.copytree(graph.parent, str(caught.value.expected))
    assert load_encoder(str(folder), precision=precision).identity.precision == precision


def test_a_damaged_tower_is_said_to_be(tmp_path):
    folder = make_onnx_folder(tmp_path / "model")
    graph = quantize(folder, PIXELS)
    precision = precision_of(graph)
    graph.write_bytes(graph.read_bytes()[:-10])
    for wanted in ("int8", precision):
        with pytest.raises(ModelFileError, match=f"`{precision}` of `model` is damaged"):
            load_encoder(str(folder), precision=wanted)


def test_other_weights_and_another_recipe_lie_apart(tmp_path):
    folder = make_onnx_folder(tmp_path / "a")
    places = {quantize(folder, PIXELS), quantize(make_onnx_folder(tmp_path / "b", seed=1), PIXELS)}
    recipe = json.loads((folder / "visual/preprocess_cfg.json").read_text())
    write_json(folder / "visual/preprocess_cfg.json", recipe | {"mean": [0.5, 0.5, 0.5]})
    assert current(folder) is None
    places.add(quantize(folder, PIXELS))
    assert len({graph.parent.parent for graph in places}) == 3


def test_what_was_made_in_an_older_way_is_still_there_for_its_runs(tmp_path, monkeypatch):
    folder = make_onnx_folder(tmp_path / "a")
    graph = quantize(folder, PIXELS)
    monkeypatch.setattr(quantize_towers, "VERSION", 10**6)
    assert current(folder) is None
    assert Towers(folder).graph(precision_of(graph)) == graph


def test_the_same_weights_elsewhere_are_the_same(tmp_path):
    graph = quantize(make_onnx_folder(tmp_path / "a"), PIXELS)
    assert current(make_onnx_folder(tmp_path / "b")) == graph


def test_weights_beside_the_graph_are_read_and_count(tmp_path):
    folder = make_onnx_folder(tmp_path / "a")
    expected = quantize(folder, PIXELS)
    model = onnx.load(folder / "visual/model.onnx")
    onnx.save(model, folder / "visual/model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    assert current(folder) is None
    assert quantize(folder, PIXELS).read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("damage", ["cut graph", "no record", "broken record"])
def test_what_is_not_whole_is_made_again(tmp_path, damage):
    folder = make_onnx_folder(tmp_path / "model")
    graph = quantize(folder, PIXELS)
    expected = graph.read_bytes()
    record = graph.with_name("quantization.json")
    if damage == "cut graph":
        graph.write_bytes(expected[:-10])
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text("{")
    assert current(folder) is None
    assert quantize(folder, PIXELS).read_bytes() == expected


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from clipsieve.encoders.quantize import quantize
def check(graph):
    os.kill(os.getpid(), signal.SIGKILL)
quantize(Path(sys.argv[1]), np.zeros((32, 8, 8, 3), dtype=np.uint8), check=check)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_that_passes_for_whole(tmp_path, home):
    folder = make_onnx_folder(tmp_path / "model")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -9
    assert any(path.is_dir() for path in (home / "int8").iterdir())
    assert current(folder) is None
    graph = quantize(folder, PIXELS)
    name = graph.parent.parent.name
    assert sorted(path.name for path in (home / "int8").iterdir()) == [name, f"{name}.lock"]
    assert sorted(path.name for path in graph.parent.parent.iterdir()) == [graph.parent.name, "current.json"]


MADE = """
import sys, time
from pathlib import Path
import numpy as np
from clipsieve.encoders.quantize import quantize
def check(graph):
    print("made", flush=True)
    time.sleep(0.5)
print(quantize(Path(sys.argv[1]), np.zeros((32, 8, 8, 3), dtype=np.uint8), check=check))
"""


@pytest.mark.slow
def test_two_processes_at_once_make_it_once(tmp_path):
    folder = make_onnx_folder(tmp_path / "model")
    command = [sys.executable, "-c", MADE, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0].split() for process in both)
    graph = str(current(folder))
    assert said == [[graph], ["made", graph]]


def test_a_damaged_graph_is_named(tmp_path):
    folder = make_onnx_folder(tmp_path / "model")
    (folder / "visual/model.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ModelFileError, match=r"cannot quantize the graph `.*visual/model\.onnx`"):
        quantize(folder, PIXELS)


def test_a_graph_without_products_is_refused(tmp_path):
    folder = make_onnx_folder(tmp_path / "model")
    graph = onnx.load(folder / "visual/model.onnx")
    del graph.graph.node[2:], graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, None))
    onnx.save(graph, folder / "visual/model.onnx")
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantize(folder, PIXELS)


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(UsageError, match="calibrate"):
        quantize(make_onnx_folder(tmp_path / "model"), np.zeros((32, 9, 9, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "onnx"}, "`--backend onnx` has no int8"),
        ({"backend": "torch"}, "`--backend torch` has no int8"),
        ({"device": "cuda"}, "no int8 on `cuda`"),
        ({"device": "cuda:0,cuda:1"}, "no int8 on `cuda:0,cuda:1`"),
    ],
)
def test_what_does_not_go_with_int8_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        module.require_int8(**options)


@pytest.mark.parametrize("missing", ["openvino", "onnx"])
def test_what_is_not_installed_is_said_before_anything_is_made(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match="not installed") as caught:
        module.require_int8()
    assert "clipsieve[openvino]" in str(caught.value)
