"""What runs the stages: an engine turns planned shards into rows, and every engine gives the same rows."""

from clipsieve.engines.base import Engine
from clipsieve.engines.classify import import_head, load_classifier_for
from clipsieve.engines.local import LocalEngine
from clipsieve.engines.options import MaxFailures, ScanOptions
from clipsieve.engines.scan import ScanReport, scan
from clipsieve.engines.score import ScoreReport, score
from clipsieve.images import DecodeLimits

__all__ = [
    "DecodeLimits",
    "Engine",
    "LocalEngine",
    "MaxFailures",
    "ScanOptions",
    "ScanReport",
    "ScoreReport",
    "import_head",
    "load_classifier_for",
    "scan",
    "score",
]
