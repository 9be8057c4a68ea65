"""Find offensive images in large data sets with CLIP and words.

>>> import clipsieve
>>> clipsieve.__version__
'0.1.0'

Each name is imported from its home when it is first used, so that ``import clipsieve`` itself loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clipsieve._version import __version__

if TYPE_CHECKING:
    from clipsieve.classifiers import (
        Classifier,
        LinearProbe,
        Network,
        PromptSet,
        SoftPrompts,
        ZeroShot,
        load_classifier,
        load_prompt_set,
        read_head,
        save_classifier,
    )
    from clipsieve.demo import write_demo_data
    from clipsieve.encoders import Encoder, load_encoder
    from clipsieve.engines import (
        EvaluationOptions,
        Policy,
        Protocol,
        ScanOptions,
        adopt_embeddings,
        build_method,
        estimate_prevalence,
        evaluate_predictions,
        find_duplicates,
        join_ratings,
        load_block_list,
        plan_prevalence,
        prepare_int8,
        read_image_verdicts,
        read_ratings,
        set_threshold,
        write_plan,
    )

    # From their modules: a checker may take a name of the package for the module of the same name.
    from clipsieve.engines.evaluate_runs import evaluate_runs
    from clipsieve.engines.scan import scan
    from clipsieve.engines.score import score
    from clipsieve.engines.search import search
    from clipsieve.engines.tune import tune
    from clipsieve.errors import ClipsieveError
    from clipsieve.outputs import (
        ExportOptions,
        ExportReport,
        Report,
        ReportOptions,
        Summary,
        export_run,
        report_to_json,
        summarize,
        write_answer,
        write_datasheet,
        write_duplicates,
        write_report,
    )
    from clipsieve.review.keys import run_key
    from clipsieve.review.ledger import open_ledger
    from clipsieve.sources import Columns, Source, open_source
    from clipsieve.store import Run

_HOMES = {
    "clipsieve.classifiers": [
        "Classifier",
        "LinearProbe",
        "Network",
        "PromptSet",
        "SoftPrompts",
        "ZeroShot",
        "load_classifier",
        "load_prompt_set",
        "read_head",
        "save_classifier",
    ],
    "clipsieve.demo": ["write_demo_data"],
    "clipsieve.encoders": ["Encoder", "load_encoder"],
    "clipsieve.engines": [
        "EvaluationOptions",
        "Policy",
        "Protocol",
        "ScanOptions",
        "adopt_embeddings",
        "build_method",
        "estimate_prevalence",
        "evaluate_predictions",
        "evaluate_runs",
        "find_duplicates",
        "join_ratings",
        "load_block_list",
        "plan_prevalence",
        "prepare_int8",
        "read_image_verdicts",
        "read_ratings",
        "scan",
        "score",
        "search",
        "set_threshold",
        "tune",
        "write_plan",
    ],
    "clipsieve.errors": ["ClipsieveError"],
    "clipsieve.outputs": [
        "ExportOptions",
        "ExportReport",
        "Report",
        "ReportOptions",
        "Summary",
        "export_run",
        "report_to_json",
        "summarize",
        "write_answer",
        "write_datasheet",
        "write_duplicates",
        "write_report",
    ],
    "clipsieve.review.keys": ["run_key"],
    "clipsieve.review.ledger": ["open_ledger"],
    "clipsieve.sources": ["Columns", "Source", "open_source"],
    "clipsieve.store": ["Run"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Classifier",
    "ClipsieveError",
    "Columns",
    "Encoder",
    "EvaluationOptions",
    "ExportOptions",
    "ExportReport",
    "LinearProbe",
    "Network",
    "Policy",
    "PromptSet",
    "Protocol",
    "Report",
    "ReportOptions",
    "Run",
    "ScanOptions",
    "SoftPrompts",
    "Source",
    "Summary",
    "ZeroShot",
    "__version__",
    "adopt_embeddings",
    "build_method",
    "estimate_prevalence",
    "evaluate_predictions",
    "evaluate_runs",
    "export_run",
    "find_duplicates",
    "join_ratings",
    "load_block_list",
    "load_classifier",
    "load_encoder",
    "load_prompt_set",
    "open_ledger",
    "open_source",
    "plan_prevalence",
    "prepare_int8",
    "read_head",
    "read_image_verdicts",
    "read_ratings",
    "report_to_json",
    "run_key",
    "save_classifier",
    "scan",
    "score",
    "search",
    "set_threshold",
    "summarize",
    "tune",
    "write_answer",
    "write_datasheet",
    "write_demo_data",
    "write_duplicates",
    "write_plan",
    "write_report",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOME_OF:
        raise AttributeError(f"module 'clipsieve' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
