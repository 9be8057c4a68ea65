"""The run folder: what was scanned and what was found, in files that anything can read (`docs/format.md`)."""

from clipsieve.store.embedded import EmbeddedPart, normed_blocks, read_embedded_part, unit_blocks
from clipsieve.store.external import ExternalEmbeddings
from clipsieve.store.layout import FORMAT_VERSION, image_table, score_table, to_float32, valid_score_name
from clipsieve.store.lock import locked
from clipsieve.store.manifest import RunManifest
from clipsieve.store.npy_files import EmbeddingFile, find_embeddings
from clipsieve.store.pages import PlainRows
from clipsieve.store.paths import RunPath, is_remote, run_path
from clipsieve.store.reuse import StoredEmbeddings, remove_superseded, set_aside, stored_parts, superseded
from clipsieve.store.run import Run
from clipsieve.store.writer import sync_folder, write_json, write_table, write_whole

__all__ = [
    "FORMAT_VERSION",
    "EmbeddedPart",
    "EmbeddingFile",
    "ExternalEmbeddings",
    "PlainRows",
    "Run",
    "RunManifest",
    "RunPath",
    "StoredEmbeddings",
    "find_embeddings",
    "image_table",
    "is_remote",
    "locked",
    "normed_blocks",
    "read_embedded_part",
    "remove_superseded",
    "run_path",
    "score_table",
    "set_aside",
    "stored_parts",
    "superseded",
    "sync_folder",
    "to_float32",
    "unit_blocks",
    "valid_score_name",
    "write_json",
    "write_table",
    "write_whole",
]
