"""One decision for each input of a run: by the machine's thresholds, by people's verdicts, by the block list."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt8

from clipsieve.engines.score_facts import ScoreFacts, chosen_scores, read_score_facts
from clipsieve.engines.verdict_files import ImageVerdicts, check_known
from clipsieve.errors import UsageError
from clipsieve.evaluation.operating_points import Decision, decide
from clipsieve.store import Run
from clipsieve.types import FailureCode

if TYPE_CHECKING:
    from clipsieve.engines.verdict_files import ImageVerdict

__all__ = ["DecidedPart", "Decider", "Decision", "Policy", "Reason"]


class Policy(enum.StrEnum):
    """Who may decide without whom.

    In each of them a verdict outdoes the machine, and the block list outdoes a verdict. A verdict to remove an image holds for
    every image with the same content that has none of its own. In a run with a block list, what could not be hashed is
    removed: nobody knows whether it is on the list.

    - `thresholds`: the machine keeps what is not flagged and removes from the removal threshold on; what lies between is for
      people.
    - `flagged`: the machine removes whatever it flags.
    - `verdicts`: the machine keeps what is not flagged and removes nothing; what it flags is for people.
    """

    THRESHOLDS = "thresholds"
    FLAGGED = "flagged"
    VERDICTS = "verdicts"


class Reason(enum.StrEnum):
    """Why an image was decided as it was: a closed list, described in `docs/guides/export.md`."""

    NOT_FLAGGED = "not flagged"
    FLAGGED = "flagged"
    ABOVE_REMOVAL = "at or above the removal threshold"
    VERDICT = "verdict"
    VERDICTS_DIFFER = "verdicts differ, or somebody was unsure"
    TWIN = "verdict on an image with the same content"
    BLOCKED = "on the block list"
    NOT_COMPARED = "could not be compared with the block list"
    NOT_SEEN = "could not be read"
    COMPANION = "belongs to an image with this decision"


@dataclass(frozen=True, slots=True)
class DecidedPart:
    """The decisions on the inputs of one part of a run.

    Attributes
    ----------
    index : int
        Of the part.
    images : pyarrow.Table
        The part's rows with the columns that were asked for, `image_id` among them, in order.
    probability : float32 array with nulls
        Of the unwanted class; null without an embedding.
    codes : uint8 array of shape (n,)
        Of `Decision`; what nobody has decided is REVIEW.
    reasons : list of Reason
        Why.
    annotators : list of str or None
        Who, where people decided; empty text where they are not named.
    """

    index: int
    images: pa.Table
    probability: pa.ChunkedArray
    codes: UInt8[np.ndarray, "n"]
    reasons: list[Reason]
    annotators: list[str | None]

    @property
    def n_judged(self) -> int:
        """How many of the inputs people have said something of."""
        return sum(name is not None for name in self.annotators)


class Decider:
    """Decides on every input of a run.

    Parameters
    ----------
    run : Run
        With scores, unless the policy is to be used with verdicts alone and every image has one.
    policy : Policy
        Who may decide without whom.
    scores_name : str, optional
        By default the only ones there are.
    verdicts : ImageVerdicts, optional
        What people have said.

    Raises
    ------
    UsageError
        If no scores were named and there is not exactly one, or there is nothing that a policy of verdicts could go by.
    RunNotFoundError, RunCorruptError
        If the scores are not there, or are damaged.
    """

    def __init__(
        self,
        run: Run,
        policy: Policy = Policy.THRESHOLDS,
        scores_name: str | None = None,
        verdicts: ImageVerdicts | None = None,
    ) -> None:
        self.run = run
        self.policy = policy
        self.scores_name = chosen_scores(run, scores_name)
        self.facts: ScoreFacts = read_score_facts(run, self.scores_name)
        self.verdicts = verdicts
        if policy is Policy.VERDICTS and verdicts is None:
            raise UsageError("the policy `verdicts` needs verdicts", hint="name their file with `--verdicts`")

    def __iter__(self) -> Iterator[DecidedPart]:
        """Yield the parts in order, with all columns but the embedding; errors as for `Run.iter_scores`."""
        return self.parts(["uri", "sha256", "bytes", "label", "caption", "metadata", "failure_code"])

    def parts(self, columns: list[str]) -> Iterator[DecidedPart]:
        """Yield the parts in order, with some columns; UsageError at the end if a verdict is about no image of the run."""
        removed, n_found = self.removed_contents(), 0
        scored = self.run.iter_scores(self.scores_name, _with_needed(columns), ["probability"])
        for index, (images, scores) in enumerate(scored):
            part = self._decide(index, images, scores.column("probability"), removed)
            n_found += part.n_judged
            yield part
        self.check_judged(n_found)

    def part(self, index: int, columns: list[str], removed: pa.Array) -> DecidedPart:
        """Return one part alone, wherever this decider was sent to; `removed` is what `removed_contents` gave once for all.

        Raises
        ------
        RunCorruptError
            As for `Run.iter_scores`.
        """
        images, scores = self.run.read_scored(self.scores_name, index, _with_needed(columns), ["probability"])
        return self._decide(index, images, scores.column("probability"), removed)

    def check_judged(self, n_found: int) -> None:
        """Raise UsageError if a verdict is about no image of the run; `n_found` is the sum of `DecidedPart.n_judged`."""
        if self.verdicts is not None:
            check_known(self.verdicts, n_found)

    def removed_contents(self) -> pa.Array:
        """Return the hashes of the images that people want removed: their copies go with them. All parts are read for it."""
        found: set[str] = set()
        if self.verdicts is not None and any(verdict.unwanted for verdict in self.verdicts.by_image.values()):
            for images in self.run.iter_images(["image_id", "sha256"]):
                digests = images.column("sha256")
                found.update(str(digests[row]) for row, verdict in self._verdicts(images) if verdict.unwanted)
        return pa.array(found - {"None"}, pa.string())

    def _decide(self, index: int, images: pa.Table, probability: pa.ChunkedArray, twins: pa.Array) -> DecidedPart:
        codes, reasons = self._by_machine(images, probability)
        annotators: list[str | None] = [None] * images.num_rows
        digests = images.column("sha256")
        for row in np.flatnonzero(pc.is_in(digests, value_set=twins).to_numpy()).tolist() if len(twins) else []:
            codes[row], reasons[row] = Decision.REMOVE, Reason.TWIN
        for row, verdict in self._verdicts(images):
            annotators[row] = ", ".join(verdict.annotators)
            codes[row] = {None: Decision.REVIEW, False: Decision.KEEP, True: Decision.REMOVE}[verdict.unwanted]
            reasons[row] = Reason.VERDICTS_DIFFER if verdict.unwanted is None else Reason.VERDICT
        blocked = pc.equal(images.column("failure_code"), FailureCode.BLOCKED.value)
        for row in np.flatnonzero(pc.fill_null(blocked, False).to_numpy()).tolist():  # noqa: FBT003
            codes[row], reasons[row] = Decision.REMOVE, Reason.BLOCKED
        for row in np.flatnonzero(digests.is_null().to_numpy()).tolist() if self._has_block_list else []:
            codes[row], reasons[row] = Decision.REMOVE, Reason.NOT_COMPARED
        return DecidedPart(index, images, probability, codes, reasons, annotators)

    @property
    def _has_block_list(self) -> bool:
        return "hash_list" in self.run.manifest.options

    def _by_machine(
        self, images: pa.Table, probability: pa.ChunkedArray
    ) -> tuple[UInt8[np.ndarray, "n"], list[Reason]]:
        codes = np.full(images.num_rows, Decision.REVIEW, dtype=np.uint8)
        seen = probability.is_valid().to_numpy()
        remove = self.facts.threshold if self.policy is Policy.FLAGGED else self.facts.remove_threshold
        if self.policy is Policy.VERDICTS:
            remove = None
        # Compared in float32, as `score` does: a threshold is one of these numbers.
        values = probability.drop_null().to_numpy().astype(np.float64)
        low, high = float(np.float32(self.facts.threshold)), None if remove is None else float(np.float32(remove))
        codes[seen] = decide(values, low, high)
        flagged = Reason.FLAGGED if self.policy is not Policy.THRESHOLDS else Reason.ABOVE_REMOVAL
        words = np.array([Reason.NOT_FLAGGED, Reason.FLAGGED, flagged], dtype=object)  # at the codes of `Decision`
        return codes, np.where(seen, words[codes], np.array(Reason.NOT_SEEN, dtype=object)).tolist()

    def _verdicts(self, images: pa.Table) -> Iterator[tuple[int, ImageVerdict]]:
        """Yield the rows with a verdict; only these become Python objects."""
        if self.verdicts is None or not self.verdicts.by_image:
            return
        ids = pa.array(list(self.verdicts.by_image), pa.string())
        found = pc.is_in(images.column("image_id"), value_set=ids)
        for row in np.flatnonzero(found.to_numpy()):
            yield int(row), self.verdicts.by_image[images.column("image_id")[int(row)].as_py()]


def _with_needed(columns: list[str]) -> list[str]:
    return list(dict.fromkeys(["image_id", "failure_code", "sha256", *columns]))
