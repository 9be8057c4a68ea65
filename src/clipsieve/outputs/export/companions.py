"""What the decisions on the images of a folder mean for the other files in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from clipsieve.evaluation.operating_points import Decision

__all__ = ["SIDECARS", "Decided"]

# What lies beside an image and speaks of it, by extension; none is one of them. No tables and no archives: those speak of many.
SIDECARS = frozenset(
    {
        *(
            "",
            ".aae",
            ".ann",
            ".cap",
            ".caption",
            ".cls",
            ".dvc",
            ".geojson",
            ".html",
            ".info",
            ".json",
            ".lab",
            ".mat",
        ),
        *(
            ".md",
            ".md5",
            ".meta",
            ".mov",
            ".mp3",
            ".mp4",
            ".nfo",
            ".npy",
            ".npz",
            ".pt",
            ".pth",
            ".pts",
            ".pickle",
            ".pkl",
        ),
        *(
            ".safetensors",
            ".sha256",
            ".srt",
            ".tags",
            ".text",
            ".toml",
            ".txt",
            ".vtt",
            ".wav",
            ".xml",
            ".xmp",
            ".yaml",
        ),
        *(".yml",),
    }
)
# Whatever they end in, they speak of a whole data set.
_OF_THE_WHOLE = frozenset(
    {
        *("annotations", "changelog", "citation", "classes", "labels", "licence", "license", "metadata", "notice"),
        "readme",
    }
)
_N_HELD = 2_000_000


class Decided:
    """The decision on each input of a folder, and the one that follows for a file beside it.

    A file in the same folder belongs to an input if it is called as the input is, and something behind a dot: `000.jpg.json`
    and `000.jpg.meta.gz` to `000.jpg`. A file with an extension of `SIDECARS` belongs to it also if only the input's own
    extension is missing, as in `000.txt` and `000.en.txt`; apart from those that speak of a whole data set, such as
    `README.md`. The longest name counts, and upper and lower case only where both are there. The file goes where that input
    goes; if it belongs to several, where the strictest decision sends one of them. A file that belongs to none is kept.

    Entries of dictionaries are held for each input, and, of folders that were asked for, a few for each of up to two million.
    """

    def __init__(self) -> None:
        self._by_folder: dict[str, dict[str, int]] = {}
        self._names: dict[str, _Names] = {}
        self._n_held = 0

    def add(self, name: str, code: int) -> None:
        """Remember where an input goes; `name` is its path below the root."""
        folder, _, file_name = name.rpartition("/")
        self._by_folder.setdefault(folder, {})[file_name] = code
        if (old := self._names.pop(folder, None)) is not None:
            self._n_held -= len(old.full)

    def __contains__(self, name: str) -> bool:
        folder, _, file_name = name.rpartition("/")
        return file_name in self._by_folder.get(folder, {})

    def decision_on(self, name: str) -> Decision:
        """Return where a file goes, be it an input or not."""
        folder, _, file_name = name.rpartition("/")
        inputs = self._by_folder.get(folder)
        if inputs is None:
            return Decision.KEEP
        if file_name in inputs:
            return Decision(inputs[file_name])
        names, is_sidecar = self._names_in(folder), _is_sidecar(file_name)
        found = (names.find(beginning, is_sidecar=is_sidecar) for beginning in _beginnings(file_name))
        return Decision(next((code for code in found if code is not None), Decision.KEEP))

    def _names_in(self, folder: str) -> _Names:
        """Return what a folder's inputs are called; held for later, since links lead from folder to folder and back."""
        if folder not in self._names:
            names = _Names()
            for name, code in self._by_folder[folder].items():
                names.add(name, code)
            while self._names and self._n_held + len(names.full) > _N_HELD:
                self._n_held -= len(self._names.pop(next(iter(self._names))).full)
            self._names[folder] = names
            self._n_held += len(names.full)
        return self._names[folder]


@dataclass(slots=True)
class _Names:
    """The strictest decision for each name in a folder, for each without its extension, and for both in lower case."""

    full: dict[str, int] = field(default_factory=dict)
    stems: dict[str, int] = field(default_factory=dict)
    lower_full: dict[str, int] = field(default_factory=dict)
    lower_stems: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, code: int) -> None:
        stem = os.path.splitext(name)[0]
        for codes, key in (
            *((self.full, name), (self.stems, stem)),
            *((self.lower_full, name.casefold()), (self.lower_stems, stem.casefold())),
        ):
            codes[key] = max(codes.get(key, code), code)

    def find(self, beginning: str, *, is_sidecar: bool) -> int | None:
        lower = beginning.casefold()
        for full, stems, key in ((self.full, self.stems, beginning), (self.lower_full, self.lower_stems, lower)):
            found = [codes[key] for codes in (full, *([stems] if is_sidecar else [])) if key in codes]
            if found:
                return max(found)
        return None


def _is_sidecar(file_name: str) -> bool:
    if file_name.partition(".")[0].casefold() in _OF_THE_WHOLE:
        return False
    return os.path.splitext(file_name)[1].lower().rstrip(".") in SIDECARS


def _beginnings(file_name: str) -> Iterator[str]:
    """Yield what stands before each dot, the longest first; the whole name, where there is no dot."""
    if "." not in file_name:
        yield file_name
    while file_name:
        file_name = file_name.rpartition(".")[0]
        if file_name:
            yield file_name
