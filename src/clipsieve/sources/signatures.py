"""Which files are what: by their names, or, where a name says nothing, by their first bytes."""

from __future__ import annotations

from pathlib import PurePosixPath

__all__ = ["EXTENSIONS", "N_SIGNATURE_BYTES", "is_image_name", "is_table_name", "is_tar_name", "looks_like_an_image"]

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


def looks_like_an_image(head: bytes) -> bool:
    """Return whether a file's first bytes (`N_SIGNATURE_BYTES` of them) are those of a common image format."""
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in (b"avif", b"avis")
    return head.startswith(_SIGNATURES)


def is_image_name(name: str) -> bool:
    """Return whether a name ends like an image's, in any case."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def is_tar_name(name: str) -> bool:
    """Return whether a name ends like that of a tar file, plain or gzip."""
    return name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def is_table_name(name: str) -> bool:
    """Return whether a name ends like that of a CSV or Parquet file."""
    return name.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq"))
