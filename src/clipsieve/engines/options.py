"""What a scan is told beside its source and encoder."""

from __future__ import annotations

from dataclasses import dataclass, field

from clipsieve.errors import UsageError
from clipsieve.images import BlockList, DecodeLimits

__all__ = ["MaxFailures", "ScanOptions"]


@dataclass(frozen=True, slots=True)
class MaxFailures:
    """How many failed images are too many: a count, or a fraction of the images listed."""

    count: int | None = None
    fraction: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> MaxFailures:
        """Read `25` or `1.5%`; None means that any number is fine.

        Raises
        ------
        UsageError
            If it is neither, negative, or more than 100 %.
        """
        if text is None:
            return cls()
        try:
            if text.endswith("%"):
                fraction = float(text.removesuffix("%")) / 100
                if 0 <= fraction <= 1:
                    return cls(fraction=fraction)
            elif (count := int(text)) >= 0:
                return cls(count=count)
        except ValueError:
            pass
        raise UsageError(
            "cannot read the number of allowed failures",
            expected="a count such as `25` or a share such as `1%`",
            found=f"`{text}`",
        )

    def __str__(self) -> str:
        """Return it as a person would write it."""
        if self.fraction is not None:
            return f"{100 * self.fraction:g} %"
        return "any number" if self.count is None else f"{self.count:,}"

    def allows(self, n_failed: int, n_images: int) -> bool:
        """Return whether that many failures among all listed images are still allowed."""
        if self.count is not None:
            return n_failed <= self.count
        return self.fraction is None or n_failed <= self.fraction * n_images


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What decides the rows of a run, beside its source and encoder.

    Attributes
    ----------
    part_size : int
        The most images in a part, >= 1.
    limits : DecodeLimits
        What an image may cost.
    block_list : BlockList
        Images that are recorded as blocked and never opened.
    max_failures : MaxFailures
        When to give up. Decides no row, only whether the scan goes on.
    exact : bool
        Whether images are decoded bit for bit as the encoder's reference does it, which costs several times as much for
        large JPEGs.
    """

    part_size: int = 1000
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    block_list: BlockList = field(default_factory=BlockList)
    max_failures: MaxFailures = field(default_factory=MaxFailures)
    exact: bool = False
