"""Context vectors in front of a class name, learned through the frozen text tower.

With `torch.py` the only module that imports torch; it needs the torch extra.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32

from clipsieve.encoders.base import Encoder
from clipsieve.encoders.context_data import check_data, check_options, image_weights
from clipsieve.encoders.prompt_frame import PromptFrame
from clipsieve.encoders.torch import TorchEncoder, text_features
from clipsieve.errors import UsageError

__all__ = ["ContextPrompts", "learn_context"]

INIT_STD = 0.02
WARMUP_LR = 1e-5
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4  # not in the paper: the defaults of the library that its code trains with


@dataclass(frozen=True, slots=True, eq=False)
class ContextPrompts:
    """Classes whose context was learned.

    Attributes
    ----------
    class_embeddings : float32 array of shape (k, d)
        Unit-norm rows: all that scoring needs, without the text tower.
    context : float32 array of shape (m, w), or (k, m, w) if class-specific
        The vectors themselves, in the text tower's space of token embeddings.
    losses : tuple of float
        The mean training loss of each epoch, while it ran.
    provenance : dict
        How it was made, as JSON.
    """

    class_embeddings: Float32[np.ndarray, "k d"]
    context: Float32[np.ndarray, "*k m w"]
    losses: tuple[float, ...]
    provenance: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Schedule:
    epochs: int
    lr: float
    batch_size: int

    def rate(self, epoch: int) -> float:
        if epoch == 0 and self.epochs > 1:
            return min(WARMUP_LR, self.lr)
        return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@dataclass(frozen=True, slots=True)
class _Data:
    embeddings: torch.Tensor
    allowed: torch.Tensor
    weights: torch.Tensor

    def batches(self, size: int, shuffle: torch.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
        for rows in torch.split(torch.randperm(len(self.weights), generator=shuffle), size):
            yield self.embeddings[rows], self.allowed[rows], self.weights[rows]


def learn_context(
    encoder: Encoder,
    image_embeddings: Float32[np.ndarray, "n d"],
    targets: Bool[np.ndarray, "n k"],
    class_names: Sequence[str],
    *,
    n_context: int = 16,
    init_text: str | None = None,
    class_specific: bool = False,
    epochs: int = 50,
    lr: float = 0.002,
    batch_size: int = 32,
    balanced: bool = False,
    seed: int = 0,
) -> ContextPrompts:
    """Learn the vectors V in `[V]_1 ... [V]_M [CLASS].` through the frozen text tower.

    A class's embedding is what the text tower makes of that sequence (Zhou et al. 2022, arXiv:2109.01134, section 3.2,
    equations 2 and 3). The loss of an image is -log of the summed probability of its allowed classes, where probabilities
    are the softmax of logit scale times cosine; with one allowed class, the paper's cross-entropy. SGD with a cosine-annealed
    learning rate, 1e-5 in the first of several epochs (section 4.1, "Training Details").

    No image is opened: each step is one pass of k texts through the text tower and back.

    Parameters
    ----------
    encoder : TorchEncoder
        CLIP or SigLIP, with weights in fp32. They stay as they are.
    image_embeddings : float32 array of shape (n, d)
        Unit-norm rows by the same encoder. n >= 1.
    targets : bool array of shape (n, k)
        The classes that are right for each image: at least one, and not all.
    class_names : sequence of str
        k >= 2 distinct names, as they stand in the sentence.
    n_context : int, default=16
        M, >= 1; `init_text` sets it to its own number of tokens.
    init_text : str, optional
        Where the vectors start: "a photo of a". Without it they are drawn from N(0, 0.02 squared).
    class_specific : bool, default=False
        Whether each class learns vectors of its own.
    epochs : int, default=50
        Passes over the images, >= 0; 0 leaves the start. The paper: 50 for 1 image a class, 100 for 2 and 4, 200 for more.
    lr : float, default=0.002
        The learning rate that annealing starts from, > 0.
    batch_size : int, default=32
        Images in a step, >= 1.
    balanced : bool, default=False
        Whether each set of allowed classes counts as much as any other, however many images have it.
    seed : int, default=0
        Of the start and of the order of images. On a CPU, the same seed gives the same result.

    Returns
    -------
    ContextPrompts
        The class embeddings, the vectors, and how they were made.

    Raises
    ------
    UsageError
        If the encoder does not run on torch in fp32, targets or options make no sense, a class name does not fit into the
        context window behind the vectors, or these do not stay finite.
    EmbeddingError
        If the image embeddings have another width than the encoder, or are not unit norm.
    """
    encoder = _check_encoder(encoder)
    check_data(encoder.folder.embedding_dim, image_embeddings, targets, class_names)
    check_options(n_context, epochs, lr, batch_size)
    frame = PromptFrame.of(encoder.folder.tokenizer)
    init_ids = None if init_text is None else frame.words(init_text)
    n_context = n_context if init_ids is None else len(init_ids)
    random = torch.Generator().manual_seed(seed)
    tower = _Tower.of(encoder, frame, frame.prompt_ids(class_names, n_context))
    context = tower.start(init_ids, (len(class_names),) * class_specific + (n_context,), random)
    data = _Data(*map(torch.tensor, (image_embeddings, targets, image_weights(targets, balanced=balanced))))
    losses = _train(tower, context, data, _Schedule(epochs, lr, batch_size), random)
    return ContextPrompts(
        class_embeddings=tower.embed(context).detach().cpu().numpy(),
        context=context.detach().cpu().numpy(),
        losses=tuple(losses),
        provenance={
            "method": "context",
            "class_names": list(class_names),
            "n_context": n_context,
            "init_text": init_text,
            "class_specific": class_specific,
            "epochs": epochs,
            "lr": lr,
            "batch_size": batch_size,
            "balanced": balanced,
            "seed": seed,
            "n_images": len(targets),
            "final_loss": losses[-1] if losses else None,
        },
    )


@dataclass(frozen=True, slots=True)
class _Tower:
    """The text tower with a place for context vectors in each of k sentences."""

    model: Any
    ids: torch.Tensor
    first: int
    logit_scale: float

    @classmethod
    def of(cls, encoder: TorchEncoder, frame: PromptFrame, ids: Int32[np.ndarray, "k context"]) -> _Tower:
        model: Any = encoder.model
        if model.config.model_type == "clip":  # looks back only, and reads the end token: what follows it is idle work
            idle = (ids == frame.empty[-1]).all(axis=0)
            ids = ids[:, : int(np.flatnonzero(~idle)[-1]) + 2]
        return cls(model, torch.tensor(ids, device=model.device), frame.start, encoder.logit_scale)

    @property
    def token_embedding(self) -> torch.nn.Embedding:
        layer: torch.nn.Embedding = self.model.text_model.embeddings.token_embedding
        return layer

    def start(
        self, init_ids: Int32[np.ndarray, "m"] | None, shape: tuple[int, ...], random: torch.Generator
    ) -> torch.Tensor:
        """Return the context before training, as the leaf that is trained."""
        table = self.token_embedding.weight
        if init_ids is None:
            start = INIT_STD * torch.randn(*shape, table.shape[1], generator=random)
        else:
            start = table[torch.tensor(init_ids, device=table.device)].expand(*shape, -1)
        return start.to(table.device).clone().requires_grad_()

    def embed(self, context: torch.Tensor) -> torch.Tensor:
        """Return the unit-norm embedding of each class, differentiable by the context."""
        with torch.enable_grad(), self._in_place(context):
            features = text_features(self.model, self.ids)
        return torch.nn.functional.normalize(features, dim=1)

    @contextlib.contextmanager
    def _in_place(self, context: torch.Tensor) -> Iterator[None]:
        """Let the token embedding give the context where it stands; the towers themselves take ids alone."""

        def put(_layer: object, _ids: object, rows: torch.Tensor) -> torch.Tensor:
            middle = context.expand(len(rows), -1, -1)
            return torch.cat([rows[:, : self.first], middle, rows[:, self.first + middle.shape[1] :]], dim=1)

        handle = self.token_embedding.register_forward_hook(put)
        try:
            yield
        finally:
            handle.remove()


def _train(
    tower: _Tower, context: torch.Tensor, data: _Data, schedule: _Schedule, shuffle: torch.Generator
) -> list[float]:
    """Change the context in place; return the mean loss of each epoch."""
    optimizer = torch.optim.SGD([context], lr=schedule.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    losses = []
    for epoch in range(schedule.epochs):
        optimizer.param_groups[0]["lr"] = schedule.rate(epoch)
        total = sum(_step(tower, context, optimizer, *batch) for batch in data.batches(schedule.batch_size, shuffle))
        losses.append(total / float(data.weights.sum()))
        if not (math.isfinite(losses[-1]) and context.isfinite().all()):
            raise UsageError(
                "the context vectors are no longer finite",
                found=f"a loss of {losses[-1]} in epoch {epoch + 1}",
                hint="take a lower learning rate",
            )
    return losses


def _step(
    tower: _Tower,
    context: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    embeddings: torch.Tensor,
    allowed: torch.Tensor,
    weights: torch.Tensor,
) -> float:
    """Return the weighted sum of the batch's losses, before the step."""
    device = context.device
    logits = tower.logit_scale * embeddings.to(device) @ tower.embed(context).T
    right = logits.log_softmax(dim=1).masked_fill(~allowed.to(device), -torch.inf).logsumexp(dim=1)
    loss = -(weights.to(device) * right).sum()
    optimizer.zero_grad()
    torch.autograd.backward(loss / weights.sum())
    optimizer.step()
    return loss.detach().item()


def _check_encoder(encoder: Encoder) -> TorchEncoder:
    if not isinstance(encoder, TorchEncoder):
        raise UsageError(
            "context vectors are learned through the text tower, and this encoder cannot be differentiated",
            expected="a CLIP or SigLIP model on the torch backend",
            found=type(encoder).__name__,
            hint="scan with a model that transformers saved (`clipsieve scan --backend torch`), or choose another `--method`",
        )
    dtype = next(encoder.model.parameters()).dtype
    if dtype != torch.float32:
        raise UsageError(
            "context vectors are learned with weights in fp32: small gradients vanish in less",
            expected="--precision fp32",
            found=str(dtype).removeprefix("torch."),
        )
    return encoder
