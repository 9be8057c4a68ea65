"""From rows of a run to what the page shows of them; every text is made legible here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clipsieve.legible import as_text
from clipsieve.review.catalog import Catalog, Described
from clipsieve.review.pictures import Pictures
from clipsieve.review.records import MAX_NOTE_CHARS, Choice, CurrentVerdict, Item
from clipsieve.review.standing import Standing
from clipsieve.review.vectors import VectorIndex

__all__ = ["item_json", "show"]

MAX_NAME, MAX_CAPTION = 120, 400


def show(
    rows: Sequence[int],
    annotator: str,
    *,
    catalog: Catalog,
    standing: Standing,
    pictures: Pictures,
    index: VectorIndex | None,
    is_blind: bool = False,
    is_adjudication: bool = False,
) -> list[Item]:
    """Return what a person may see of some images.

    Parameters
    ----------
    rows : sequence of int
        Of the run.
    annotator : str
        Who looks.
    catalog, standing, pictures, index
        Of the review; without an index there are no concepts.
    is_blind : bool, default=False
        Whether scores and concepts stay hidden: in a random audit they would sway.
    is_adjudication : bool, default=False
        Whether it is shown what the reviewers have said.
    """
    items = [
        _item(described, catalog, pictures, index, is_blind=is_blind)
        for described in catalog.describe([int(row) for row in rows])
    ]
    with standing.lock:
        return [_with_verdicts(item, annotator, standing, is_adjudication=is_adjudication) for item in items]


def _item(
    described: Described, catalog: Catalog, pictures: Pictures, index: VectorIndex | None, *, is_blind: bool
) -> Item:
    row = described.row
    image_id, sha256, why = catalog.image_id(row), catalog.sha256(row), pictures.why_not(row)
    score = float(catalog.probability[row]) if catalog.is_seen[row] and not is_blind else None
    code = int(index.concept_codes[row]) if index is not None and not is_blind else -1
    can_show = why is None and sha256 is not None
    return Item(
        row=row,
        image_id=image_id,
        sha256=sha256,
        name=as_text(image_id, MAX_NAME),
        label=_legible(described.label, MAX_NAME),
        caption=_legible(described.caption, MAX_CAPTION),
        classifier=None if score is None else catalog.scores_name,
        concept=index.concepts[code] if index is not None and code >= 0 else None,
        score=score,
        is_flagged=None if score is None else bool(catalog.is_flagged[row]),
        picture=f"/images/{row}/{sha256[:16]}" if can_show and sha256 else None,
        why_no_picture=None if can_show else (why or "nobody knows what its file held when it was scanned"),
    )


def _legible(text: str | None, max_chars: int) -> str | None:
    return as_text(text, max_chars) if text else None


def _with_verdicts(item: Item, annotator: str, standing: Standing, *, is_adjudication: bool) -> Item:
    current: CurrentVerdict | None = standing.board.current(item.image_id)
    if current is None:
        return item
    voices: tuple[tuple[str, str, str], ...] = ()
    if is_adjudication:
        voices = tuple(
            (as_text(row.annotator), row.choice.value, as_text(row.note, MAX_NOTE_CHARS))
            for row in standing.board.voices(item.image_id)
        )
    mine: Choice | None = current.by_annotator.get(annotator)
    return replace(item, mine=mine, voices=voices)


def item_json(item: Item) -> dict[str, Any]:
    """Return an item as plain JSON."""
    facts = {name: getattr(item, name) for name in item.__slots__}
    return facts | {"mine": item.mine.value if item.mine else None, "voices": [list(voice) for voice in item.voices]}
