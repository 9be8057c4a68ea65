"""Verdicts as Label Studio exports them: one task for each image, one annotation for each verdict.

The format is "JSON" of Label Studio's export, https://labelstud.io/guide/task_format. What it has no place for stands in
each annotation under `clipsieve`, which Label Studio passes over.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from clipsieve.engines.verdicts import EXPECTED_VERDICTS, VERDICT_WORDS
from clipsieve.errors import UsageError
from clipsieve.review.records import Choice, VerdictRow
from clipsieve.review.verdict_csv import CHOICE_OF
from clipsieve.review.verdict_fields import id_from, row_from, texts_of

__all__ = ["OWN", "read_label_studio", "write_label_studio"]

OWN = "clipsieve"
SHOWN = 5


def write_label_studio(rows: Iterable[VerdictRow], uris: Mapping[str, str] | None = None) -> str:
    """Return rows as JSON; `read_label_studio` gives the same rows again.

    A row that was taken back, and the undo itself, are annotations with `was_cancelled`.

    Parameters
    ----------
    rows : iterable of VerdictRow
        In the order of writing.
    uris : mapping of str to str, optional
        By image id, where Label Studio finds an image; an id by default.
    """
    by_image: defaultdict[str, list[VerdictRow]] = defaultdict(list)
    undone: set[tuple[str, str, str | None]] = set()
    for row in rows:
        by_image[row.image_id].append(row)
        if row.choice is Choice.UNDO:
            undone.add((row.image_id, row.annotator, row.undoes))
    people = {name: n for n, name in enumerate(sorted({r.annotator for rs in by_image.values() for r in rs}), start=1)}
    tasks, number = [], 0
    for task, (image_id, said) in enumerate(by_image.items(), start=1):
        annotations = []
        for row in said:
            number += 1
            is_cancelled = row.choice is Choice.UNDO or (image_id, row.annotator, row.verdict_id) in undone
            annotations.append(_annotation(row, number, task, people[row.annotator], is_cancelled=is_cancelled))
        data = {"image": (uris or {}).get(image_id, image_id), "image_id": image_id, "sha256": said[-1].sha256}
        tasks.append({"id": task, "data": data, "annotations": annotations, "predictions": []})
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _annotation(row: VerdictRow, number: int, task: int, person: int, *, is_cancelled: bool) -> dict[str, Any]:
    made = row.made.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    email = row.annotator if "@" in row.annotator else ""
    return {
        "id": number,
        "unique_id": row.verdict_id,
        "task": task,
        "completed_by": {"id": person, "email": email, "first_name": row.annotator, "last_name": ""},
        "result": [] if row.choice is Choice.UNDO else _result(row),
        "was_cancelled": is_cancelled,
        "ground_truth": False,
        "created_at": made,
        "updated_at": made,
        "lead_time": row.duration_s,
        OWN: texts_of(row),
    }


def _result(row: VerdictRow) -> list[dict[str, Any]]:
    found = [_region(row, "verdict", "choices", {"choices": [row.choice.value]})]
    if row.concepts:
        found.append(_region(row, "concepts", "choices", {"choices": list(row.concepts)}))
    if row.note:
        found.append(_region(row, "note", "textarea", {"text": [row.note]}))
    return found


def _region(row: VerdictRow, name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    own = id_from(row.verdict_id, name)[:10]
    return {"id": own, "from_name": name, "to_name": "image", "type": kind, "origin": "manual", "value": value}


def read_label_studio(
    text: str, *, name: str, annotator: str | None = None, id_key: str | None = None
) -> list[VerdictRow]:
    """Return the verdicts in a file that Label Studio exported as JSON, or that `write_label_studio` wrote.

    An annotation says what its one known word says, in whichever `choices` it stands: see `VERDICT_WORDS`. Skipped annotations,
    and those without a choice, say nothing. The image is `data.image_id` or `data.id`.

    Parameters
    ----------
    text : str
        The file.
    name : str
        Of the file, for messages.
    annotator : str, optional
        Who said what the file names nobody for, or only by a number.
    id_key : str, optional
        Which entry of `data` holds the image's id instead.

    Raises
    ------
    UsageError
        If it is no such file, a task names no image, or choices say neither keep nor remove; says which.
    """
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"`{name}` is no JSON: {str(error)[:200]}") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UsageError(
            f"`{name}` is no export of Label Studio", expected="an array of tasks", hint="export it as `JSON`"
        )
    found: list[VerdictRow] = []
    unknown: list[str] = []
    for number, task in enumerate(tasks, start=1):
        for row in _read_task(task, f"`{name}`, task {number:,}", annotator, id_key):
            if isinstance(row, VerdictRow):
                found.append(row)
            else:
                unknown.append(row)
    if unknown:
        words = ", ".join(f"`{word[:40]}`" for word in list(dict.fromkeys(unknown))[:SHOWN])
        raise UsageError(
            f"{len(unknown):,} annotations in `{name}` say neither keep nor remove",
            expected=EXPECTED_VERDICTS,
            found=words,
            state="nothing was written",
        )
    return found


def _read_task(
    task: Mapping[str, Any], where: str, annotator: str | None, id_key: str | None
) -> Iterator[VerdictRow | str]:
    """Yield the verdicts of one task; a text where an annotation has choices and none of them is known."""
    data = task.get("data")
    annotations = task.get("annotations", task.get("completions", []))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise UsageError(f"{where}: it has no `data` or no `annotations`", hint="export it as `JSON`, not `JSON-MIN`")
    for annotation in annotations:
        if not isinstance(annotation, dict):
            raise UsageError(f"{where}: an annotation is no table")
        own = annotation.get(OWN)
        if own is not None:
            yield _own(own, where)
            continue
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        words = _words(annotation, where)
        if words:
            yield from _foreign(annotation, words, _image_id(data, where, id_key), where, annotator)


def _own(own: Any, where: str) -> VerdictRow:  # noqa: ANN401
    if not isinstance(own, dict) or not all(isinstance(value, str) for value in own.values()):
        raise UsageError(f"{where}: `{OWN}` is no table of texts")
    return row_from(own, where)


def _image_id(data: Mapping[str, Any], where: str, id_key: str | None) -> str:
    keys = (id_key,) if id_key is not None else ("image_id", "id")
    found = next((data[key] for key in keys if data.get(key) not in (None, "")), None)
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise UsageError(
            f"{where}: it does not say which image it is about",
            expected=" or ".join(f"`data.{key}`" for key in keys),
            found=", ".join(f"`{key[:40]}`" for key in list(data)[:SHOWN]) or "nothing",
            hint="name the entry that holds the image's id with `--id-key`",
        )
    return str(found)


def _words(annotation: Mapping[str, Any], where: str) -> list[str]:
    """Return all choices of an annotation, whatever they are about."""
    result = annotation.get("result", [])
    try:
        chosen = [region["value"]["choices"] for region in result if region.get("type") == "choices"]
        return [str(word) for words in chosen for word in words]
    except (AttributeError, KeyError, TypeError):
        raise UsageError(f"{where}: a result is not as Label Studio writes it", hint="export it as `JSON`") from None


def _foreign(
    annotation: Mapping[str, Any], words: list[str], image_id: str, where: str, annotator: str | None
) -> Iterator[VerdictRow | str]:
    known = {CHOICE_OF[VERDICT_WORDS[word.strip().lower()]] for word in words if word.strip().lower() in VERDICT_WORDS}
    if len(known) != 1:
        yield ", ".join(words)
        return
    choice, who = known.pop(), _who(annotation.get("completed_by"), annotator)
    if who is None:
        raise UsageError(f"{where}: it does not say who decided", hint="name them with `--annotator`")
    made = annotation.get("created_at") or annotation.get("updated_at") or datetime.now(UTC).isoformat()
    unique = annotation.get("unique_id")
    content = (image_id, who, choice.value, str(annotation.get("id")), str(annotation.get("created_at")))
    texts = {
        "verdict_id": unique if isinstance(unique, str) and unique else id_from("label-studio", *content),
        "image_id": image_id,
        "annotator": who,
        "choice": choice.value,
        "made": str(made),
        "note": _note(annotation),
        "queue": "import",
    }
    lead = annotation.get("lead_time")
    if isinstance(lead, int | float) and not isinstance(lead, bool) and math.isfinite(lead) and lead >= 0:
        texts["duration_s"] = repr(float(lead))
    yield row_from(texts, where)


def _who(person: object, annotator: str | None) -> str | None:
    """Return the name of whoever made an annotation: their e-mail address or name; a number names nobody."""
    if isinstance(person, dict):
        name = " ".join(str(person.get(key) or "") for key in ("first_name", "last_name")).strip()
        found = str(person.get("email") or "") or name
        if found:
            return found
        person = person.get("id")
    if annotator is not None or person is None or isinstance(person, bool):
        return annotator
    return f"label-studio-{person}" if isinstance(person, int) else str(person)


def _note(annotation: Mapping[str, Any]) -> str:
    texts = [region.get("value", {}).get("text") for region in annotation["result"] if region.get("type") == "textarea"]
    return "\n".join(str(line) for text in texts for line in (text if isinstance(text, list) else [text]) if line)
