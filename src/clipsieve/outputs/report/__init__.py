"""The report: what was found in a data set, for people and for machines."""

from clipsieve.outputs.report.as_json import report_to_json
from clipsieve.outputs.report.deliver import Findings, ReportOptions, write_report
from clipsieve.outputs.report.records import Report

__all__ = ["Findings", "Report", "ReportOptions", "report_to_json", "write_report"]
