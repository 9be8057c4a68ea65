"""What people get in the end: counts, documents, cleaned data sets."""

from clipsieve.outputs.datasheet import write_answer, write_datasheet
from clipsieve.outputs.duplicates import check_duplicates_path, duplicates_table, write_duplicates
from clipsieve.outputs.export import ExportOptions, ExportReport, export_run
from clipsieve.outputs.report import Report, ReportOptions, report_to_json, write_report
from clipsieve.outputs.summary import ClassCount, Summary, summarize

__all__ = [
    "ClassCount",
    "ExportOptions",
    "ExportReport",
    "Report",
    "ReportOptions",
    "Summary",
    "check_duplicates_path",
    "duplicates_table",
    "export_run",
    "report_to_json",
    "summarize",
    "write_answer",
    "write_datasheet",
    "write_duplicates",
    "write_report",
]
