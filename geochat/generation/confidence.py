"""How sure a model was of what it wrote: from the probabilities of tokens to confidences of boxes."""

import codecs
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class BoxScores(NamedTuple):
    """How sure a model was of N boxes, of the probabilities of the tokens that each was read from.

    Attributes:
        products: Their product, in [0, 1]: how likely the whole box is.
        means: Their geometric mean, in [0, 1].
    """

    products: tuple[float, ...] = ()
    means: tuple[float, ...] = ()


def token_ends(ids: Sequence[int], tokenizer: Any) -> np.ndarray:
    """Tell where in an answer's text each of its tokens ends.

    Args:
        ids: Token ids of the answer.
        tokenizer: The tokenizer that decodes them.

    Returns:
        int64 array (T,): how many characters the text has after each token, the text being the decoded one without
        special tokens and without white space around it.
    """
    # A token's characters depend on those before it (a space at the beginning, bytes of one character), so every
    # beginning of the answer is decoded.
    texts = [tokenizer.decode(ids[:count], skip_special_tokens=True) for count in range(1, len(ids) + 1)]
    if not texts:
        return np.zeros(0, dtype=np.int64)
    before, after = len(texts[-1]) - len(texts[-1].lstrip()), len(texts[-1].strip())
    lengths = np.array([len(text) - before for text in texts], dtype=np.int64)
    # The first bytes of a character are decoded as marks of damage, which its last byte takes back.
    return np.minimum.accumulate(lengths[::-1])[::-1].clip(0, after)


def piece_ends(pieces: Sequence[bytes], text: str) -> np.ndarray | None:
    """Tell where in an answer's text each of its tokens ends, knowing the tokens' own bytes only.

    Args:
        pieces: UTF-8 of each token; white space at their edges may be missing, or be there and not in the text, as
            servers decode tokens one by one.
        text: The text, without white space around it. Tokens after its end (a stop, an end of text) end there.

    Returns:
        int64 array (T,) as :func:`token_ends`; None if the tokens are not those of the text.
    """
    decoder = codecs.getincrementaldecoder('utf-8')('replace')
    ends, place = [], 0
    for piece in pieces:
        characters = decoder.decode(piece)  # of a part of a character none; its last byte brings it
        if place < len(text) and characters:
            place = _after(characters, text, place)
            if place is None:
                return None
        ends.append(place)
    return np.array(ends, dtype=np.int64) if place == len(text) else None


def _after(piece: str, text: str, place: int) -> int | None:
    """Return where a piece ends that begins at a place of a text, white space aside; None if it does not."""
    if text.startswith(piece, place):
        return place + len(piece)
    words = piece.strip()
    if not words:
        return place
    start = len(text) - len(text[place:].lstrip())
    rest = text[start:]
    # What stopped the answer may have cut the last token short.
    return start + min(len(words), len(rest)) if rest.startswith(words) or words.startswith(rest) else None


def box_scores(spans: np.ndarray, ends: np.ndarray, log_probs: Sequence[float]) -> BoxScores:
    """Tell how sure a model was of each box.

    Args:
        spans: int64 array (N, 2): the characters ``[start, end)`` of each box.
        ends: int64 array (T,): where each token ends; see :func:`token_ends`.
        log_probs: Natural log-probabilities of the T tokens.

    Returns:
        Of each of the N boxes. A token that reaches over the edge of a box counts for it.
    """
    starts = np.concatenate([[0], ends[:-1]])
    of_box = (ends > spans[:, :1]) & (starts < spans[:, 1:]) & (ends > starts)
    totals = of_box @ np.asarray(log_probs, dtype=np.float64)
    means = totals / np.maximum(of_box.sum(axis=1), 1)
    return BoxScores(tuple(np.exp(totals).tolist()), tuple(np.exp(means).tolist()))
