"""The random samples that people judge to learn how much a run holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from clipsieve.engines.verdicts import SampledImage
from clipsieve.review.ledger.database import Database
from clipsieve.review.ledger.tables import sampled_images, samples
from clipsieve.review.ledger.texts import restored, stored

__all__ = ["Sample", "Samples"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample.

    Attributes
    ----------
    images : tuple of SampledImage
        In the order in which they were drawn.
    scores_name : str
        The scores by which it was stratified.
    made : datetime
        UTC.
    """

    images: tuple[SampledImage, ...]
    scores_name: str
    made: datetime


class Samples:
    """The samples of one run.

    Parameters
    ----------
    database : Database
        With the newest schema.
    run_key : str
        Which run.
    """

    def __init__(self, database: Database, run_key: str) -> None:
        self._database = database
        self._run_key = run_key

    def save(self, images: Sequence[SampledImage], scores_name: str, made: datetime) -> None:
        """Keep a sample; it becomes the newest, and older ones stay.

        Parameters
        ----------
        images : sequence of SampledImage
            In the order in which they are to be judged.
        scores_name : str
            The scores by which it was stratified.
        made : datetime
            When it was drawn, with a zone.
        """
        with self._database.writing(f"samples of {self._run_key}") as connection:
            head = {"run_key": self._run_key, "scores_name": stored(scores_name), "made": made}
            sample_id = connection.scalar(sa.insert(samples).values(head).returning(samples.c.sample_id))
            rows = [
                {
                    "sample_id": sample_id,
                    "position": position,
                    "image_id": stored(image.image_id),
                    "uri": stored(image.uri),
                    "stratum": image.stratum,
                    "stratum_size": image.stratum_size,
                    "flagged": image.flagged,
                }
                for position, image in enumerate(images)
            ]
            if rows:
                connection.execute(sa.insert(sampled_images), rows)

    def load(self) -> tuple[SampledImage, ...]:
        """Return the images of the newest sample, in order; none where none was saved."""
        newest = self.newest()
        return () if newest is None else newest.images

    def newest(self) -> Sample | None:
        """Return the sample that was saved last, if there is one."""
        heads = sa.select(samples).where(samples.c.run_key == self._run_key).order_by(samples.c.sample_id.desc())
        with self._database.reading() as connection:
            head = connection.execute(heads.limit(1)).one_or_none()
            if head is None:
                return None
            query = sa.select(sampled_images).where(sampled_images.c.sample_id == head.sample_id)
            images = tuple(
                SampledImage(restored(row.image_id), restored(row.uri), row.stratum, row.stratum_size, row.flagged)
                for row in connection.execute(query.order_by(sampled_images.c.position))
            )
        return Sample(images, restored(head.scores_name), head.made)
