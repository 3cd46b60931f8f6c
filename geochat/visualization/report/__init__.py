"""The report of a run: one page of HTML with tables, plots and answers drawn on their pictures."""

from geochat.visualization.report.cases import Case, is_number, read_case
from geochat.visualization.report.page import BenchmarkPart, Page, Report, no_boxes, render
from geochat.visualization.report.scores import BenchmarkScores

__all__ = ['BenchmarkPart', 'BenchmarkScores', 'Case', 'Page', 'Report', 'is_number', 'no_boxes', 'read_case', 'render']
