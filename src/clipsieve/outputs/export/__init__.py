"""The cleaned data set: what was kept, as it was."""

from clipsieve.outputs.export.deliver import export_run
from clipsieve.outputs.export.options import ExportOptions, ExportReport, PlaceReport

__all__ = ["ExportOptions", "ExportReport", "PlaceReport", "export_run"]
