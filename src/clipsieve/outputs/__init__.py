"""What people get in the end: counts, documents, cleaned data sets."""

from clipsieve.outputs.export import ExportOptions, ExportReport, export_run
from clipsieve.outputs.summary import ClassCount, Summary, summarize

__all__ = ["ClassCount", "ExportOptions", "ExportReport", "Summary", "export_run", "summarize"]
