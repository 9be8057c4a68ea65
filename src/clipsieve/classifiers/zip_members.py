"""Members of a zip archive that nobody vouches for, read in memory and within bounds."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from clipsieve.errors import ClassifierFileError

__all__ = ["MAX_BYTES", "ZipMembers"]

MAX_BYTES = 256 * 1024**2
MAX_MEMBERS = 4096
ENTRY = b"PK\x01\x02"  # what an entry of the list of members begins with
BROKEN = (
    zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, LookupError, OverflowError, struct.error, zlib.error,
)  # fmt: skip


class ZipMembers:
    """The members of an archive; nothing is unpacked to disk.

    Parameters
    ----------
    content : bytes
        The archive, at most 256 MiB with at most 4096 members.
    where : str
        The file's name, for errors.

    Attributes
    ----------
    names : tuple of str
        Of all members, folders included, in the archive's order.

    Raises
    ------
    ClassifierFileError
        If it is no such archive, a name is there twice, or a member is encrypted or compressed by another method
        than deflate.
    """

    def __init__(self, content: bytes, *, where: str) -> None:
        self._where = where
        if len(content) > MAX_BYTES:
            raise self._refusal(f"{len(content):,} bytes", expected=f"at most {MAX_BYTES:,} bytes")
        if content.count(ENTRY) > MAX_MEMBERS:  # counted first: millions of empty members would fill the memory
            raise self._refusal("more members", expected=f"at most {MAX_MEMBERS:,} members")
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
        except BROKEN as error:
            raise self._refusal(f"a broken archive: {_words(error)}") from error
        self._members = {info.filename: info for info in self._archive.infolist()}
        self.names = tuple(info.filename for info in self._archive.infolist())
        if len(self.names) != len(self._members):
            raise self._refusal("two members of the same name")
        for info in self._members.values():
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._refusal(f"the member `{info.filename[:60]}`, encrypted or compressed in an unusual way")

    def read(self, name: str, *, max_bytes: int = MAX_BYTES, stored: bool = False) -> bytes:
        """Return one member's content.

        Parameters
        ----------
        name : str
            As in `names`.
        max_bytes : int, default=256 MiB
            A larger member is refused, before and while it is decompressed.
        stored : bool, default=False
            Refuse a member that is compressed.

        Raises
        ------
        ClassifierFileError
            If it is not there, too large, compressed where it may not be, or its checksum is wrong.
        """
        info = self._members.get(name)
        if info is None:
            raise self._refusal("no such member", expected=f"the member `{name[:60]}`")
        if stored and info.compress_type != zipfile.ZIP_STORED:
            raise self._refusal(f"`{name[:60]}` compressed", expected="members that are not compressed")
        if info.file_size > max_bytes:
            raise self._refusal(f"`{name[:60]}` of {info.file_size:,} bytes", expected=f"at most {max_bytes:,} bytes")
        try:
            with self._archive.open(info) as file:
                content = file.read(info.file_size + 1)
        except BROKEN as error:
            raise self._refusal(f"`{name[:60]}` broken: {_words(error)}") from error
        if len(content) != info.file_size:
            raise self._refusal(f"`{name[:60]}` with another length than the archive says")
        return content

    def _refusal(self, found: str, *, expected: str = "a zip archive with plain members") -> ClassifierFileError:
        return ClassifierFileError(f"`{self._where}` is no archive that can be read", expected=expected, found=found)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:100]
