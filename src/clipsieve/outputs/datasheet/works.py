"""The works that a datasheet cites."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WORKS", "Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """A publication: how the text names it, and the entry in the list of references."""

    short: str
    entry: str


WORKS = {
    "datasheets": Work(
        "Gebru et al. 2021",
        "Gebru, T., Morgenstern, J., Vecchione, B., Vaughan, J. W., Wallach, H., Daumé III, H. and Crawford, K. 2021. "
        "Datasheets for Datasets. Communications of the ACM 64(12), 86-92. arXiv:1803.09010.",
    ),
    "question": Work(
        "Schramowski, Tauchmann and Kersting 2022",
        "Schramowski, P., Tauchmann, C. and Kersting, K. 2022. Can Machines Help Us Answering Question 16 in Datasheets, "
        "and In Turn Reflecting on Inappropriate Content? FAccT 2022. arXiv:2202.06675.",
    ),
    "clip": Work(
        "Radford et al. 2021",
        "Radford, A. et al. 2021. Learning Transferable Visual Models From Natural Language Supervision. ICML 2021. "
        "arXiv:2103.00020.",
    ),
    "classes": Work(
        "Benjamini and Hochberg 1995",
        "Benjamini, Y. and Hochberg, Y. 1995. Controlling the False Discovery Rate: A Practical and Powerful Approach to "
        "Multiple Testing. Journal of the Royal Statistical Society B 57(1), 289-300.",
    ),
}
