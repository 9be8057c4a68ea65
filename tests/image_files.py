"""Small encoded images and tar files, as bytes."""

import io
import tarfile
from collections.abc import Iterable

from PIL import Image


def png(value: int, side: int = 6) -> bytes:
    """Return a picture of one colour; another value is another file."""
    return encoded(value, "PNG", side)


def encoded(value: int, kind: str, side: int = 6) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (value % 256, value // 256, 7)).save(file, kind)
    return file.getvalue()


def tar(members: Iterable[tuple[str, bytes]], kind: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar of members in the order given."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind, errors="surrogateescape") as made:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return file.getvalue()
