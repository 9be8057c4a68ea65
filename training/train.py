"""Train the two towers: pictures and captions in, one checkpoint out; deterministic by seed up to floating point."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from batches import Batch, Batches, caption_matches
from captions import Captioner, affect_phrase
from losses import affect_loss, contrastive_loss, which_loss
from model import EMBED_DIM, ImageTower, TextTower, n_parameters
from probe import Probe
from tokens import CONTEXT, encode_tokens, learn_tokenizer

__all__ = ["MEAN", "SIDE_PX", "STD", "Trainer", "main"]

MEAN, STD = 0.5, 0.25
SIDE_PX, SMALL_SIDE_PX = 48, 32
BATCH, LEARNING_RATE, WEIGHT_DECAY = 320, 1.5e-3, 0.05
P_AFFECT, N_PHRASES = 0.2, 12
SHORT_TEXT = 12
# The order in which a step's phrases are drawn and embedded.
_PHRASES = (("valence", -1), ("valence", 1), ("moral", -1), ("moral", 1))


class Trainer:
    """Both towers, the tokenizer and the optimizer of one run; `rng` decides pictures, captions and augmentation."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.captioner = Captioner()
        self.tokenizer = learn_tokenizer(self.captioner.corpus(seed))
        self.images = ImageTower().to(memory_format=torch.channels_last)
        self.texts = TextTower(self.tokenizer.get_vocab_size(), CONTEXT)
        self.prototypes = torch.nn.Parameter(torch.randn(len(self.captioner.table), EMBED_DIM))
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(14.0)))
        self.optimizer = self._build_optimizer()
        self.rng = np.random.default_rng([seed, 1])

    def _build_optimizer(self) -> torch.optim.AdamW:
        weights = [p for tower in (self.images, self.texts) for p in tower.parameters()]
        groups = [
            {"params": [p for p in weights if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [*(p for p in weights if p.ndim < 2), self.prototypes, self.log_scale], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))

    def embed_images(self, pixels: np.ndarray) -> Tensor:
        """Return unit-norm rows for uint8 pictures (n, s, s, 3)."""
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255).sub_(MEAN).div_(STD)
        return functional.normalize(self.images(x.contiguous(memory_format=torch.channels_last)), dim=1)

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Return unit-norm rows for texts; the short ones apart, which saves half of their time and changes nothing."""
        ids = encode_tokens(self.tokenizer, texts)
        order = (ids != 0).sum(1).argsort(stable=True)
        n_short = int((ids != 0).sum(1).le(SHORT_TEXT).sum())
        parts = [self.texts(part) for part in (ids[order[:n_short], :SHORT_TEXT], ids[order[n_short:]]) if len(part)]
        return functional.normalize(torch.cat(parts)[order.argsort()], dim=1)

    def augment(self, pixels: np.ndarray) -> np.ndarray:
        """Return the pictures with brightness, contrast and noise changed a little."""
        n, rng = len(pixels), self.rng
        gain = rng.uniform(0.8, 1.15, (n, 1, 1, 3)).astype(np.float32)
        shift = rng.uniform(-25, 25, (n, 1, 1, 1)).astype(np.float32)
        noise = rng.standard_normal(pixels.shape, dtype=np.float32)
        noise *= rng.uniform(0, 8, (n, 1, 1, 1)).astype(np.float32)
        return np.clip((pixels - 128.0) * gain + 128 + shift + noise, 0, 255).astype(np.uint8)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of one batch by name."""
        phrases = [affect_phrase(self.rng, *which) for which in _PHRASES for _ in range(N_PHRASES)]
        texts = self.embed_texts([caption.text for caption in batch.captions] + phrases)
        images = self.embed_images(self.augment(batch.pixels))
        n, scale = len(images), self.log_scale.exp().clamp(max=100)
        matches = caption_matches(batch.captions, self.captioner.holds, batch.members, batch.signs)
        prototypes = functional.normalize(self.prototypes, dim=1)
        named = torch.from_numpy(self.captioner.named(batch.captions))
        banks, signs = texts[n:].view(len(_PHRASES), N_PHRASES, -1), torch.from_numpy(batch.signs)
        return {
            "contrast": contrastive_loss(scale * images @ texts[:n].T, torch.from_numpy(matches.T.copy())),
            "image": which_loss(20 * images @ prototypes.T, torch.from_numpy(batch.members)),
            "text": which_loss(20 * texts[:n] @ prototypes.T, named),
            "affect": affect_loss(images, banks[0], banks[1], signs[:, 0], scale)
            + affect_loss(images, banks[2], banks[3], signs[:, 1], scale),
        }

    def step(self, batch: Batch, done: float, warm: float) -> dict[str, float]:
        """Take one step of AdamW: cosine decay over the share `done` of the run after a warm-up; return the losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(warm, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        losses, fade = self.losses(batch), max(0.1, 1 - 1.2 * done)
        total = losses["contrast"] + fade * (losses["image"] + losses["text"]) + 0.25 * losses["affect"]
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 2.0)
        self.optimizer.step()
        return {name: round(float(loss.detach()), 3) for name, loss in losses.items()}

    def measure(self, probe: Probe) -> dict[str, float]:
        """Return the figures on reserved compositions."""
        self.images.eval(), self.texts.eval()
        figures = probe.measure(self.embed_images, self.embed_texts)
        self.images.train(), self.texts.train()
        return figures

    def save(self, path: Path, **facts: object) -> None:
        """Write the checkpoint, whole or not at all."""
        towers = {"images": self.images.state_dict(), "texts": self.texts.state_dict()}
        state = {**towers, "log_scale": self.log_scale.detach(), "tokenizer": self.tokenizer.to_str(), **facts}
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)


def _log(path: Path, row: dict[str, object]) -> None:
    line = json.dumps(row)
    print(line, flush=True)
    with path.open("a") as file:
        file.write(line + "\n")


def run(trainer: Trainer, seed: int, steps: int, small_share: float, probe_every: int, out_dir: Path) -> None:
    """Train: the first share of the steps at 32 px, the rest at 48 px; log losses and, at times, figures."""
    out_dir.mkdir(parents=True, exist_ok=True)
    log_path, n_small = out_dir / f"log-{seed}.jsonl", round(steps * small_share)
    probe = Probe(SIDE_PX)
    batches = Batches(trainer.rng, trainer.captioner, SMALL_SIDE_PX if n_small else SIDE_PX)
    sizes = {"image_parameters": n_parameters(trainer.images), "text_parameters": n_parameters(trainer.texts)}
    _log(log_path, {**sizes, "steps": steps})
    begun = time.perf_counter()
    for step in range(1, steps + 1):
        if step == n_small + 1 and n_small:
            batches = Batches(trainer.rng, trainer.captioner, SIDE_PX)
        losses = trainer.step(batches.next(BATCH, P_AFFECT), step / steps, step / 200)
        if step % 50 == 0 or step == 1:
            elapsed = time.perf_counter() - begun
            facts = {"s": round(elapsed), "images_per_s": round(step * BATCH / elapsed), "side": batches.side_px}
            scale = round(float(trainer.log_scale.detach().exp()), 1)
            _log(log_path, {"step": step, **facts, "scale": scale, **losses})
        if step % probe_every == 0 or step == steps:
            figures = trainer.measure(probe)
            _log(log_path, {"step": step, **figures})
            trainer.save(out_dir / f"checkpoint-{seed}.pt", step=step, figures=figures)


def main() -> None:
    """Train one seed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--small-share", type=float, default=0.6)
    parser.add_argument("--probe-every", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out-dir", type=Path, default=Path(__file__).parent / "runs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run(Trainer(args.seed), args.seed, args.steps, args.small_share, args.probe_every, args.out_dir)


if __name__ == "__main__":
    main()
