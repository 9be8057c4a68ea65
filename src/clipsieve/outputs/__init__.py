"""What people get in the end: counts, documents, cleaned data sets."""

from clipsieve.outputs.summary import ClassCount, Summary, summarize

__all__ = ["ClassCount", "Summary", "summarize"]
