"""The datasheet: what can be said in words of what was found, and of what was not looked at."""

from clipsieve.outputs.datasheet.answer import write_answer
from clipsieve.outputs.datasheet.card import insert_into_card, write_card_section
from clipsieve.outputs.datasheet.croissant import ReportFile, build_croissant
from clipsieve.outputs.datasheet.deliver import write_datasheet
from clipsieve.outputs.datasheet.files import describe_files, write_datasheet_files

__all__ = [
    "ReportFile",
    "build_croissant",
    "describe_files",
    "insert_into_card",
    "write_answer",
    "write_card_section",
    "write_datasheet",
    "write_datasheet_files",
]
