"""Names of files as text: unique and reversible as an id, legible in a message."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

__all__ = ["escape_name", "is_hidden", "label_of", "legible"]


def escape_name(name: bytes) -> str:
    """Return a path as text, unique and reversible: `%` and every byte that is no UTF-8 become `%XX`."""
    escaped = name.replace(b"%", b"%25")
    try:
        return escaped.decode("utf-8")
    except UnicodeDecodeError:
        text = escaped.decode("utf-8", errors="surrogateescape")
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in text)


def legible(name: str | bytes) -> str:
    r"""Return a path, or what `escape_name` made of one, for people: a byte that is no UTF-8 as `\xNN`."""
    raw = unquote_to_bytes(name) if isinstance(name, str) else name
    return raw.decode(errors="backslashreplace")


def label_of(image_id: str) -> str | None:
    """Return the first folder of a relative path, as torchvision's ImageFolder does; None for a file in the root."""
    first, slash, _ = image_id.partition("/")
    return legible(first) if slash else None


def is_hidden(name: str) -> bool:
    """Return whether a file, or a folder that it lies in, is hidden."""
    if not name.startswith(".") and "/." not in name:
        return False
    return any(piece.startswith(".") and piece not in (".", "..") for piece in name.split("/"))
