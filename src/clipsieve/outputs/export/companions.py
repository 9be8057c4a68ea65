"""What the decisions on the images of a folder mean for the other files in it."""

from __future__ import annotations

import os

from clipsieve.evaluation.operating_points import Decision

__all__ = ["Decided"]


class Decided:
    """The decision on each input of a folder, and the one that follows for a file beside it.

    A file that is called as an input is, but for the extension, belongs to it: `000.txt`, `000.json` and `000.jpg.json` to
    `000.jpg` in the same folder. It goes where that input goes; if it belongs to several, where the strictest decision sends
    one of them. A file that belongs to none is kept. One entry of a dictionary is held for each input.
    """

    def __init__(self) -> None:
        self._by_folder: dict[str, dict[str, int]] = {}
        self._stems: tuple[str, dict[str, int]] | None = None

    def add(self, name: str, code: int) -> None:
        """Remember where an input goes; `name` is its path below the root."""
        folder, _, file_name = name.rpartition("/")
        self._by_folder.setdefault(folder, {})[file_name] = code
        self._stems = None

    def __contains__(self, name: str) -> bool:
        folder, _, file_name = name.rpartition("/")
        return file_name in self._by_folder.get(folder, {})

    def decision_on(self, name: str) -> Decision:
        """Return where a file goes, be it an input or not."""
        folder, _, file_name = name.rpartition("/")
        inputs = self._by_folder.get(folder, {})
        if file_name in inputs:
            return Decision(inputs[file_name])
        stem = os.path.splitext(file_name)[0]
        return Decision(max(inputs.get(stem, Decision.KEEP), self._stems_of(folder).get(stem, Decision.KEEP)))

    def _stems_of(self, folder: str) -> dict[str, int]:
        """Return the strictest decision for each stem in a folder; that of the last folder is kept, as files come sorted."""
        if self._stems is None or self._stems[0] != folder:
            stems: dict[str, int] = {}
            for name, code in self._by_folder.get(folder, {}).items():
                stem = os.path.splitext(name)[0]
                stems[stem] = max(stems.get(stem, code), code)
            self._stems = folder, stems
        return self._stems[1]
