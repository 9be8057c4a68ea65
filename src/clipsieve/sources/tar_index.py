"""What a tar holds and where: images, and the texts that belong to them by key.

Keys and extensions as in WebDataset: the key is the path up to the first dot of its last piece, so `a/000.jpg`, `a/000.txt` and
`a/000.seg.png` belong together; and so does `./a/000.txt`, which is the same path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from clipsieve.sources.names import is_hidden
from clipsieve.sources.tar_walk import Broken, Damage, Extent, TarMember, iter_members

__all__ = ["COMPANIONS", "TarImage", "TarIndex", "index_tar", "split_key"]

COMPANIONS = ("txt", "json", "cls")


@dataclass(frozen=True, slots=True)
class TarImage:
    """One image of a tar: its name there, where it lies, and where each of its companions does."""

    name: str
    extent: Extent
    companions: dict[str, Extent]


@dataclass(slots=True)
class TarIndex:
    """Everything that a tar holds.

    Attributes
    ----------
    images : list of TarImage
        In the order of the tar.
    n_ignored : int
        Members that are neither images nor companions of one.
    damage : Damage or None
        Why there may have been more.
    """

    images: list[TarImage] = field(default_factory=list)
    n_ignored: int = 0
    damage: Damage | None = None

    @property
    def n_rows(self) -> int:
        """One for each image, and one for what was lost."""
        return len(self.images) + (self.damage is not None)


def split_key(name: str) -> tuple[str, str]:
    """Return the key and the extension of a member.

    >>> split_key("train/0001.seg.PNG")
    ('train/0001', 'seg.png')
    >>> split_key("./0001.txt")
    ('0001', 'txt')
    """
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return f"{folder}{slash}{key}", extension.lower()


def index_tar(file: BinaryIO) -> TarIndex:
    """Read a tar's headers, from a seekable file.

    Returns
    -------
    TarIndex
        Whatever the file holds; a tar that is cut or damaged gives what is whole before that point, and the damage.
    """
    index, members = TarIndex(), _Members()
    try:
        for member in iter_members(file):
            members.add(member)
    except Broken as broken:
        index.damage = broken.damage
    members.fill(index)
    return index


class _Members:
    """Collects members, and joins them by key once all are known."""

    def __init__(self) -> None:
        self._images: list[tuple[str, Extent]] = []
        self._by_key: dict[str, list[tuple[str, Extent]]] = {}  # extensions with places, in the order of the tar
        self._n_others = 0

    def add(self, member: TarMember) -> None:
        name, extent = member.info.name, member.extent
        if member.info.isdir():
            return
        if extent is None or is_hidden(name):
            self._n_others += 1
            return
        key, extension = split_key(name)
        if member.is_image:
            self._images.append((name, extent))
        if member.is_image or extension in COMPANIONS:
            self._by_key.setdefault(key, []).append((extension, extent))
        else:
            self._n_others += 1

    def fill(self, index: TarIndex) -> None:
        companions: dict[tuple[str, Extent], dict[str, Extent]] = {}
        n_lonely = 0
        for key, members in self._by_key.items():
            for sample in _samples(members):
                texts = {extension: extent for extension, extent in sample if extension in COMPANIONS}
                pictures = [extent for extension, extent in sample if extension not in COMPANIONS]
                companions |= {(key, extent): texts for extent in pictures}
                n_lonely += 0 if pictures else len(texts)
        for name, extent in self._images:
            index.images.append(TarImage(name, extent, companions.get((split_key(name)[0], extent), {})))
        index.n_ignored = self._n_others + n_lonely


def _samples(members: list[tuple[str, Extent]]) -> list[list[tuple[str, Extent]]]:
    """Return the samples that share a key, as when tars whose keys begin anew were joined.

    A member whose extension was there before begins the next sample. Where that gives samples of different extensions, nobody
    can tell which text belongs to which image, and each member stands alone.
    """
    samples: list[list[tuple[str, Extent]]] = [[]]
    for member in members:
        if any(member[0] == extension for extension, _ in samples[-1]):
            samples.append([])
        samples[-1].append(member)
    kinds = {frozenset(extension for extension, _ in sample) for sample in samples}
    return samples if len(kinds) == 1 else [[member] for member in members]
