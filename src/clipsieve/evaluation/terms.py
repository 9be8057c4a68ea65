"""Terms that are over-represented in one of two corpora: log-odds with an informative Dirichlet prior.

Monroe, Colaresi and Quinn 2008, "Fightin' Words: Lexical Feature Selection and Evaluation for Identifying the Content of
Political Conflict", Political Analysis 16(4). The prior holds rare terms back: a word that stands once, among the flagged, is
no finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from clipsieve.errors import UsageError

__all__ = ["PRIOR_SHARE", "RatedTerm", "frequent_terms", "informative_prior", "log_odds", "rate_terms"]

PRIOR_SHARE = 0.1
"""The weight of the prior that `rate_terms` takes, as a share of all terms counted."""


def informative_prior(counts: Int64[np.ndarray, "t"], total: float) -> Float64[np.ndarray, "t"]:
    """Return the pseudo-counts that expect both corpora to use terms as the whole does (section 3.5.1 of the paper).

    Parameters
    ----------
    counts : int64 array of shape (t,)
        How often each term stands in both corpora together, >= 1.
    total : float
        What the pseudo-counts sum to, > 0: the more, the stronger both are drawn to the whole.

    Examples
    --------
    >>> informative_prior(np.array([6, 2]), 4.0)
    array([3., 1.])
    """
    if total <= 0 or (len(counts) and int(counts.min()) < 1):
        raise UsageError("the prior makes no sense", expected="a total above 0, and every term at least once")
    return np.asarray(counts * (total / max(int(counts.sum()), 1)), dtype=np.float64)


def log_odds(
    n_flagged: Int64[np.ndarray, "t"], n_rest: Int64[np.ndarray, "t"], prior: Float64[np.ndarray, "t"]
) -> tuple[Float64[np.ndarray, "t"], Float64[np.ndarray, "t"]]:
    """Return how much more often each term stands among the flagged than among the rest, and how sure that is.

    With y a term's count, n the sum of all counts in that corpus, a the term's pseudo-count and a0 the sum of those::

        delta = log((y_f + a) / (n_f + a0 - y_f - a)) - log((y_r + a) / (n_r + a0 - y_r - a))     (equation 16)
        variance = 1 / (y_f + a) + 1 / (y_r + a)                                                  (equation 20)
        z = delta / sqrt(variance)                                                                (equation 22)

    The variance leaves out what does not matter where no term makes up much of a corpus; with a handful of classes, z looks
    somewhat larger than it is.

    Parameters
    ----------
    n_flagged, n_rest : int64 arrays of shape (t,)
        How often each term stands in each corpus, >= 0.
    prior : float64 array of shape (t,)
        Pseudo-counts, > 0; see `informative_prior`.

    Returns
    -------
    delta, z : float64 arrays of shape (t,)
        Natural logarithms; positive: more among the flagged. Both are 0 where there is one term alone.

    Raises
    ------
    UsageError
        If a count is negative or a pseudo-count is not positive.

    Examples
    --------
    >>> delta, z = log_odds(np.array([8, 2]), np.array([2, 8]), np.array([1.0, 1.0]))
    >>> delta.round(3), z.round(3)
    (array([ 2.197, -2.197]), array([ 3.296, -3.296]))
    """
    if len(prior) and (min(int(n_flagged.min()), int(n_rest.min())) < 0 or not (prior > 0).all()):
        raise UsageError("the counts of terms make no sense", expected="counts of 0 or more, pseudo-counts above 0")
    if len(prior) < 2:
        return np.zeros(len(prior)), np.zeros(len(prior))
    flagged, rest = n_flagged + prior, n_rest + prior
    delta = np.log(flagged / (flagged.sum() - flagged)) - np.log(rest / (rest.sum() - rest))
    return delta, delta / np.sqrt(1 / flagged + 1 / rest)


@dataclass(frozen=True, slots=True)
class RatedTerm:
    """One term, with its counts and what `log_odds` says of it."""

    term: str
    n_flagged: int
    n_rest: int
    log_odds: float
    z_score: float


def rate_terms(
    flagged: Mapping[str, int], rest: Mapping[str, int], *, prior_share: float = PRIOR_SHARE
) -> list[RatedTerm]:
    """Return every term of two corpora, the most over-represented among the flagged first.

    The prior is the whole of both, scaled to a share of its own size. At a tenth, a term that stands three times, and
    only among the one in ten that are flagged, has a z-score of 2.1; a hundred times, 12.

    Parameters
    ----------
    flagged, rest : mappings of str to int
        How often each term stands in each corpus, >= 0.
    prior_share : float, default=0.1
        > 0.

    Returns
    -------
    list of RatedTerm
        By z-score; equal ones in the order of their letters.

    Examples
    --------
    >>> [term.term for term in rate_terms({"tank": 9, "tree": 1}, {"tank": 1, "tree": 9})]
    ['tank', 'tree']
    """
    terms = sorted(term for term in {**flagged, **rest} if flagged.get(term, 0) + rest.get(term, 0))
    if not terms:
        return []
    n_flagged = np.array([flagged.get(term, 0) for term in terms], dtype=np.int64)
    n_rest = np.array([rest.get(term, 0) for term in terms], dtype=np.int64)
    prior = informative_prior(n_flagged + n_rest, prior_share * int((n_flagged + n_rest).sum()))
    delta, z = log_odds(n_flagged, n_rest, prior)
    columns = n_flagged.tolist(), n_rest.tolist(), delta.tolist(), z.tolist()
    rated = [RatedTerm(*values) for values in zip(terms, *columns, strict=True)]
    return sorted(rated, key=lambda term: (-term.z_score, term.term))


def frequent_terms(rated: list[RatedTerm], most: int) -> list[RatedTerm]:
    """Return the most frequent terms among the flagged, by plain count; equal ones by z-score, then by letters."""
    found = [term for term in rated if term.n_flagged]
    return sorted(found, key=lambda term: (-term.n_flagged, -term.z_score, term.term))[:most]
