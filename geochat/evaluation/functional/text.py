"""Comparison of short answers."""

import re
from collections.abc import Sequence

NORMALIZATIONS = {
    'verbatim': lambda text: text,
    'compact': lambda text: re.sub(r'[\s._-]', '', text).lower(),
}
"""Ways to write a text before it is compared. ``compact``: in lower case, without white space, dots, underscores and
hyphens, so that ``Medium Residential.`` is ``mediumresidential``, as folder names have it."""


def normalize_text(text: str, normalization: str) -> str:
    """Write a text as one of :data:`NORMALIZATIONS` says.

    Raises:
        ValueError: If there is no such normalization.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f'normalization is one of {", ".join(NORMALIZATIONS)}, not {normalization!r}')
    return NORMALIZATIONS[normalization](text)


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
    texts = [accepted] if isinstance(accepted, str) else accepted
    return bool(written) and any(written == normalize_text(text, normalization) for text in texts)
