"""Where images come from: each source lists its inputs once and reads them in order, and is never modified."""

from clipsieve.sources.base import Source
from clipsieve.sources.folder import FolderSource
from clipsieve.sources.open import open_source

__all__ = ["FolderSource", "Source", "open_source"]
