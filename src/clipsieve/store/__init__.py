"""The run folder: what was scanned and what was found, in files that anything can read (`docs/format.md`)."""

from clipsieve.store.layout import FORMAT_VERSION, image_table, score_table, to_float32, valid_score_name
from clipsieve.store.manifest import RunManifest
from clipsieve.store.run import Run

__all__ = ["FORMAT_VERSION", "Run", "RunManifest", "image_table", "score_table", "to_float32", "valid_score_name"]
