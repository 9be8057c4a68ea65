"""A report as records, small and full of odd names: what pages, tables and datasheets are tested with."""

import io
from dataclasses import replace

from PIL import Image

from clipsieve.outputs.report.records import (
    ClassFlags,
    Concept,
    Example,
    Failure,
    Figure,
    HistogramBin,
    Report,
    TaxonomySection,
    Term,
    TermSection,
)

HOSTILE = (
    '<script>document.title = "taken over"</script>',
    "\"quotes\" & 'apostrophes' <b>bold</b> {{ 7 * 7 }} {% raw %}",
    "emoji 🔪🩸 and 日本語",
    "\u202eright to left\u202c שלום مرحبا",
    "x" * 10_000,
    "two\nlines\tand a tab\x1b[31m",
    "=HYPERLINK(1)",
    "](javascript:alert(1)) | table `code` *stars*",
)


def interval(figure_id: str, value: float, words: str, low: float, high: float) -> Figure:
    return Figure(figure_id, value, words, low, high, 0.95, "score interval (Wilson 1927)")


FIGURES = (
    Figure("n_listed", 1000, "images listed"),
    Figure("n_scanned", 990, "images with an embedding"),
    Figure("n_failed", 10, "images without an embedding, those on the block list among them"),
    interval("share_failed", 0.01, "share of the listed images that has no embedding", 0.0054, 0.0183),
    Figure("n_unreadable", 8, "images that could not be read, decoded or encoded"),
    Figure("n_blocked", 2, "images on the block list, never opened"),
    Figure("n_not_hashed", 3, "images whose content could not be read and has no hash"),
    Figure("n_ignored", 4, "other files in the source, not looked at"),
    Figure("n_with_label", 990, "images with a class"),
    Figure("n_with_caption", 500, "images with a caption"),
    Figure("n_scored", 990, "images with a probability"),
    Figure("n_flagged", 99, "images flagged"),
    interval("share_flagged", 0.1, "share of the scored images that is flagged", 0.0829, 0.1203),
    Figure("n_review", 60, "flagged images that the thresholds leave to people"),
    Figure("n_remove", 39, "flagged images at or above the removal threshold"),
    Figure("n_verdicts", 50, "scored images with a verdict"),
    Figure("n_verdicts_unwanted", 30, "scored images judged unwanted"),
    Figure("n_verdicts_unsure", 1, "scored images that people were unsure of or differ about"),
    Figure("n_flagged_reviewed", 40, "flagged images with a verdict"),
    Figure("n_flagged_unsure", 0, "flagged images that people were unsure of or differ about"),
    Figure("n_flagged_decided", 40, "flagged images that were judged unwanted or wanted"),
    Figure("n_flagged_unreviewed", 59, "flagged images that nobody has looked at"),
    Figure("n_flagged_confirmed", 29, "flagged images judged unwanted"),
    Figure("share_confirmed", 0.725, "share of the flagged images judged unwanted or wanted that was judged unwanted"),
    interval("precision", 0.7, "estimated share of the flagged images that people would judge unwanted", 0.57, 0.84),
    Figure("n_unflagged_reviewed", 10, "unflagged images with a verdict"),
    Figure("n_unflagged_unwanted", 1, "unflagged images judged unwanted"),
    Figure("n_unscored_reviewed", 1, "images without a probability that have a verdict"),
    Figure("n_unscored_unwanted", 0, "images without a probability that were judged unwanted"),
    interval("prevalence", 0.08, "estimated share of the scored images that people would judge unwanted", 0.05, 0.12),
    interval("recall", 0.9, "estimated share of the unwanted images that is flagged", 0.6, 1.0),
    Figure("n_classes", 4, "classes"),
    Figure("n_classes_over", 1, "classes flagged clearly more often than the rest (q < 0.05)"),
)
METHOD = {
    "encoder": {
        "name": "pictogram",
        "weights_sha256": "ab" * 32,
        "precision": "fp32",
        "embedding_dim": 128,
        "preprocessing": {"size_px": 64, "resize_mode": "squash", "interpolation": "bicubic"},
    },
    "classifier": {
        "name": "harm",
        "method": "soft-prompts",
        "class_names": ["positive", "negative"],
        "arrays_sha256": "cd" * 32,
        "prompts": {"positive": ["positive"], "negative": ["negative"]},
        "templates": ["This image is about something {}"],
    },
    "run": {
        "options": {"max_pixels": 178_000_000},
        "n_parts": 1,
        "run_json_sha256": "ef" * 32,
        "parts_sha256": "12" * 32,
    },
    "verdicts": {"file": "verdicts.csv", "sha256": "34" * 32},
    "versions": {"clipsieve": "0.1.0", "python": "3.11.2", "numpy": "2.4.6", "pillow": "12.0"},
    "commands": ["clipsieve scan photos -o run", "clipsieve score run -c harm.safetensors"],
}


def thumbnail(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (96, 72), color).save(file, "WEBP")
    return file.getvalue()


def concepts() -> tuple[Concept, ...]:
    return (
        Concept("weapons", "Weapons", 40, 40 / 99, 0.31, ("a gun", "a knife")),
        Concept("disaster", HOSTILE[0], 20, 20 / 99, 0.22, ("a fire", HOSTILE[1])),
        Concept("drugs", "Drugs", 0, 0.0, None, ("a syringe",)),
        Concept("other", "Other", 39, 39 / 99, 0.04, ("something else",), is_other=True, n_too_close=30),
    )


def sample_report(**changes: object) -> Report:
    """Return a report; `changes` replace its fields."""
    bins = tuple(HistogramBin(i / 20, (i + 1) / 20, max(0, 300 - 30 * abs(i - 3))) for i in range(20))
    labels = ("weapon", *HOSTILE)
    classes = tuple(
        ClassFlags(
            label, 100, 60 - 6 * i, (60 - 6 * i) / 100, 0.4 - 0.04 * i, 0.7 - 0.05 * i, 10.0 ** (i - 8), 0.01 * i
        )
        for i, label in enumerate(labels)
    )
    terms = tuple(Term(term, 30 - i, 3 + i, 2.0 - 0.2 * i, 6.0 - 0.5 * i) for i, term in enumerate(labels))
    sections = tuple(TermSection(field, 400, 3000, terms, terms[::-1]) for field in ("class names", "captions"))
    examples = tuple(
        Example(
            f"{i}/{label}.png",
            f"file:///photos/{i}.png",
            label,
            label,
            0.99 - 0.01 * i,
            "Weapons",
            0.3,
            ("unwanted", "wanted", "unsure", None)[i % 4],
            thumbnail((200, 30 * (i % 8), 60)) if i != 2 else None,
            96 if i != 2 else None,
            72 if i != 2 else None,
        )
        for i, label in enumerate(labels)
    )
    report = Report(
        title="photos",
        made="2026-11-25T12:00:00+00:00",
        source_location="/data/photos",
        source_kind="folder",
        figures=FIGURES,
        failures=(Failure("truncated", 8), Failure("blocked", 2)),
        histogram=bins,
        threshold=0.5,
        remove_threshold=0.9,
        calibration="calibrated (Platt, on 400 rated images)",
        promises=("at least 80 % of the unwanted images are flagged, with 95 % confidence",),
        classes=classes,
        taxonomy=TaxonomySection("offensive-content", "the paper, section 5", "56" * 32, 0.1, concepts()),
        terms=sections,
        examples=examples,
        has_thumbnails=True,
        method=METHOD,
        limits=(
            "10 images could not be read.",
            "Text inside images was not read.",
            "59 flagged images were not reviewed.",
        ),
    )
    return replace(report, **changes)
