"""What an answer to a multiple choice question chooses, and whether an answer refuses."""

import re
from collections.abc import Sequence

from geochat.evaluation.functional.text import normalize_text, words

_REFUSAL = re.compile(
    r'\b(?:no|not|none|nothing|neither|cannot|without|absent|unknown|unanswerable|nonexistent|non-existent|missing)\b'
    r"|n't\b|\bunable\b|\bunclear\b|\bfalse\b",
    re.IGNORECASE,
)

_BEFORE_NOUN = re.compile(r'\s+(?!(?:or|and|is|because|since|as)\b)[a-z]')
"""What follows an article, and not the letter A."""


def read_choice(answer: str, letters: str, options: Sequence[str] = ()) -> str | None:
    """Return the letter that an answer chooses; None if it chooses none, or several.

    In this order: the answer is a letter, with or without brackets, dots or colons (``b``, ``(B)``, ``B.``); it begins
    with a capital letter that a mark sets off from what follows (``B. a ship``, ``B: a ship``); it says ``answer is
    B``, ``answer: B`` or ``option B``; it is the text of one option; it has one capital letter only that stands alone,
    where an ``A`` before a word of small letters is taken for the article (but not in ``A is right``).

    Args:
        answer: The model's words.
        letters: The letters that may be chosen, in capitals.
        options: The texts of the options, in the order of the letters; empty if they are not known.
    """
    text = answer.strip()
    bare = re.fullmatch(rf'[(\[{{<"\'*\s]*([{letters}])[)\]}}>"\'*\s.:,;]*', text, re.IGNORECASE)
    if bare:
        return bare[1].upper()
    head = re.match(rf'[(\[*]*([{letters}])(?:[)\].:,;*]|\s*\n|\s+-)', text)
    if head:
        return head[1]
    named = re.findall(rf'(?i:answer(?:\s+is)?|option|choice)\s*[:=]?\s*[(\[*"\']*([{letters}])(?![\w\'])', text)
    alone = named or _capitals_alone(text, letters)
    if not named and (place := _option_of(text, options)) is not None:
        return letters[place]
    return alone[0] if len(set(alone)) == 1 else None


def _option_of(text: str, options: Sequence[str]) -> int | None:
    written = normalize_text(text, 'words')
    places = [place for place, option in enumerate(options) if written and written == normalize_text(option, 'words')]
    return places[0] if len(places) == 1 else None


def _capitals_alone(text: str, letters: str) -> list[str]:
    found = re.finditer(rf'\b([{letters}])\b(?!\')', text)
    return [match[1] for match in found if not (match[1] == 'A' and _BEFORE_NOUN.match(text, match.end()))]


def first_standing_letter(answer: str, letters: str) -> str | None:
    """Return the letter that FIT-RSRC's script reads: the first capital that stands alone; None if there is none.

    ``A ship is in the harbour: B`` is read as A.
    """
    match = re.search(rf'\b([{letters}])\b', answer)
    return match[1] if match else None


def first_letter(answer: str, letters: str) -> str | None:
    """Return the letter that RSEvalKit reads: the first capital of the letters, be it inside of a word; None if none.

    ``The answer is B`` is read as B, ``Answer: B`` as A. (RSEvalKit stops with an error where there is none.)
    """
    return next((character for character in answer if character in letters), None)


def leading_letter(answer: str, letters: str) -> str | None:
    """Return the letter that GEOBench-VLM's scripts read: the answer's first character; None if it is no letter."""
    return answer[0] if answer and answer[0] in letters else None


def refuses(answer: str) -> bool:
    """Tell whether an answer denies that there is what it was asked for, or declines to answer.

    It is looked for words such as ``no``, ``not``, ``none``, ``cannot``, ``unknown``; an empty answer does not refuse.
    An answer that affirms with such a word (``white, not red``) is taken for a refusal, one that hedges without it is
    not.
    """
    return bool(words(answer)) and _REFUSAL.search(answer) is not None
