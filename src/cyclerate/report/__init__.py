"""The report of a comparison: a page, its figures, and the table as text."""

from cyclerate.report.headline import Headline as Headline, headline as headline
from cyclerate.report.page import write_report as write_report
from cyclerate.report.table import text_table as text_table
