"""Text to token ids and labels, with the ids of the SentencePiece model that the LLM was trained with."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geochat.prompts.chat import ChatTemplate, Segment
from geochat.structures import IGNORE_INDEX, IMAGE_PLACEHOLDER, IMAGE_TOKEN_INDEX, Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

WORD_BOUNDARY = '\u2581'
"""The character SentencePiece writes for a space."""


@lru_cache(maxsize=8)
def load_tokenizer(path: str) -> 'PreTrainedTokenizerFast':
    """Load the tokenizer of a folder or file, with exactly the ids that its LLM was trained with.

    Where there is a SentencePiece ``tokenizer.model`` it is read itself: transformers' own conversion drops the scores
    of the pieces, and so cuts runs of white space differently. Nothing is downloaded and no code beside the files runs.

    Args:
        path: A folder with ``tokenizer.model`` or ``tokenizer.json``, or such a file.

    Raises:
        FileNotFoundError: If there is neither.
    """
    from transformers import PreTrainedTokenizerFast

    given = Path(path)
    folder, files = (given.parent, [given.name]) if given.is_file() else (given, ['tokenizer.model', 'tokenizer.json'])
    name = next((name for name in files if (folder / name).is_file()), None)
    if name is None:
        raise FileNotFoundError(f'no tokenizer.model or tokenizer.json in the tokenizer folder {path!r}')
    if not name.endswith('.model'):
        return PreTrainedTokenizerFast.from_pretrained(str(folder), tokenizer_file=str(folder / name))
    return PreTrainedTokenizerFast(
        tokenizer_object=convert_sentencepiece(folder / name),
        bos_token='<s>',
        eos_token='</s>',
        unk_token='<unk>',
        pad_token='<unk>',  # what LLaVA pads with; padding is masked everywhere
    )


def convert_sentencepiece(path: str | Path) -> 'Tokenizer':
    """Turn a SentencePiece BPE model into a fast tokenizer that gives the same ids.

    SentencePiece joins the neighbours whose joined piece scores highest; a fast tokenizer joins by the rank of the
    pair. Ranking all pairs by the score of what they join makes the two agree.

    Args:
        path: A ``tokenizer.model`` of type BPE with byte fallback, as Llama and Vicuna have.
    """
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers
    from tokenizers.models import BPE

    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ids = range(model.get_piece_size())
    vocabulary = {model.id_to_piece(index): index for index in ids}
    tokenizer = Tokenizer(
        BPE(
            vocab=vocabulary,
            merges=_merges_by_score(vocabulary, [model.get_score(index) for index in ids]),
            unk_token=model.id_to_piece(model.unk_id()),
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(model.id_to_piece(index), normalized=False, special=True)
            for index in ids
            if _is_special(model, index)
        ]
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(WORD_BOUNDARY), normalizers.Replace(' ', WORD_BOUNDARY)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(WORD_BOUNDARY, ' '),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=' ', left=1),
        ]
    )
    return tokenizer


def _is_special(model, index: int) -> bool:
    return model.is_control(index) or model.is_unknown(index)


def _merges_by_score(vocabulary: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Every pair of pieces that joins to a piece, the best-scored joined piece first."""
    ranked = []
    for piece, index in vocabulary.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                ranked.append((-scores[index], index, vocabulary[left], left, right))
    return [(left, right) for *_, left, right in sorted(ranked)]


@dataclass(frozen=True, eq=False)
class TokenizedDialogue:
    """A dialogue as token ids and labels.

    Attributes:
        input_ids: int64 array (T,); :data:`IMAGE_TOKEN_INDEX` where a picture stands.
        labels: int64 array (T,): the id where the token carries loss, else :data:`IGNORE_INDEX`.
        truncated: Tokens left out at the end; 0 if none.
        branches: int64 array (T,): which of several independent turns a token belongs to, from 1, and 0 for what they
            share; None for a dialogue, whose turns see what was said before.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    truncated: int = 0
    branches: np.ndarray | None = None


@dataclass(frozen=True)
class _Token:
    id: int
    supervised: bool
    breakable: bool = True
    """False if a cut before this token would fall inside something that must stay whole."""


def tokenize_dialogue(
    segments: Sequence[Segment],
    tokenizer: 'PreTrainedTokenizerFast',
    max_length: int | None = None,
    unbreakable: str | None = None,
) -> TokenizedDialogue:
    """Turn a dialogue's segments into ids and labels.

    The text between two pictures or control tokens is tokenised as one piece, as the original does. A token is
    supervised if all its characters lie in supervised segments.

    Args:
        segments: What a chat template wrote.
        tokenizer: From :func:`load_tokenizer`.
        max_length: Most tokens to keep, a picture counting as one; None keeps all.
        unbreakable: Regular expression of text that a cut must not fall into: the box codec's ``pattern``.
    """
    bos = tokenizer.bos_token_id
    tokens = [] if bos is None else [_Token(bos, supervised=False)]
    for run in _runs(segments):
        if run[0].control:
            tokens.append(_Token(_control_id(run[0].text, tokenizer), run[0].supervised))
        else:
            tokens += _tokenize_run(run, tokenizer, unbreakable)
    kept = tokens[: _cut(tokens, max_length)]
    return TokenizedDialogue(
        input_ids=np.array([token.id for token in kept], dtype=np.int64),
        labels=np.array([token.id if token.supervised else IGNORE_INDEX for token in kept], dtype=np.int64),
        truncated=len(tokens) - len(kept),
    )


def tokenize_turns(
    messages: Sequence[Message],
    template: ChatTemplate,
    tokenizer: 'PreTrainedTokenizerFast',
    max_length: int | None = None,
    unbreakable: str | None = None,
) -> TokenizedDialogue:
    """Turn the rounds of a dialogue into ids and labels as if each had been a dialogue of its own about the pictures.

    The rounds share what stands before and at the pictures and follow as branches (``geochat.models.attention``).

    Args:
        messages: User and assistant in turn; all pictures stand in the first turn.
        template: The LLM's chat template.
        tokenizer: From :func:`load_tokenizer`.
        max_length: Most tokens to keep, a picture counting as one; None keeps all. Rounds that do not fit are left out,
            the first is cut.
        unbreakable: As for :func:`tokenize_dialogue`.
    """
    first = messages[0].text
    head = first[: first.rindex(IMAGE_PLACEHOLDER) + len(IMAGE_PLACEHOLDER)] if IMAGE_PLACEHOLDER in first else ''
    rounds = []
    for number, (asked, answered) in enumerate(zip(messages[::2], messages[1::2], strict=True)):
        alone = [asked if number == 0 else Message('user', f'{head}\n{asked.text}' if head else asked.text), answered]
        rounds.append(
            tokenize_dialogue(template.segments(alone), tokenizer, None if number else max_length, unbreakable)
        )
    images = np.flatnonzero(rounds[0].input_ids == IMAGE_TOKEN_INDEX)
    shared = int(images[-1]) + 1 if len(images) else 0
    sizes = np.cumsum([len(rounds[0].input_ids), *(len(tokens.input_ids) - shared for tokens in rounds[1:])])
    kept = len(rounds) if max_length is None else max(1, int(np.searchsorted(sizes, max_length, side='right')))
    parts = [(rounds[0].input_ids[:shared], rounds[0].labels[:shared])]
    parts += [(tokens.input_ids[shared:], tokens.labels[shared:]) for tokens in rounds[:kept]]
    ids, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    branches = np.repeat(np.arange(len(parts)), [len(part) for part, _ in parts])
    truncated = rounds[0].truncated + int(sizes[-1] - sizes[kept - 1])
    return TokenizedDialogue(ids, labels, truncated, branches)


def _runs(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Group neighbouring text segments; a control token stands alone."""
    run: list[Segment] = []
    for segment in segments:
        if segment.control:
            if run:
                yield run
            yield [segment]
            run = []
        elif segment.text:
            run.append(segment)
    if run:
        yield run


def _control_id(text: str, tokenizer: 'PreTrainedTokenizerFast') -> int:
    index = tokenizer.backend_tokenizer.token_to_id(text)  # get_vocab() would copy the whole vocabulary
    if index is None:
        raise ValueError(f'the chat template ends a turn with {text!r}, which the tokenizer does not have')
    return index


def _tokenize_run(
    run: list[Segment], tokenizer: 'PreTrainedTokenizerFast', unbreakable: str | None
) -> Iterator[_Token]:
    text = ''.join(segment.text for segment in run)
    supervised = np.repeat([segment.supervised for segment in run], [len(segment.text) for segment in run])
    inside = _inside_unbreakable(text, unbreakable)
    start = 0
    for number, chunk in enumerate(text.split(IMAGE_PLACEHOLDER)):
        if number:
            yield _Token(IMAGE_TOKEN_INDEX, supervised=False)
            start += len(IMAGE_PLACEHOLDER)
        if chunk:
            for index, (first, last) in _encode(chunk, tokenizer):
                characters = slice(start + first, start + max(last, first + 1))
                yield _Token(index, bool(supervised[characters].all()), not inside[start + first])
        start += len(chunk)


def _encode(chunk: str, tokenizer: 'PreTrainedTokenizerFast') -> Iterator[tuple[int, tuple[int, int]]]:
    """Ids of a text in which no characters mean a control token, with the characters each id stands for."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    encoding = backend.encode(chunk, add_special_tokens=False)
    return zip(encoding.ids, encoding.offsets, strict=True)


def _inside_unbreakable(text: str, pattern: str | None) -> np.ndarray:
    """Bool array (len(text),): True at characters before which no cut may fall."""
    inside = np.zeros(len(text), dtype=bool)
    for match in re.finditer(pattern, text) if pattern else ():
        inside[match.start() + 1 : match.end()] = True
    return inside


def _cut(tokens: Sequence[_Token], max_length: int | None) -> int:
    """How many tokens to keep: at most ``max_length``, and none of something that would be cut in two."""
    if max_length is None or len(tokens) <= max_length:
        return len(tokens)
    keep = max_length
    while keep > 0 and not tokens[keep].breakable:
        keep -= 1
    return keep
