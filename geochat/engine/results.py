"""What benchmarks' answers reach, laid out as a table and written as ``metrics.json``."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geochat
from geochat.engine.config import ConfigError
from geochat.engine.files import replace_text
from geochat.registry import near_misses
from geochat.structures import Answer

if TYPE_CHECKING:
    from geochat.engine.benchmark import Benchmark

COMPARISONS = {
    'majority': 'the same answer to every question: the most frequent true one',
    'grey': 'the same model, shown grey pictures of the same size',
    'angle_0': "the model's answers with the angle of every box set to 0",
}
"""What a score can be compared with."""

COUNTS = ('questions', 'malformed')
"""Scores that count answers; they head a benchmark's rows in the table."""

PROBLEMS = {
    'unreadable_line': 'lines that are no JSON object; they are left out',
    'no_id': 'lines without an id; they are left out',
    'no_answer': 'lines without an answer; they count as wrong',
    'no_truth': 'lines without a ground truth that can be read; they are left out',
    'unread_truth': 'lines whose ground truth has boxes that cannot be read; these boxes are left out',
    'duplicate_id': 'lines that answer a question once more; the first answer counts',
    'unknown_id': 'lines with an id that the benchmark does not have; they are left out',
    'left_out': 'lines of a kind that the benchmark leaves out',
    'unanswered': 'questions without an answer; they count as wrong',
    'not_asked': 'questions that could not be asked, for want of their picture or as too long; they count as wrong',
}
"""What can be wrong with answers, and what is done about it."""

EXAMPLES = 3
"""How many of a kind the table's footer names; ``metrics.json`` has all."""

Scores = dict[str, float]


@dataclass(frozen=True)
class Problem:
    """Something wrong with an answer or a question.

    Attributes:
        code: One of :data:`PROBLEMS`.
        place: Where: a file and its line, or a question.
        message: What is wrong there.
    """

    code: str
    place: str
    message: str

    def __str__(self) -> str:
        return f'{self.place}: {self.message}'


@dataclass(frozen=True)
class BenchmarkResult:
    """What the answers to a benchmark reach.

    Attributes:
        benchmark: The benchmark.
        scores: ``score``, and the scores of what it is compared with (:data:`COMPARISONS`).
        intervals: 95 % intervals by the name of the score.
        malformed: How many malformed answers have each complaint: the codec's codes, ``no_box``, ``no_words``.
        problems: What was wrong with questions and answers.
        remarks: What metrics tell beside their scores, by the name of the score: why one is left out, for instance.
        rated: Metrics of ours, each with the question ids and results of the answers in their order.
    """

    benchmark: 'Benchmark'
    scores: Mapping[str, Scores]
    intervals: Mapping[str, tuple[float, float]]
    malformed: Mapping[str, int]
    problems: Sequence[Problem]
    remarks: Mapping[str, str] = field(default_factory=dict)
    rated: Sequence[tuple[Any, Sequence[tuple[str, Any]]]] = ()

    def of_answers(self) -> list[dict[str, float]]:
        """Return what the metrics tell of each single answer, in the order of the answers; none if none tells."""
        columns = [
            [
                {full_name(metric, name): value for name, value in metric.of_answer(result).items()}
                for _, result in results
            ]
            for metric, results in self.rated
        ]
        return [{name: value for told in row for name, value in told.items()} for row in zip(*columns, strict=True)]


def full_name(metric: Any, name: str) -> str:
    """Return the name of a metric's score, with what stands before it."""
    return f'{metric.prefix}/{name}' if metric.prefix else name


def count_malformed(answers: Iterable[Answer]) -> dict[str, int]:
    """Count the malformed answers by what is wrong with them; an answer may count for several complaints."""
    counts: Counter[str] = Counter()
    for parsed in (answer.parsed for answer in answers if answer.parsed.malformed):
        found = {diagnostic.code for diagnostic in parsed.grounded.diagnostics} if parsed.grounded else ()
        counts.update(found or {'no_words' if parsed.boxes is None else 'no_box'})
    return dict(counts.most_common())


def score_table(results: Sequence[BenchmarkResult], missing: Mapping[str, str] | None = None) -> str:
    """Lay out what benchmarks reach as one table, with a footer.

    A protocol's scores stand in a column of their own beside the exact ones.

    Args:
        results: In the order of the table.
        missing: Benchmarks that were not run, and why.
    """
    from terminaltables import AsciiTable

    layouts = [_Layout(result) for result in results]
    protocols = list(dict.fromkeys(protocol for layout in layouts for protocol in layout.protocols))
    comparisons = [name for name in COMPARISONS if any(name in result.scores for result in results)]
    optional = {
        '95 %': any(result.intervals for result in results),
        'published': any(result.benchmark.published for result in results),
    }
    columns = ['score', *(name for name, there in optional.items() if there), *protocols, *comparisons]
    rows = [['benchmark', *COUNTS, 'metric', *columns]]
    for layout in layouts:
        head = [layout.name, *(number_text(layout.scores.get(name)) for name in COUNTS)]
        for metric in layout.metrics:
            rows.append([*head, metric, *(layout.cell(metric, column) for column in columns)])
            head = [''] * len(head)
    table = AsciiTable(rows)
    table.justify_columns = {column: 'right' for column in range(1, len(rows[0])) if column != len(COUNTS) + 1}
    legend = {
        '95 %': 'bootstrap interval of the score',
        'published': 'published for GeoChat-7B (docs/benchmark_sets.md says by whom)',
        **{protocol: f'scored as by {protocol} (docs/evaluation.md)' for protocol in protocols},
        **COMPARISONS,
    }
    notes = [f'{name}: {legend[name]}' for name in columns if name in legend]
    footers = [line for result in results for line in _footer(result)]
    not_run = [f'{name} was not run: {reason}' for name, reason in (missing or {}).items()]
    return '\n'.join([table.table, *notes, *footers, *not_run])


def _footer(result: BenchmarkResult) -> list[str]:
    name, lines = result.benchmark.name, []
    if result.malformed:
        reasons = ', '.join(f'{code} {count}' for code, count in result.malformed.items())
        lines.append(f'{name}: {result.scores["score"].get("malformed", "some")} malformed answers ({reasons})')
    by_code: dict[str, list[Problem]] = {}
    for problem in result.problems:
        by_code.setdefault(problem.code, []).append(problem)
    for code, problems in by_code.items():
        examples = '; '.join(map(str, problems[:EXAMPLES]))
        more = f'; and {len(problems) - EXAMPLES} more' if len(problems) > EXAMPLES else ''
        lines.append(f'{name}: {len(problems)} {PROBLEMS[code]} ({examples}{more})')
    by_remark: dict[str, list[str]] = {}
    for score, remark in result.remarks.items():
        by_remark.setdefault(remark, []).append(score)
    return [*lines, *(f'{name}: {", ".join(scores)}: {remark}' for remark, scores in by_remark.items())]


class _Layout:
    """The rows of one benchmark in the table."""

    def __init__(self, result: BenchmarkResult):
        self.result = result
        self.name = result.benchmark.name
        self.scores = result.scores['score']
        self.protocols = result.benchmark.protocols
        self.metrics = shown_scores(result.benchmark, self.scores)

    def cell(self, metric: str, column: str) -> str:
        """Return the text of a cell."""
        if column == '95 %':
            ends = self.result.intervals.get(metric)
            return '' if ends is None else '-'.join(map(number_text, ends))
        if column == 'published':
            published = self.result.benchmark.published
            names = (metric, *(f'{protocol}/{metric}' for protocol in self.protocols))
            return number_text(next((published[name] for name in names if name in published), None))
        if column in self.protocols:
            return number_text(self.scores.get(f'{column}/{metric}'))
        return number_text(self.result.scores.get(column, {}).get(metric))


def shown_scores(benchmark: 'Benchmark', scores: Scores) -> list[str]:
    """Return the names of the scores in the table, without the protocols' names before them.

    Groups such as ``size=small/acc@0.5`` are left to the file, unless the benchmark names them, or has published
    figures of them.

    Raises:
        ConfigError: If the benchmark is to show a score that it does not have.
    """
    if benchmark.shown is None:
        names = [name for name in scores if '=' not in name]
    else:
        names = list(benchmark.shown)
        for name in names:
            if name not in scores:
                known = ', '.join(near_misses(name, scores) or sorted(scores))
                raise ConfigError(f'benchmarks.{benchmark.name}.shown: there is no score {name!r}, but {known}')
    bare = dict.fromkeys(without_protocol(benchmark, name) for name in (*names, *benchmark.published))
    return [name for name in bare if name not in COUNTS]


def without_protocol(benchmark: 'Benchmark', name: str) -> str:
    """Return the name of a score without the name of a protocol before it."""
    protocol, slash, rest = name.partition('/')
    return rest if slash and protocol in benchmark.protocols else name


def number_text(value: float | None) -> str:
    """Return a figure as a cell of a table: counts as they are, scores to three digits, nothing for None."""
    if value is None:
        return ''
    return str(value) if isinstance(value, int) else f'{value:.3f}'


def write_metrics(
    results: Sequence[BenchmarkResult], path: Path, source: str, kept: Mapping[str, Any] | None = None
) -> None:
    """Write what benchmarks reach as ``metrics.json``.

    Args:
        results: What they reach.
        path: The file.
        source: The weights or the predictions that were scored.
        kept: What an earlier ``metrics.json`` says of benchmarks that were not scored this time; None if nothing.
    """
    sections: dict[str, dict[str, Any]] = {name: dict(values) for name, values in (kept or {}).items()}
    for result in results:
        benchmark = result.benchmark
        entries = {
            'results': result.scores,
            'intervals': result.intervals,
            'published': benchmark.published,
            'malformed': result.malformed,
            'problems': [vars(problem) for problem in result.problems],
            'remarks': result.remarks,
            'shown': shown_scores(benchmark, result.scores['score']),
        }
        for section, entry in entries.items():
            sections.setdefault(section, {})[benchmark.name] = entry
    content = {'geochat': geochat.__version__, 'source': source, **sections}
    replace_text(path, json.dumps(content, indent=2))
