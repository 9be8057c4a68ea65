"""Images that are part of a data set and were no inputs of the scan: nobody has looked at them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.sources.signatures import N_SIGNATURE_BYTES, is_image_name, is_unread_image_name, may_be_an_image

__all__ = ["columns_with_images", "is_unscanned_image", "warning_of"]

N_CELLS = 1000  # heads that are looked at in a column


def is_unscanned_image(name: str, head: bytes) -> bool:
    """Return whether a file that was no input is an image, by its name or its first `N_SIGNATURE_BYTES` bytes."""
    return is_image_name(name) or is_unread_image_name(name) or may_be_an_image(head)


def columns_with_images(rows: pa.Table, image: str) -> list[str]:
    """Return the columns beside the image column that hold encoded images, at any depth, as some rows show it.

    A struct of `bytes` and `path`, as Hugging Face's libraries write files, counts whatever is in it; other binary cells count
    where one begins like an image.

    Parameters
    ----------
    rows : pyarrow.Table
        The first rows, say: an image further down is not seen.
    image : str
        The image column.
    """
    columns = zip(rows.schema.names, rows.columns, strict=True)  # two may have one name
    return [name for name, column in columns if name != image and any(map(_holds_images, column.chunks))]


def warning_of(columns: list[str]) -> tuple[str, ...]:
    """Return in words that images of some columns were not scanned; nothing if there are none."""
    if not columns:
        return ()
    names = ", ".join(f"`{name}`" for name in columns)
    words = (
        f"other columns hold images or files too, which were not scanned: {names}. They stay in every row that is kept"
    )
    return (words,)


def _holds_images(column: pa.Array) -> bool:
    for leaf in _leaves(column):
        if pa.types.is_struct(leaf.type):
            return True
        if any(may_be_an_image(head.as_py() or b"") for head in _heads(leaf)):
            return True
    return False


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """Yield the binary arrays within an array, and structs that stand for files."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        yield from _leaves(array.storage)
    elif pa.types.is_dictionary(kind):
        yield from _leaves(array.dictionary)
    elif pa.types.is_struct(kind):
        if {field.name for field in kind} == {"bytes", "path"}:
            yield array
        for place in range(kind.num_fields):
            yield from _leaves(array.field(place))
    elif pa.types.is_map(kind):
        yield from _leaves(array.items)
    elif kind.num_fields == 1:  # lists of all sorts
        yield from _leaves(array.flatten())
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        yield array
    elif pa.types.is_binary_view(kind):
        yield array[:N_CELLS].cast(pa.large_binary())


def _heads(cells: pa.Array) -> pa.Array:
    return pc.binary_slice(cells.drop_null()[:N_CELLS], 0, N_SIGNATURE_BYTES)
