"""The two towers: a convolution stem with one attention block for images, a small transformer for texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["EMBED_DIM", "ImageTower", "TextTower", "n_parameters"]

EMBED_DIM = 128


def n_parameters(module: nn.Module) -> int:
    """Return the number of trained numbers in a module."""
    return sum(p.numel() for p in module.parameters())


def _conv(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        nn.init.zeros_(self.second[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


class _Attention(nn.Module):
    """A pre-norm transformer block written with plain matrix products, so that it exports to few ONNX nodes."""

    def __init__(self, width: int, n_heads: int, ratio: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        n, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, length, 3, self.n_heads, width // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = q @ k.transpose(-2, -1) * (width // self.n_heads) ** -0.5
        if bias is not None:
            weights = weights + bias
        x = x + self.out((weights.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm2(x))


class ImageTower(nn.Module):
    """Image (n, 3, s, s), normalized, to feature (n, 128). Any side that 8 divides; shipped at 48."""

    def __init__(self, widths: tuple[int, int, int, int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(
            _conv(3, a, 2), _conv(a, a), _conv(a, b, 2), _Residual(b), _conv(b, c, 2), _Residual(c), _conv(c, d),
        )  # fmt: skip
        self.position = nn.Parameter(torch.zeros(1, d, 6, 6))
        self.block = _Attention(d, 4, 3)
        self.norm = nn.LayerNorm(2 * d)
        self.head = nn.Linear(2 * d, EMBED_DIM)

    def forward(self, image: Tensor) -> Tensor:
        """Return features, not normalized."""
        x = self.stem(image)
        position = self.position
        if not torch.jit.is_tracing() and x.shape[-1] != 6:
            position = nn.functional.interpolate(position, size=x.shape[-2:], mode="bilinear", align_corners=False)
        x = self.block((x + position).flatten(2).transpose(1, 2))
        return self.head(self.norm(torch.cat([x.mean(1), x.amax(1)], 1)))


class TextTower(nn.Module):
    """Token ids (n, context), padded with 0, to feature (n, 128): the mean over the tokens that are not padding."""

    def __init__(self, n_tokens: int, context: int, width: int = 128, n_layers: int = 3) -> None:
        super().__init__()
        self.token = nn.Embedding(n_tokens, width)
        self.position = nn.Parameter(torch.randn(1, context, width) * 0.02)
        self.blocks = nn.ModuleList([_Attention(width, 4, 4) for _ in range(n_layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, EMBED_DIM)
        nn.init.normal_(self.token.weight, std=0.05)

    def forward(self, text: Tensor) -> Tensor:
        """Return features, not normalized."""
        real = (text != 0).to(self.position.dtype)
        x = self.token(text) + self.position[:, : text.shape[1]]
        bias = (real - 1)[:, None, None, :] * 1e4
        for block in self.blocks:
            x = block(x, bias)
        mean = (self.norm(x) * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return self.head(mean)
