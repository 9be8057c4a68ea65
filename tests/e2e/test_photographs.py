"""The main job on real photographs, with a random model of the true ViT-B/32 image tower.

The photographs are not part of the project. The test finds them in `$CLIPSIEVE_TEST_DATA/photos` (any folder of JPEGs).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

DATA = Path(os.environ.get("CLIPSIEVE_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        not (DATA / "photos").is_dir(),
        reason="needs photographs: set CLIPSIEVE_TEST_DATA to a folder that holds `photos` with some JPEGs",
    ),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder with the image tower of ViT-B/32 and a short text tower, all weights random."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    path = tmp_path_factory.mktemp("models") / "random-vit-b-32"
    torch.manual_seed(0)
    config = CLIPConfig(text_config={"num_hidden_layers": 1, "eos_token_id": 2}, vision_config={"patch_size": 32})
    CLIPModel(config).save_pretrained(path)
    CLIPImageProcessorPil().save_pretrained(path)
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1} | {chr(c): c for c in range(32, 127)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<|endoftext|>"}))
    return path


def clipsieve(*args: object) -> str:
    command = [sys.executable, "-m", "clipsieve", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_photographs_end_as_one_row_each_in_both_backends(model: Path, tmp_path: Path) -> None:
    clipsieve("models", "export", model, tmp_path / "onnx")
    photographs = sorted(p.name for p in (DATA / "photos").iterdir() if p.suffix.lower() in (".jpg", ".jpeg"))
    found = {}
    for backend, folder in (("onnx", tmp_path / "onnx"), ("torch", model)):
        run = tmp_path / f"run-{backend}"
        report = json.loads(clipsieve("scan", DATA / "photos", "-o", run, "--model", folder, "--json"))
        assert report["n_scanned"] + report["n_failed"] == report["n_listed"] == len(photographs)
        found[backend] = pl.read_parquet(run / "images" / "*.parquet")
        assert found[backend]["image_id"].to_list() == photographs
        assert found[backend]["embedding"].null_count() == 0
    onnx, torch = (found[backend]["embedding"].to_numpy().astype("float32") for backend in ("onnx", "torch"))
    assert ((onnx * torch).sum(axis=1) > 0.999).all()  # float16 in the store leaves three digits
    clipsieve("score", tmp_path / "run-onnx", "-c", "positive-negative")
    summary = json.loads(clipsieve("summary", tmp_path / "run-onnx", "--json"))
    assert summary["n_scanned"] == len(photographs)
