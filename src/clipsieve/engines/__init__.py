"""What runs the stages: an engine turns planned shards into rows, and every engine gives the same rows."""

from clipsieve.engines.adopt import adopt_embeddings
from clipsieve.engines.base import Engine
from clipsieve.engines.classify import import_head, load_classifier_for
from clipsieve.engines.local import LocalEngine
from clipsieve.engines.options import MaxFailures, ScanOptions
from clipsieve.engines.prepare import Redo
from clipsieve.engines.scan import ScanReport, scan
from clipsieve.engines.score import ScoreReport, score
from clipsieve.images import BlockList, DecodeLimits, load_block_list

__all__ = [
    "BlockList",
    "DecodeLimits",
    "Engine",
    "LocalEngine",
    "MaxFailures",
    "Redo",
    "ScanOptions",
    "ScanReport",
    "ScoreReport",
    "adopt_embeddings",
    "import_head",
    "load_block_list",
    "load_classifier_for",
    "scan",
    "score",
]
