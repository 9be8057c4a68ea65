"""The run folder: what was scanned and what was found, in files that anything can read (`docs/format.md`)."""

from clipsieve.store.external import ExternalEmbeddings
from clipsieve.store.layout import FORMAT_VERSION, image_table, score_table, to_float32, valid_score_name
from clipsieve.store.lock import locked
from clipsieve.store.manifest import RunManifest
from clipsieve.store.npy_files import EmbeddingFile, find_embeddings
from clipsieve.store.run import Run

__all__ = [
    "FORMAT_VERSION",
    "EmbeddingFile",
    "ExternalEmbeddings",
    "Run",
    "RunManifest",
    "find_embeddings",
    "image_table",
    "locked",
    "score_table",
    "to_float32",
    "valid_score_name",
]
