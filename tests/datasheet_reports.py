"""Reports of all sorts for the datasheet, and what checks that a text of it says only what their rows say."""

import json
import re
from dataclasses import replace

from clipsieve.outputs.report import report_to_json
from clipsieve.outputs.report.records import ClassFlags, Concept, Failure, Report, TaxonomySection
from report_records import HOSTILE, sample_report

WORKS = (
    "Gebru et al. 2021",
    "Radford et al. 2021",
    "Benjamini and Hochberg 1995",
    "Schramowski, Tauchmann and Kersting 2022",
)
# Words that would vouch for a data set, in whatever sentence.
PRAISE = re.compile(
    r"\b(?:safe|safely|safety|clean|cleaned|free (?:of|from)|harmless|unobjectionable|inoffensive|benign|guarantee\w*|certif\w+|"
    r"approved?|verified|trustworthy|suitable for|appropriate for|unproblematic|no (?:offensive|unwanted|harmful)|"
    r"does not contain|contains no|nothing offensive|fit for)\b",
    re.IGNORECASE,
)


def with_figures(report, **values):
    """Return a report in which some figures have other values: a number, None, or a value with its interval."""
    figures = []
    for figure in report.figures:
        value = values.get(figure.id, figure.value)
        if isinstance(value, tuple):
            figures.append(replace(figure, value=value[0], low=value[1], high=value[2]))
        elif value is None:
            figures.append(replace(figure, value=None, low=None, high=None, confidence=None))
        else:
            figures.append(replace(figure, value=value))
    return replace(report, figures=tuple(figures))


NO_VERDICTS = {
    "n_verdicts": 0,
    "n_verdicts_unwanted": 0,
    "n_verdicts_unsure": 0,
    "n_flagged_reviewed": 0,
    "n_flagged_unreviewed": 99,
    "n_flagged_confirmed": 0,
    "share_confirmed": None,
    "precision": None,
    "n_unflagged_reviewed": 0,
    "n_unflagged_unwanted": 0,
    "prevalence": None,
    "recall": None,
}
NO_FLAGS = NO_VERDICTS | {
    "n_flagged": 0,
    "share_flagged": (0.0, 0.0, 0.0039),
    "n_review": 0,
    "n_remove": 0,
    "n_flagged_unreviewed": 0,
    "n_classes_over": 0,
    "n_blocked": 0,
    "n_unreadable": 10,
    "n_unscored_reviewed": 0,
}
ONE_OF_ALL = dict.fromkeys(
    """
    n_listed n_failed n_not_hashed n_ignored n_with_label n_with_caption n_flagged n_review n_remove n_verdicts
    n_verdicts_unwanted n_verdicts_unsure n_flagged_reviewed n_flagged_confirmed n_unflagged_reviewed n_classes n_classes_over
    n_flagged_unreviewed n_unreadable n_blocked n_unscored_reviewed n_unscored_unwanted
    """.split(),  # noqa: SIM905 - a list would take a line for each
    1,
)


def _hostile(text: str) -> Report:
    method = {
        "encoder": {"name": text, "weights_sha256": text},
        "classifier": {"name": text, "method": text, "class_names": ["fine", text], "unwanted": [False, True]},
        "verdicts": {"sha256": text},
        "versions": {"clipsieve": text},
    }
    concepts = (Concept(text, text, 99, 1.0, 0.5, (text,)), Concept(text, text, 0, 0.0, None, (text,), is_other=True))
    report = sample_report(
        title=text,
        made=text,
        source_location=text,
        source_kind=text,
        calibration=text,
        promises=(text, text),
        failures=(Failure("truncated", 8), Failure("corrupt", 2)),
        classes=tuple(ClassFlags(text, 100, 60, 0.6, 0.4, 0.7, 1e-9, 1e-8) for _ in range(3)),
        taxonomy=TaxonomySection(text, text, text, 0.1, concepts),
        method=method,
        limits=(text,),
    )
    return with_figures(report, n_classes=3, n_classes_over=3)


def reports() -> dict[str, Report]:
    """Return one report for each way that the figures can lie."""
    sample = sample_report()
    no_problem = TaxonomySection(
        "own", "own words", "56" * 32, 0.1, (), problem="the model `x/y` needs 2 files: <b>*not* there</b>"
    )
    return {
        "sample": sample,
        "no verdicts": with_figures(sample, **NO_VERDICTS),
        "no flags": with_figures(sample, **NO_FLAGS),
        "no flags, verdicts": with_figures(sample, **NO_FLAGS | {"n_verdicts": 10, "n_unflagged_reviewed": 10}),
        "all looked at, none unwanted": with_figures(
            sample,
            n_verdicts=990,
            n_verdicts_unwanted=0,
            n_verdicts_unsure=0,
            n_flagged_reviewed=99,
            n_flagged_unreviewed=0,
            n_flagged_confirmed=0,
            share_confirmed=(0.0, 0.0, 0.0366),
            n_unflagged_reviewed=891,
            n_unflagged_unwanted=0,
            prevalence=(0.0, None, None),
            precision=(0.0, None, None),
            recall=None,
            n_blocked=0,
            n_unreadable=10,
        ),
        "all looked at": with_figures(
            sample,
            n_verdicts=990,
            n_verdicts_unwanted=99,
            n_verdicts_unsure=0,
            n_flagged_reviewed=99,
            n_flagged_decided=99,
            n_flagged_unreviewed=0,
            n_flagged_confirmed=66,
            share_confirmed=(2 / 3, None, None),
            precision=(2 / 3, None, None),
            n_unflagged_reviewed=891,
            n_unflagged_unwanted=33,
            prevalence=(0.1, None, None),
            recall=(2 / 3, None, None),
        ),
        "all looked at, unsure of some": with_figures(
            replace(sample, limits=("Every scored image has a verdict, but people were unsure of some.",)),
            n_verdicts=990,
            n_flagged_reviewed=99,
            n_flagged_unreviewed=0,
            n_unflagged_reviewed=891,
            prevalence=None,
            precision=None,
            recall=None,
        ),
        "no sample": with_figures(
            sample, precision=None, share_confirmed=(0.725, 0.57, 0.84), prevalence=None, recall=None
        ),
        "a lopsided sample": with_figures(sample, precision=None),
        "only blocked": with_figures(
            replace(sample, failures=(Failure("blocked", 1),)),
            **NO_FLAGS | {"n_failed": 1, "n_unreadable": 0, "n_blocked": 1, "share_failed": (0.001, 0.0002, 0.0056)},
        ),
        "unwanted and not scored": with_figures(
            sample, **NO_FLAGS | {"n_unscored_reviewed": 1, "n_unscored_unwanted": 1}
        ),
        "promised elsewhere": replace(
            sample, promises=(), method={"classifier": {"provenance": {"operating_points": [{"kind": "recall"}]}}}
        ),
        "empty files": replace(sample, failures=(Failure("empty_file", 5), Failure("too_many_bytes", 3))),
        "two promises": replace(sample, promises=("one holds", "two holds")),
        "all flagged looked at, none unwanted": with_figures(
            sample,
            n_verdicts_unwanted=0,
            n_verdicts_unsure=0,
            n_flagged_reviewed=99,
            n_flagged_unreviewed=0,
            n_flagged_confirmed=0,
            share_confirmed=(0.0, None, None),
            precision=(0.0, None, None),
            n_unflagged_unwanted=0,
            n_blocked=0,
            n_unreadable=10,
        ),
        "unsure": with_figures(sample, n_verdicts_unwanted=0, n_flagged_confirmed=0, share_confirmed=(0.0, 0.0, 0.09)),
        "some looked at, none unwanted": with_figures(
            sample, n_verdicts_unwanted=0, n_verdicts_unsure=0, n_flagged_confirmed=0, share_confirmed=(0.0, 0.0, 0.09)
        ),
        "nothing failed": with_figures(
            replace(sample, failures=()),
            n_failed=0,
            n_unreadable=0,
            n_blocked=0,
            share_failed=(0.0, 0.0, 0.004),
            n_ignored=0,
        ),
        "nothing scored": with_figures(
            replace(sample, classes=(), taxonomy=None),
            **NO_FLAGS | {"n_scored": 0, "share_flagged": None, "n_failed": 1000, "n_unreadable": 1000},
        ),
        "ones": with_figures(sample, **ONE_OF_ALL),
        "tiny": with_figures(
            sample,
            share_flagged=(0.0002, 0.00001, 0.0006),
            share_failed=(0.00099, 0.0, 0.001),
            prevalence=(0.9996, 0.99901, 1.0),
            recall=(0.00049, 0.0, 0.00051),
        ),
        "large": with_figures(sample, n_listed=1_234_567, n_scored=1_234_557, n_flagged=12_345),
        "unknown": with_figures(sample, n_not_hashed=None, n_ignored=None, n_with_caption=None, n_listed=None),
        "no classes, no captions": with_figures(
            replace(sample, classes=(), terms=()), n_classes=0, n_classes_over=0, n_with_label=0, n_with_caption=0
        ),
        "many classes over": with_figures(replace(sample, classes=sample.classes), n_classes=200, n_classes_over=9),
        "no taxonomy": replace(sample, taxonomy=None),
        "problem with the taxonomy": replace(sample, taxonomy=no_problem),
        "notes on the sample": replace(
            sample,
            limits=(
                "3 images of the sample had another flag.",
                "Text was not read.",
                "It was not estimated: `x` is empty.",
            ),
        ),
        "small and cut": replace(
            sample, method={"encoder": {"preprocessing": {"size_px": 224, "resize_mode": "shortest"}}, "versions": "x"}
        ),
        "embeddings": replace(sample, source_kind="embeddings", source_location="/data/run/img_emb"),
        "bare method": replace(sample, method={}, promises=(), remove_threshold=None, calibration="not calibrated"),
        "no promise": replace(sample, promises=(), calibration="not calibrated", limits=()),
        "thresholds near the ends": replace(sample, threshold=0.00002345678, remove_threshold=0.99999994),
        **{f"hostile {i}": _hostile(text) for i, text in enumerate(HOSTILE) if i in (0, 1, 3, 4, 7)},
        "hostile bidi": _hostile("\u2066\u200f\u202e`a`\u2069\u0000\u0085\u2028\ud800 ``` ~~~ --- | \\ 12 %"),
    }


def report_json(report: Report) -> dict:
    """Return what `report.json` holds."""
    return json.loads(json.dumps(report_to_json(report)))


def row_of(table, path: str):
    """Return a row of `report.json` by its path: keys, and within lists an id, code, name or position."""
    for key in path.split("/"):
        if isinstance(table, list):
            named = [
                row
                for row in table
                if isinstance(row, dict) and key in (row.get("id"), row.get("code"), row.get("name"))
            ]
            assert len(named) == 1 or key.isdecimal(), f"{path}: {key}"
            table = table[int(key)] if key.isdecimal() else named[0]
        else:
            table = table[key]
    return table


def numbers_in(row) -> list[float]:
    values = row.values() if isinstance(row, dict) else [row]
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def says(shown: str, before: str, row) -> bool:
    """Return whether a number in a text is one of a row, after the rounding that the text states."""
    if isinstance(row, str):
        return shown in row or shown in row.encode("unicode_escape").decode()
    number = float(shown.removesuffix(" %").replace(",", ""))
    if not shown.endswith(" %"):
        return any(number in (value, float(f"{value:.4g}"), float(f"{value:.7g}")) for value in numbers_in(row))
    if re.search(r"(fewer than|below) $", before):
        return number == 0.1 and any(0 < value < 0.001 for value in numbers_in(row))
    if re.search(r"(more than|above) $", before):
        return number == 99.9 and any(0.999 < value < 1 for value in numbers_in(row))
    if number in (0, 100):
        return number / 100 in numbers_in(row)
    return any(0.001 <= value <= 0.999 and abs(100 * value - number) < 0.05 + 1e-9 for value in numbers_in(row))


def without_names(text: str) -> str:
    """Return a text without code spans, works and dates, which may hold digits that are no figures."""
    text = re.sub(r"(?<![`\\])(`+)(?!`)(?:.*?[^`])\1(?!`)", "NAME", text)
    for work in WORKS:
        text = text.replace(work, "WORK")
    return re.sub(r"\b\d{4}-\d{2}-\d{2}\b", "DATE", text)


def untraced(text: str, notes: str, table) -> list[str]:
    """Return what is wrong with the references of a text: nothing, one hopes."""
    paths = {int(number): path for number, path in re.findall(r"\[(\d+)\] `([^`]+)`:", notes)}
    lines = without_names(text).splitlines()
    wrong = [fault for line in lines for fault in _faults(line, paths, table)]
    used = list(dict.fromkeys(int(number) for line in lines for number in re.findall(r"\[(\d+)\]", line)))
    if used != sorted(paths):
        wrong.append(f"references {used} for the notes {sorted(paths)}")
    for number, path in paths.items():
        note = re.search(rf"\[{number}\] `{re.escape(path)}`:([^(\n]*)", notes)
        values = row_of(table, path)
        for name, value in re.findall(r"(\w+) = (-?\d[\d.e+-]*)", note[1]):
            if values[name] != float(value):
                wrong.append(f"note {number}: {name} = {value}, not {values[name]}")
    return wrong


def _faults(line: str, paths: dict[int, str], table) -> list[str]:
    """Return the numbers of a line that the next reference behind them does not bear out."""
    wrong = []
    found = list(re.finditer(r"\[(\d+)\]|\d[\d,]*(?:\.\d+)?(?: %)?(?!\d)", line))
    for i, each in enumerate(found):
        note = next((int(later[1]) for later in found[i:] if later[1]), None)
        if note not in paths:
            wrong.append(f"{each[0]!r} has no reference in: {line}")
        elif not each[1] and not says(each[0].rstrip(","), line[: each.start()], row_of(table, paths[note])):
            wrong.append(f"{each[0]!r} is not what {paths[note]} says: {line}")
    nones = re.finditer(r"\b(?:no|none)(?: [a-z]+)* \[(\d+)\]", line, re.IGNORECASE)
    return wrong + [
        f"{none[0]!r} is not so" for none in nones if numbers_in(row_of(table, paths[int(none[1])]))[0] != 0
    ]
