"""The scores of a benchmark as the report lays them out: by protocol, and by group of questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

T = TypeVar('T')

COUNTS = ('questions', 'malformed', 'predicted_boxes', 'true_boxes')
"""Scores that are numbers of something."""

_SIZES = ('small', 'medium', 'large')


class ScoreName(NamedTuple):
    """What the name of a score says.

    Attributes:
        protocol: ``''`` for the exact protocol, or what stands before the name, such as ``'earthdial'``.
        kind: Kind of the group of questions, such as ``'size'``; empty for all questions.
        group: The group, such as ``'small'``; empty for all questions.
        base: The score itself, such as ``'f1@0.5'``.
    """

    protocol: str
    kind: str
    group: str
    base: str

    @property
    def bare(self) -> str:
        """The name without the protocol."""
        return f'{self.kind}={self.group}/{self.base}' if self.kind else self.base


def split_name(name: str) -> ScoreName:
    """Take the name of a score apart, such as ``'earthdial/size=small/any_match_precision@0.5'``."""
    *before, base = name.split('/')
    place = next((index for index, part in enumerate(before) if '=' in part), len(before))
    # The name of a group may have slashes in it.
    kind, _, group = '/'.join(before[place:]).partition('=')
    return ScoreName('/'.join(before[:place]), kind, group, base)


@dataclass(frozen=True, eq=False)
class BenchmarkScores:
    """What ``metrics.json`` says of a benchmark.

    Attributes:
        name: The benchmark.
        scores: Scores by name.
        comparisons: Scores by name of what it is compared with, by comparison.
        intervals: Bounds of the 95 % interval by name, for some scores.
        published: Figures that GeoChat published, by name of the score.
        headline: Names of the scores to look at first, without protocols; empty if the run does not say.
        facts: What else is known of it, such as its version and file, by name.
        malformed: How many malformed answers have each complaint.
        problems: What was wrong with questions and answers.
        remarks: What metrics tell beside their scores, by the name of the score.
    """

    name: str
    scores: Mapping[str, float] = field(default_factory=dict)
    comparisons: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    headline: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    malformed: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[str] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> list[str]:
        """Return the names of the scores to look at first, without protocols.

        They are the headline, or all but those of groups where there is none, and what was published.
        """
        there = dict.fromkeys(split_name(name).bare for name in self.scores)
        chosen = [name for name in dict.fromkeys(split_name(name).bare for name in self.headline) if name in there]
        if not chosen:
            chosen = [name for name in there if '=' not in name and name not in COUNTS]
        return list(dict.fromkeys([*chosen, *(split_name(name).bare for name in self.published)]))

    def of_any_protocol(self, values: Mapping[str, T], bare: str) -> T | None:
        """Return what is told of a score under the first protocol that it is told of; None if of none."""
        return next((value for name, value in values.items() if split_name(name).bare == bare), None)

    def protocols(self) -> list[str]:
        """Return the protocols of the scores, the exact one (``''``) first."""
        return sorted({split_name(name).protocol for name in self.scores})

    def by_protocol(self) -> dict[str, dict[str, str]]:
        """Return the full names of the scores of all questions: by base name, then by protocol."""
        table: dict[str, dict[str, str]] = {}
        for name in self.scores:
            part = split_name(name)
            if not part.kind:
                table.setdefault(part.base, {})[part.protocol] = name
        return table

    def groups(self, protocol: str) -> dict[str, dict[str, dict[str, str]]]:
        """Return the full names of a protocol's scores of groups: by kind, group and base name."""
        table: dict[str, dict[str, dict[str, str]]] = {}
        for name in self.scores:
            part = split_name(name)
            if part.kind and part.protocol == protocol:
                table.setdefault(part.kind, {}).setdefault(part.group, {})[part.base] = name
        return {
            kind: {group: groups[group] for group in sorted(groups, key=_by_size)} for kind, groups in table.items()
        }

    def plotted(self) -> str | None:
        """Return the base name of the score that groups of questions are compared by; None if there is none."""
        there = [name for name in self.summary() if name in self.scores and '=' not in name]
        wanted = ('acc@0.5', 'f1@0.5', 'accuracy')
        return next((base for base in (*wanted, *there) if base in there), None)


def _by_size(group: str) -> tuple[int, str]:
    return (_SIZES.index(group) if group in _SIZES else len(_SIZES), group)
