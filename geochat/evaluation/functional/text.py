"""Comparison of short answers, the way that is right and the ways of other papers."""

import itertools
import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

NORMALIZATIONS = {
    'verbatim': lambda text: text,
    'compact': lambda text: re.sub(r'[\s._-]', '', text).lower(),
    'words': lambda text: ' '.join(words(text)),
}
"""Ways to write a text before it is compared. ``compact``: in lower case, without white space, dots, underscores and
hyphens, so that ``Medium Residential.`` is ``mediumresidential``, as folder names have it. ``words``: the words and
numbers in lower case with one space between them, without punctuation; a sign and a decimal point stay with their
number (``-1.5 m.`` is ``-1.5 m``)."""

_WORD = re.compile(r'(?<![\w.])[+-]?\d+(?:[.,]\d+)*|\w+')

_NUMBER = re.compile(r'(?<![\w.])[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?')

_PARTS = re.compile(r'[,;/&]|\band\b', re.IGNORECASE)

_SMALL_NUMBERS = (
    *('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve'),
    *('thirteen', 'fourteen', 'fifteen', 'sixteen', 'seventeen', 'eighteen', 'nineteen'),
)

_TENS = ('twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety')

OTHER = 'other'
"""Column of :func:`confusion` for answers that are none of the classes."""


def words(text: str) -> list[str]:
    """Return the words and numbers of a text in lower case, without punctuation.

    Numbers keep their sign, decimal point and commas. These are the tokens of our caption scores, which so do not hang
    on a Java program as those of the Penn Treebank do; ``docs/evaluation.md`` compares the two.
    """
    return _WORD.findall(text.lower())


def normalize_text(text: str, normalization: str) -> str:
    """Write a text as one of :data:`NORMALIZATIONS` says.

    Raises:
        ValueError: If there is no such normalization.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f'normalization is one of {", ".join(NORMALIZATIONS)}, not {normalization!r}')
    return NORMALIZATIONS[normalization](text)


def as_texts(accepted: str | Sequence[str]) -> list[str]:
    """Return the accepted answers as a list, be they one or several.

    Raises:
        ValueError: If they are no texts.
    """
    texts = [accepted] if isinstance(accepted, str) else accepted
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f'a true answer is a text or a list of texts, not {accepted!r}')
    return list(texts)


def exact_match(answer: str, accepted: str | Sequence[str], normalization: str = 'compact') -> bool:
    """Tell whether an answer is one of the accepted ones. An empty answer is wrong.

    Args:
        answer: What a model says.
        accepted: The ground truth, or several that count as right.
        normalization: One of :data:`NORMALIZATIONS`, applied to both sides.

    Raises:
        ValueError: If there is no such normalization.
    """
    written = normalize_text(answer, normalization)
    return bool(written) and any(written == normalize_text(text, normalization) for text in as_texts(accepted))


def same_parts(answer: str, truth: str, normalization: str = 'compact') -> bool:
    """Tell whether an answer names what the truth names, in any order: parts are set off by commas, slashes or *and*.

    Args:
        answer: What a model says.
        truth: The ground truth, such as ``white, red``.
        normalization: One of :data:`NORMALIZATIONS`, applied to each part.
    """
    said, true = (
        {normalize_text(part, normalization) for part in _PARTS.split(text)} - {''} for text in (answer, truth)
    )
    return bool(said) and said == true


def offers_truth(offered: str | Sequence[str], accepted: str | Sequence[str], normalization: str = 'compact') -> bool:
    """Tell whether a question that gives classes to choose from gives the true one.

    Args:
        offered: The classes, or the whole question, in which the true class must stand.
        accepted: The ground truth, or several that count as right.
        normalization: One of :data:`NORMALIZATIONS`, applied to both sides.
    """
    truths = [normalize_text(text, normalization) for text in as_texts(accepted)]
    if isinstance(offered, str):
        return any(truth in normalize_text(offered, normalization) for truth in truths)
    classes = {normalize_text(name, normalization) for name in offered}
    return any(truth in classes for truth in truths)


def geochat_match(answer: str, accepted: str | Sequence[str]) -> bool:
    """Compare as GeoChat's script for scenes: both in lower case, the answer without spaces and dots.

    The truth is left with its spaces, hyphens and dots, so that it can be met only where it has none.
    """
    written = answer.replace(' ', '').replace('.', '').lower()
    return any(written == text.lower() for text in as_texts(accepted))


def token_recall(answer: str, accepted: str | Sequence[str]) -> float:
    """Return EarthDial's score: the share of the truth's tokens that the answer has, spaces taken out of both before.

    Tokens are those of NLTK's ``word_tokenize``; with the spaces gone they are what stands between punctuation, so that
    an answer that names all classes has them all.
    """
    from nltk.tokenize import word_tokenize

    def tokens(text: str) -> list[str]:
        # Without white space there is but one sentence; splitting sentences would need data of NLTK's.
        return word_tokenize(text.replace(' ', '').strip().lower(), preserve_line=True)

    said = set(tokens(answer))
    return max(len(said & set(truth)) / max(1, len(truth)) for truth in map(tokens, as_texts(accepted)))


def is_part_of_truth(answer: str, accepted: str | Sequence[str]) -> bool:
    """Compare as RSEvalKit: whether the answer stands in the truth, both in lower case without spaces.

    It is the answer that is looked for in the truth: ``e`` is right for ``yes``, and so is an empty answer.
    """
    written = answer.replace(' ', '').lower()
    return any(written in text.replace(' ', '').lower() for text in as_texts(accepted))


def share_of_parts(answer: str, truth: str) -> float:
    """Return RSEvalKit's score of colours: the share of the truth's parts, set off by commas, that stand in the answer.

    Both are in lower case without spaces; ``red`` stands in ``bored``, and an answer with all colours scores 1.
    """
    written, parts = answer.replace(' ', '').lower(), truth.replace(' ', '').lower().split(',')
    return sum(part in written for part in parts) / len(parts)


def rsevalkit_presence(answer: str, truth: str) -> bool:
    """Compare yes and no as RSEvalKit: an answer says yes if ``yes`` stands in it, and no if ``no`` or ``false`` does.

    ``yes`` counts in capitals too, the others in small letters only: ``No`` says nothing. Who says both says nothing.
    """
    yes, no = 'yes' in answer.lower(), 'no' in answer or 'false' in answer
    return yes != no and truth.lower() == ('yes' if yes else 'no')


def lhrs_match(answer: str, accepted: str | Sequence[str]) -> bool:
    """Compare as LHRS-Bot's script for questions: whether the answer's words stand in the truth.

    The answer is taken in lower case, without punctuation and articles, with ``one`` to ``ten`` and ``none`` in digits;
    the truth is left as it is. An empty answer is right.
    """
    digits = {name: str(number) for number, name in enumerate(_SMALL_NUMBERS[:11])} | {'none': '0'}
    said = [digits.get(word, word) for word in words(answer) if word not in ('a', 'an', 'the')]
    return any(' '.join(said) in text for text in as_texts(accepted))


def closest_class(answer: str, classes: Sequence[str]) -> str:
    """Return the class that LHRS-Bot's script for scenes takes an answer for.

    It is the class that shares the longest run of characters with the answer, the first of several. No answer is
    without a class; where no character is shared it is the last one.
    """
    written = answer.strip()
    if written in classes:
        return written
    shared = [
        SequenceMatcher(None, written, name).find_longest_match(0, len(written), 0, len(name)).size for name in classes
    ]
    return classes[int(np.argmax(shared))] if max(shared) else classes[-1]


def read_number(text: str) -> float | None:
    """Return the first number of a text, in digits or, where there are none, in words up to ninety-nine.

    Returns:
        The number; None if there is none.
    """
    match = _NUMBER.search(text)
    if match is not None:
        return float(match[0].replace(',', ''))
    found = [*words(text.replace('-', ' ')), '']
    for first, second in itertools.pairwise(found):
        if first in _SMALL_NUMBERS:
            return float(_SMALL_NUMBERS.index(first))
        if first in _TENS:
            unit = _SMALL_NUMBERS.index(second) if second in _SMALL_NUMBERS[1:10] else 0
            return float(10 * (_TENS.index(first) + 2) + unit)
    return None


def confusion(
    answers: Sequence[str], truths: Sequence[str], normalization: str = 'compact'
) -> tuple[list[str], np.ndarray]:
    """Count which class was taken for which.

    Args:
        answers: N answers.
        truths: The N true classes.
        normalization: One of :data:`NORMALIZATIONS`, applied to both sides.

    Returns:
        The K classes that are true of some question, sorted, as they are written where they come first; and an int64
        array (K, K + 1): questions of the row's class that were answered with the column's. The last column counts
        answers that are none of the K classes (:data:`OTHER`).
    """
    spelling: dict[str, str] = {}
    for truth in truths:
        spelling.setdefault(normalize_text(truth, normalization), truth)
    places = {key: place for place, key in enumerate(sorted(spelling, key=spelling.__getitem__))}
    counts = np.zeros((len(places), len(places) + 1), dtype=np.int64)
    for answer, truth in zip(answers, truths, strict=True):
        column = places.get(normalize_text(answer, normalization), len(places))
        counts[places[normalize_text(truth, normalization)], column] += 1
    return [spelling[key] for key in places], counts
