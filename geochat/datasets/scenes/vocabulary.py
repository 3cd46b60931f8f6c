"""A tokenizer small enough for the quick start: whole words of its dialogues, whole numbers, and bytes for the rest."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from geochat.datasets.scenes.layout import CATEGORIES, COLORS
from geochat.datasets.scenes.patches import NUMBERS, SIZES
from geochat.datasets.scenes.questions import IDENTIFY_WORDINGS, PLACES, REFER_WORDINGS, SCENE_QUESTION, VQA_SUFFIX

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = ('<unk>', '<s>', '</s>')
"""Unknown and padding, beginning and end of text, with Llama's ids."""

SPACE = '\u2581'
"""How a space is written in a piece, as in SentencePiece."""

_SET_EXPRESSIONS = (
    VQA_SUFFIX,
    'Classify the given image in one of the following classes. Classes:',
    'Answer in one word or a short phrase.',
    'Is there a',
    'Is there an',
    'What is the number of',
    'in the image?',
    '[refer] Give me the location of <p>',
    '[refer] where is <p>',
    '[refer] where can I locate the <p>',
    '</p> ?',
    '[identify] What is the object present at',
    '[identify] what is this',
    *(f'at the {place}' for place in PLACES),
    *(name for category in CATEGORIES for name in (category, f'{category}s')),
)
"""What is always said in the same words is one piece."""

_MARKS = ('<p>', '</p>', '[refer]', '[identify]', '\n', 'USER:', 'ASSISTANT:')
_WORD_SCORE, _CHARACTER_SCORE, _BYTE_SCORE = -1.0, -4.0, -8.0


def build_tokenizer() -> 'Tokenizer':
    """Build the tokenizer.

    A text is cut into the fewest pieces (a unigram model), numbers apart: each edge of a box and its angle are one
    piece, with the brackets around them. What no piece covers is told byte by byte.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.Unigram(list(_pieces()), unk_id=0, byte_fallback=True))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(' ', SPACE)])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(rf'{SPACE}\{{<-?\d+>|\|<\d+>\}}|<-?\d+>|\d+'), behavior='isolated'
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, ' '), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=' ', left=1)]
    )
    return tokenizer


def save_tokenizer(folder: Path) -> None:
    """Build the tokenizer and write it as transformers' fast tokenizers are: ``tokenizer.json`` and its config."""
    from transformers import PreTrainedTokenizerFast

    unknown, begin, end = SPECIAL
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(), bos_token=begin, eos_token=end, unk_token=unknown, pad_token=unknown
    )
    tokenizer.save_pretrained(folder)


def _pieces() -> Iterator[tuple[str, float]]:
    """Yield the pieces and their scores in the order of their ids."""
    yield from ((token, 0.0) for token in SPECIAL)
    yield from ((f'<0x{byte:02X}>', _BYTE_SCORE) for byte in range(256))
    yield from ((str(number), _WORD_SCORE) for number in range(101))
    for before in (SPACE + '{<', '<'):
        yield from ((f'{before}{number}>', _WORD_SCORE) for number in _numbers('left'))
    yield from ((f'|<{number}>}}', _WORD_SCORE) for number in _numbers('angle'))
    words = sorted({*_MARKS, *_words(), *(text.replace(' ', SPACE) for text in _SET_EXPRESSIONS)})
    yield from ((SPACE + word, _WORD_SCORE) for word in words)
    yield from ((word, _WORD_SCORE) for word in words if len(word) > 1 or word == '\n')
    yield from (
        (character, _CHARACTER_SCORE) for character in [SPACE, *map(chr, range(0x21, 0x7F))] if not character.isdigit()
    )


def _words() -> set[str]:
    """Return the words of the built-in scenes' dialogues, punctuation apart."""
    names = ' '.join([*CATEGORIES, *(f'{category}s' for category in CATEGORIES)])
    vqa = f'Is there a an {names} in the image? What is the number of {VQA_SUFFIX} yes no'
    places = f'at the {" ".join(PLACES)}'
    text = ' '.join([SCENE_QUESTION, *REFER_WORDINGS, *IDENTIFY_WORDINGS, vqa, places, *COLORS, *SIZES])
    return set(re.findall(r'[A-Za-z]+', text)) | set('.,?:')


def _numbers(target: str) -> range:
    first, last = NUMBERS[target]
    return range(first, last + 1)
