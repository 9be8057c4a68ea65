"""Which files are what: by their names, or, where a name says nothing, by their first bytes."""

from __future__ import annotations

import os.path

__all__ = [
    "EXTENSIONS",
    "N_SIGNATURE_BYTES",
    "is_image_name",
    "is_table_name",
    "is_tar_name",
    "is_unread_image_name",
    "looks_like_an_image",
    "may_be_an_image",
]

# Of the formats that `clipsieve.images` decodes. Whatever is named so is an input, and a failure if it is something else.
EXTENSIONS = frozenset(
    {
        *(".apng", ".avif", ".avifs", ".bmp", ".bw", ".dib", ".gif", ".icns", ".ico", ".j2c", ".j2k", ".jfif", ".jp2"),
        *(".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm"),
        *(".qoi", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".webp"),
        *(".blp", ".cur", ".dcx", ".dds", ".flc", ".fli", ".ftc", ".ftu", ".gbr", ".icb", ".msp", ".pcd"),
        *(".pfm", ".psd", ".pxr", ".ras", ".spider", ".vda", ".vst", ".xbm", ".xpm"),
    }
)

# Of formats that nothing here decodes: no file of that name is an input, and nobody has looked at what it shows.
_UNREAD_EXTENSIONS = frozenset(
    {
        *(".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".jxr", ".wdp"),
        *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
    }
)

_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
    b"qoif",
)
N_SIGNATURE_BYTES = 16
_UNREAD_SIGNATURES = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"II\xbc\x01", b"II+\0", b"MM\0+", b"8BPS")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1", b"crx ")


def looks_like_an_image(head: bytes) -> bool:
    """Return whether a file's first bytes (`N_SIGNATURE_BYTES` of them) are those of a common image format."""
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in (b"avif", b"avis")
    return head.startswith(_SIGNATURES)


def may_be_an_image(head: bytes) -> bool:
    """Return whether a file may show something, by its first `N_SIGNATURE_BYTES` bytes, be it of a kind that is read or not.

    Wider than `looks_like_an_image`, which says what an input is: HEIF, JPEG XL, BMP and Photoshop's files count as well. Formats
    that begin with nothing of their own, such as TGA, cannot be told.
    """
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return True
    is_bitmap = head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"
    return is_bitmap or head.startswith(_UNREAD_SIGNATURES) or looks_like_an_image(head)


def is_unread_image_name(name: str) -> bool:
    """Return whether a name ends like that of an image of a kind that is not read, such as `.heic`, in any case."""
    return os.path.splitext(name)[1].lower() in _UNREAD_EXTENSIONS


def is_image_name(name: str) -> bool:
    """Return whether a name ends like an image's, in any case."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def is_tar_name(name: str) -> bool:
    """Return whether a name ends like that of a tar file, plain or gzip."""
    return name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def is_table_name(name: str) -> bool:
    """Return whether a name ends like that of a CSV or Parquet file."""
    return name.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq"))
