"""Where images come from: each source lists its inputs once and reads them in order, and is never modified."""

from clipsieve.sources.base import Source
from clipsieve.sources.columns import Columns, UniqueIds
from clipsieve.sources.folder import FolderSource
from clipsieve.sources.huggingface import HuggingFaceSource
from clipsieve.sources.open import open_source
from clipsieve.sources.recognise import KINDS, recognise
from clipsieve.sources.remote_folder import RemoteFolderSource
from clipsieve.sources.table import TableSource
from clipsieve.sources.webdataset import WebDatasetSource

__all__ = [
    "KINDS",
    "Columns",
    "FolderSource",
    "HuggingFaceSource",
    "RemoteFolderSource",
    "Source",
    "TableSource",
    "UniqueIds",
    "WebDatasetSource",
    "open_source",
    "recognise",
]
