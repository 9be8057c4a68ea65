"""The index of a folder of images that torchvision's `ImageFolder` can be told to use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

import numpy as np
import pyarrow as pa
from jaxtyping import Int32

from clipsieve.errors import UsageError
from clipsieve.outputs.export.destination import Destination
from clipsieve.sources.names import legible

__all__ = ["write_folder_index"]

FILE_NAME = "index.json"


def write_folder_index(destination: Destination, rows: Iterable[pa.Table], classes: Sequence[str] | None = None) -> str:
    """Write `index.json` and return that name.

    It holds `classes`, sorted; `class_to_idx`; and `samples`, a pair of path and class number for each image, in order. Paths
    are relative to the folder that was scanned. To have torchvision use it, for a data set that was made of that folder::

        index = json.loads(Path("index.json").read_text(encoding="utf-8"))
        images.classes, images.class_to_idx = index["classes"], index["class_to_idx"]
        images.samples = images.imgs = [(f"{images.root}/{path}", number) for path, number in index["samples"]]
        images.targets = [number for _, number in images.samples]

    Parameters
    ----------
    destination : Destination
        Where to.
    rows : iterable of pyarrow.Table
        With the columns `image_id`, `uri` and `label`; their ids and 4 bytes are held for each row.
    classes : sequence of str, optional
        Classes that are counted too, whether an image has them or not.

    Raises
    ------
    UsageError
        If an image has no class, is no file of a folder, or lies in a path that is no UTF-8 and so can stand in no JSON;
        the list is not written.
    """
    index = _Index(classes or ())
    for table in rows:
        index.add(table)
    index.check()
    with destination.writer(FILE_NAME) as file:
        index.write(file)
    return FILE_NAME


class _Index:
    """Ids and classes of images, a few bytes each."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._numbers = {name: number for number, name in enumerate(dict.fromkeys(classes))}  # as they come, not sorted
        self._ids: list[pa.ChunkedArray] = []
        self._labels: list[Int32[np.ndarray, "n"]] = []
        self._faults: dict[str, tuple[int, str]] = {}

    def add(self, table: pa.Table) -> None:
        """Take in some images."""
        encoded = table.column("label").combine_chunks().dictionary_encode()
        known = [self._numbers.setdefault(name, len(self._numbers)) for name in encoded.dictionary.to_pylist()]
        places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._labels.append(np.array([*known, -1], dtype=np.int32)[places])
        self._ids.append(table.column("image_id"))
        facts = (table.column(name).to_pylist() for name in ("image_id", "uri", "label"))
        for image_id, uri, label in zip(*facts, strict=True):
            if fault := _fault(image_id, uri, label):
                n_before, first = self._faults.get(fault, (0, image_id))
                self._faults[fault] = (n_before + 1, first)

    def check(self) -> None:
        """Raise UsageError if some image cannot stand in an index."""
        for fault, (n, first) in self._faults.items():
            raise UsageError(
                f"{n:,} of {sum(map(len, self._ids)):,} images {fault}",
                expected="files of a folder, in one folder for each class, as torchvision's ImageFolder reads them",
                found=f"`{legible(first)[:200]}`",
                state="this list was not written",
                hint="another form of list takes any image, such as `parquet`",
            )

    def write(self, file: BinaryIO) -> None:
        """Write the index, one image a line."""
        classes = sorted(self._numbers)
        final = {name: number for number, name in enumerate(classes)}
        file.write(f'{{"classes": {_json(classes)},\n"class_to_idx": {_json(final)},\n"samples": ['.encode())
        sorted_numbers = np.array([final[name] for name in self._numbers], dtype=np.int32)
        separator = "\n"
        for ids, labels in zip(self._ids, self._labels, strict=True):
            pairs = zip(_paths(ids), sorted_numbers[labels].tolist(), strict=True)
            lines = [f"[{_json(path)}, {number}]" for path, number in pairs]
            if lines:
                file.write((separator + ",\n".join(lines)).encode())
                separator = ",\n"
        file.write(b"\n]}\n")


def _paths(ids: pa.ChunkedArray) -> Iterator[str]:
    for image_id in ids.to_pylist():
        yield unquote_to_bytes(image_id).decode() if "%" in image_id else image_id


def _fault(image_id: str, uri: str, label: str | None) -> str | None:
    """Return why an image cannot stand in an index, if it cannot."""
    path = unquote_to_bytes(image_id)
    if not unquote_to_bytes(uri).endswith(b"/" + path) and not uri.endswith(f"/{image_id}"):
        return "are no files of a folder"
    if label is None:
        return "have no class"
    try:
        path.decode()
    except UnicodeDecodeError:
        return "lie in a path that is no UTF-8"
    return None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
