"""A run as one page of HTML that needs nothing else: tables, plots, answers with their pictures, the run's card."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from geochat.visualization.report import plots
from geochat.visualization.report.cases import Case, overlaps, quality
from geochat.visualization.report.gallery import choose, data_uri, draw_case
from geochat.visualization.report.scores import BenchmarkScores
from geochat.visualization.report.statistics import (
    MOST_CLASSES,
    Confusion,
    confusion,
    precision_and_recall,
    true_box_overlaps,
)
from geochat.visualization.report.style import STYLE
from geochat.visualization.report.text import escaped

LONGEST_WORDS = 400
"""Characters of a question or an answer in the gallery."""

LARGEST_BLANK = 4096
"""Longest side in pixels of a picture that is not there, up to which boxes are shown on grey ground in its place."""

MOST_TOLD = 3
"""Scores of a single answer that stand beside it; those of other protocols only if there are no others."""

MOST_SLIPS = 5

MOST_PROBLEMS = 20
"""What was wrong with questions and answers is listed up to this number."""

MOST_GROUPS_ACROSS = 6
"""A table has groups of questions as its columns up to this number, as its rows beyond."""

_NOTHING_ELSE = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)
"""Tells the browser to run no script and to fetch nothing, should a model's words get through as more than words."""

LoadPicture = Callable[[str], Image.Image]
"""Gives a picture by its name; raises OSError or ValueError, with the reason, where it cannot."""


def no_boxes(case: Case) -> np.ndarray:
    """Return no boxes: the box language of the questions is not known."""
    return np.zeros((0, 5))


@dataclass(frozen=True, eq=False)
class BenchmarkPart:
    """What the page tells of one benchmark.

    Attributes:
        scores: Its scores.
        cases: The answers.
        load_picture: Gives the pictures of its questions; None if it is not known where they are.
        asked_boxes: Gives the boxes that a question speaks of, (K, 5).
    """

    scores: BenchmarkScores
    cases: Sequence[Case]
    load_picture: LoadPicture | None = None
    asked_boxes: Callable[[Case], np.ndarray] = no_boxes


@dataclass(frozen=True, eq=False)
class Report:
    """What the page tells.

    Attributes:
        title: Its heading.
        benchmarks: The benchmarks, in their order.
        comparisons: What the scores are compared with: a sentence for each column of the tables.
        card: What made the run, by name: plain values, lists and dicts.
        notes: What the reader must know of the files, such as lines that could not be read.
    """

    title: str
    benchmarks: Sequence[BenchmarkPart]
    comparisons: Mapping[str, str] = field(default_factory=dict)
    card: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """The page and what could not be shown in it.

    Attributes:
        html: The whole file.
        notes: The report's notes, and the pictures that could not be shown.
    """

    html: str
    notes: tuple[str, ...]


def render(report: Report, num_cases: int, progress: Callable[[str], None]) -> Page:
    """Write the page.

    Args:
        report: What it tells.
        num_cases: Most answers that are shown as the best, and as many as the worst, of each benchmark.
        progress: Is called with the name of each benchmark before it is drawn.
    """
    sections, missing = [], []
    for part in report.benchmarks:
        progress(part.scores.name)
        sections.append(_section(part, report, num_cases, missing))
    notes = (*report.notes, *missing)
    body = [
        f'<header><h1>{escaped(report.title)}</h1>{_contents(report)}</header>',
        _notes(notes),
        _summary(report),
        *sections,
        _card(report.card),
    ]
    title = escaped(report.title)
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{viewport}{_NOTHING_ELSE}<title>{title}</title><style>{STYLE}</style>'
    page = f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{"".join(body)}</body>\n</html>\n'
    return Page(page, notes)


def _contents(report: Report) -> str:
    links = [f'<a href="#{_anchor(part)}">{escaped(part.scores.name)}</a>' for part in report.benchmarks]
    return f'<nav>{" ".join(links)} <a href="#run-card">run card</a></nav>'


def _anchor(part: BenchmarkPart) -> str:
    return f'benchmark-{escaped(part.scores.name).replace(" ", "-")}'


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ''
    items = ''.join(f'<li>{escaped(note)}</li>' for note in notes)
    return f'<section class="notes"><h2>To be known</h2><ul>{items}</ul></section>'


def _summary(report: Report) -> str:
    """Return the table of the scores to look at first, beside what was published and what they are compared with."""
    all_scores = [part.scores for part in report.benchmarks]
    protocols = list(dict.fromkeys(name for scores in all_scores for name in scores.protocols() if name))
    comparisons = list(dict.fromkeys(name for scores in all_scores for name in scores.comparisons))
    has_intervals, has_published = any(s.intervals for s in all_scores), any(s.published for s in all_scores)
    head = ['benchmark', 'score', 'this run']
    head += ['95 % interval'] * has_intervals + ['GeoChat, published'] * has_published
    rows = []
    for part in report.benchmarks:
        scores, benchmark = part.scores, f'<a href="#{_anchor(part)}">{escaped(part.scores.name)}</a>'
        counts = [str(len(part.cases)), str(sum(case.malformed for case in part.cases))]
        for name in scores.summary() or ['']:
            row = [benchmark, escaped(name), f'<b>{_number(scores.scores.get(name))}</b>']
            row += [_interval(scores.intervals.get(name))] * has_intervals
            row += [_number(scores.of_any_protocol(scores.published, name))] * has_published
            row += [_number(scores.scores.get(f'{protocol}/{name}')) for protocol in protocols]
            row += [_number(scores.comparisons.get(column, {}).get(name)) for column in comparisons]
            rows.append([*row, *counts])
            benchmark, counts = '', ['', '']
    meanings = {name: f'scored as by {name} (docs/evaluation.md)' for name in protocols} | dict(report.comparisons)
    footer = ''.join(
        f'<p class="legend"><b>{escaped(name)}</b>: {escaped(meanings[name])}</p>'
        for name in (*protocols, *comparisons)
        if name in meanings
    )
    table = _table([*head, *protocols, *comparisons, 'questions', 'malformed'], rows, texts=(0, 1))
    return f'<section><h2>Scores</h2>{table}{footer}</section>'


def _section(part: BenchmarkPart, report: Report, num_cases: int, missing: list[str]) -> str:
    facts = ''.join(f'<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>' for name, value in part.scores.facts.items())
    iou = overlaps(part.cases)
    tables = _protocol_table(part.scores) + ''.join(_group_tables(part.scores))
    pieces = [
        f'<dl class="facts">{facts}</dl>' if facts else '',
        _malformed(part),
        _remarks(part.scores.remarks),
        _problems(part.scores.problems),
        f'<div class="results"><div>{tables}</div>{_plots(part, iou)}</div>',
        _gallery(part, iou, num_cases, missing),
    ]
    return f'<section id="{_anchor(part)}"><h2>{escaped(part.scores.name)}</h2>{"".join(pieces)}</section>'


def _malformed(part: BenchmarkPart) -> str:
    count = sum(case.malformed for case in part.cases)
    if not count:
        return ''
    codes = ', '.join(f'{escaped(code)} in {number}' for code, number in part.scores.malformed.items())
    reasons = f' ({codes})' if codes else ''
    return f'<p>{count} of {len(part.cases)} answers are malformed{reasons}; they count in every score.</p>'


def _remarks(remarks: Mapping[str, str]) -> str:
    return ''.join(f'<p>{escaped(name)}: {escaped(remark)}</p>' for name, remark in remarks.items())


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ''
    items = ''.join(f'<li>{escaped(problem)}</li>' for problem in problems[:MOST_PROBLEMS])
    more = f', of which these are the first {MOST_PROBLEMS}' if len(problems) > MOST_PROBLEMS else ''
    title = f'Problems with questions and answers: {len(problems)}{more}'
    return f'<details><summary>{title}</summary><ul>{items}</ul></details>'


def _protocol_table(scores: BenchmarkScores) -> str:
    """Return the scores of all questions, the protocols side by side."""
    protocols = scores.protocols()
    rows = [
        [escaped(base), *(_with_interval(scores, names.get(protocol)) for protocol in protocols)]
        for base, names in scores.by_protocol().items()
    ]
    if not rows:
        return ''
    head = ['score', *(protocol or 'exact' for protocol in protocols)]
    return f'<h3>All questions</h3>{_table(head, rows)}'


def _group_tables(scores: BenchmarkScores) -> Iterator[str]:
    for protocol in scores.protocols():
        for kind, groups in scores.groups(protocol).items():
            bases = list(dict.fromkeys(base for names in groups.values() for base in names))
            cells = {
                (group, base): _with_interval(scores, names.get(base))
                for group, names in groups.items()
                for base in bases
            }
            if len(groups) <= MOST_GROUPS_ACROSS:
                head = ['score', *groups]
                rows = [[escaped(base), *(cells[group, base] for group in groups)] for base in bases]
            else:
                head = [kind, *bases]
                rows = [[escaped(group), *(cells[group, base] for base in bases)] for group in groups]
            title = f'By {escaped(kind)}' + (f', {escaped(protocol)}' if protocol else '')
            yield f'<details><summary>{title}</summary>{_table(head, rows)}</details>'


def _plots(part: BenchmarkPart, iou: Sequence[np.ndarray | None]) -> str:
    drawn = list(_group_plots(part.scores))
    tables = [table for table in iou if table is not None]
    if tables:
        drawn.append(plots.overlap_histogram(true_box_overlaps(tables)))
        drawn.append(plots.threshold_curves(precision_and_recall(tables)))
    table = confusion(part.cases)
    if table is not None:
        drawn.append(plots.confusion_matrix(table) + _slips(table))
    return f'<div class="plots">{"".join(f"<figure>{plot}</figure>" for plot in drawn)}</div>' if drawn else ''


def _slips(table: Confusion) -> str:
    lines = [
        f'<li>{escaped(truth)} taken for {escaped(answer)}: {count} of {questions}</li>'
        for truth, answer, count, questions in table.slips(MOST_SLIPS)
    ]
    listed = f'Most frequent slips<ol>{"".join(lines)}</ol>' if lines else ''
    others = f'{table.others} answers are none of the classes.' if table.others else ''
    return f'<figcaption>{others} {listed}</figcaption>'


def _group_plots(scores: BenchmarkScores) -> Iterator[str]:
    base = scores.plotted()
    for kind, groups in scores.groups('').items():
        names = {group: by_base[base] for group, by_base in groups.items() if base in by_base}
        if 2 <= len(names) <= MOST_CLASSES:
            values = {group: scores.scores[name] for group, name in names.items()}
            bounds = {group: scores.intervals[name] for group, name in names.items() if name in scores.intervals}
            yield plots.group_bars(f'{base} by {kind}', values, bounds)


def _gallery(part: BenchmarkPart, iou: Sequence[np.ndarray | None], num_cases: int, missing: list[str]) -> str:
    qualities = [quality(case, table) for case, table in zip(part.cases, iou, strict=True)]
    chosen = choose(part.cases, qualities, num_cases)
    asked = {case.id: part.asked_boxes(case) for rated in chosen for case, _ in rated}
    pieces = []
    for title, rated in zip(('Best answers', 'Worst answers'), chosen, strict=True):
        cards = ''.join(_case_card(part, case, rating, asked[case.id], missing) for case, rating in rated)
        pieces.append(f'<h3>{title}</h3><div class="gallery">{cards}</div>' if cards else '')
    kinds = {'true': 'true boxes', 'predicted': 'predicted boxes'} if any(case.has_boxes for case in part.cases) else {}
    if any(len(boxes) for boxes in asked.values()):
        kinds['asked'] = 'boxes asked about'
    keys = ''.join(f'<span class="key {kind}"></span>{name}' for kind, name in kinds.items())
    return f'<p class="legend">{keys}</p>{"".join(pieces)}' if any(pieces) else ''


def _case_card(part: BenchmarkPart, case: Case, rating: float, asked: np.ndarray, missing: list[str]) -> str:
    answer = f'none: {case.error}' if case.error else case.answer or '(empty)'
    words = {'Question': case.prompt, 'Answer': answer, 'Truth': _truth(case)}
    lines = ''.join(
        f'<dt>{name}</dt><dd title="{escaped(value, LONGEST_WORDS)}">{escaped(value, LONGEST_WORDS)}</dd>'
        for name, value in words.items()
        if value
    )
    told = {name: value for name, value in case.scores.items() if '/' not in name} or case.scores
    shown = list(told.items())[:MOST_TOLD] or [('overlap' if case.has_boxes else 'right', rating)]
    scores = ', '.join(f'{escaped(name)} {round(value, 3) + 0:g}' for name, value in shown)  # + 0: no minus zero
    flag = ' <b class="flag">malformed</b>' if case.malformed else ''
    head = f'<p class="head"><span>{escaped(case.id, 60)}</span> <span>{scores}{flag}</span></p>'
    return f'<article>{_picture(part, case, asked, missing)}{head}<dl>{lines}</dl></article>'


def _truth(case: Case) -> str:
    if case.true_texts:
        return ' / '.join(case.true_texts)
    count = 0 if case.true_boxes is None else len(case.true_boxes)
    return f'{count} box{"" if count == 1 else "es"}' if count else ''


def _picture(part: BenchmarkPart, case: Case, asked: np.ndarray, missing: list[str]) -> str:
    """Return the picture of an answer; its boxes on grey ground where there is none."""
    name = case.images[0] if case.images else ''
    image, remark = None, escaped(name, 80)
    if name and part.load_picture is not None:
        try:
            image, remark = part.load_picture(name), ''
        except (OSError, ValueError) as error:
            missing.append(f'{part.scores.name}, {case.id}: the picture cannot be shown: {error}')
            remark = f'{remark} cannot be shown'
    if image is None:
        if not case.has_boxes or case.image_size is None or max(case.image_size) > LARGEST_BLANK:
            return f'<p class="no-picture">{remark}</p>' if remark else ''
        image, remark = Image.new('RGB', case.image_size, (128, 128, 128)), remark or 'no picture'
    drawing, is_cut_out = draw_case(image, case, asked)
    remarks = ', '.join(filter(None, (remark, 'cut-out' if is_cut_out else '')))
    legend = f'<p class="legend">{remarks}</p>' if remarks else ''
    return f'<img src="{data_uri(drawing)}" alt="{escaped(name, 80)}">{legend}'


def _card(card: Mapping[str, object]) -> str:
    rows = ''.join(f'<dt>{escaped(name)}</dt><dd>{_value(value)}</dd>' for name, value in card.items())
    told = f'<dl>{rows}</dl>' if rows else '<p>The run left none behind.</p>'
    return f'<section id="run-card"><h2>Run card</h2>{told}</section>'


def _value(value: object) -> str:
    """Return a plain value as a cell; what is long is folded."""
    if isinstance(value, str | int | float) or value is None:
        return escaped(value)
    text = escaped(json.dumps(value, indent=2, ensure_ascii=False, default=str))
    if '\n' not in text:
        return text
    return f'<details><summary>{len(value)} entries</summary><pre>{text}</pre></details>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = (0,)) -> str:
    """Return a table of cells that are HTML already; the columns ``texts`` hold words, all others numbers."""

    def cells(tag: str, values: Sequence[str]) -> str:
        return ''.join(
            f'<{tag} class="text">{value}</{tag}>' if column in texts else f'<{tag}>{value}</{tag}>'
            for column, value in enumerate(values)
        )

    header = f'<thead><tr>{cells("th", [escaped(name) for name in head])}</tr></thead>'
    body = ''.join(f'<tr>{cells("td", row)}</tr>' for row in rows)
    return f'<div class="wide"><table>{header}<tbody>{body}</tbody></table></div>'


def _with_interval(scores: BenchmarkScores, name: str | None) -> str:
    if name is None:
        return ''
    interval = _interval(scores.intervals.get(name))
    return f'{_number(scores.scores[name])}{f" <small>{interval}</small>" if interval else ""}'


def _interval(bounds: Sequence[float] | None) -> str:
    return '' if bounds is None else f'{bounds[0]:.3f}\u2013{bounds[1]:.3f}'


def _number(value: float | None) -> str:
    if value is None:
        return ''
    return str(value) if isinstance(value, int) else f'{value:.3f}'
