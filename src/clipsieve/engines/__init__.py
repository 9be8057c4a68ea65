"""What runs the stages: an engine turns planned shards into rows, and every engine gives the same rows."""

from clipsieve.classifiers.methods import METHODS, Method, build_method
from clipsieve.engines.adopt import adopt_embeddings
from clipsieve.engines.base import Engine
from clipsieve.engines.classify import import_head, load_classifier_for
from clipsieve.engines.context import ContextMethod
from clipsieve.engines.decisions import Decider, Decision, Policy, Reason
from clipsieve.engines.duplicates import Duplicates, find_duplicates
from clipsieve.engines.encoder_processes import EncoderProcesses, split_devices
from clipsieve.engines.evaluate import Contender, MethodResult, Protocol, evaluate_methods
from clipsieve.engines.evaluate_file import evaluate_predictions
from clipsieve.engines.evaluate_runs import EvaluationOptions, evaluate_runs, parse_fractions
from clipsieve.engines.evaluation import Evaluation, EvaluationRow, NamedComparison, build_evaluation
from clipsieve.engines.fidelity import Fidelity, FidelityBar
from clipsieve.engines.int8 import Int8Report, int8_of_run, prepare_int8
from clipsieve.engines.local import LocalEngine
from clipsieve.engines.options import MaxFailures, ScanOptions
from clipsieve.engines.prepare import Redo
from clipsieve.engines.prevalence import PrevalenceReport, estimate_prevalence
from clipsieve.engines.prevalence_plan import PrevalencePlan, plan_prevalence, write_plan
from clipsieve.engines.rated_images import JoinReport, RatedImages, join_ratings
from clipsieve.engines.rating_files import Ratings, read_ratings
from clipsieve.engines.scan import ScanReport, scan
from clipsieve.engines.score import ScoreReport, score
from clipsieve.engines.score_facts import Promise, ScoreCalibration, ScoreFacts, read_score_facts
from clipsieve.engines.search import FoundImage, search
from clipsieve.engines.threshold import ThresholdReport, set_threshold
from clipsieve.engines.tune import TuneReport, load_prior, tune
from clipsieve.engines.verdict_files import ImageVerdict, ImageVerdicts, read_image_verdicts
from clipsieve.images import BlockList, DecodeLimits, load_block_list

__all__ = [
    "METHODS",
    "BlockList",
    "Contender",
    "ContextMethod",
    "Decider",
    "Decision",
    "DecodeLimits",
    "Duplicates",
    "EncoderProcesses",
    "Engine",
    "Evaluation",
    "EvaluationOptions",
    "EvaluationRow",
    "Fidelity",
    "FidelityBar",
    "FoundImage",
    "ImageVerdict",
    "ImageVerdicts",
    "Int8Report",
    "JoinReport",
    "LocalEngine",
    "MaxFailures",
    "Method",
    "MethodResult",
    "NamedComparison",
    "Policy",
    "PrevalencePlan",
    "PrevalenceReport",
    "Promise",
    "Protocol",
    "RatedImages",
    "Ratings",
    "Reason",
    "Redo",
    "ScanOptions",
    "ScanReport",
    "ScoreCalibration",
    "ScoreFacts",
    "ScoreReport",
    "ThresholdReport",
    "TuneReport",
    "adopt_embeddings",
    "build_evaluation",
    "build_method",
    "estimate_prevalence",
    "evaluate_methods",
    "evaluate_predictions",
    "evaluate_runs",
    "find_duplicates",
    "import_head",
    "int8_of_run",
    "join_ratings",
    "load_block_list",
    "load_classifier_for",
    "load_prior",
    "parse_fractions",
    "plan_prevalence",
    "prepare_int8",
    "read_image_verdicts",
    "read_ratings",
    "read_score_facts",
    "scan",
    "score",
    "search",
    "set_threshold",
    "split_devices",
    "tune",
    "write_plan",
]
