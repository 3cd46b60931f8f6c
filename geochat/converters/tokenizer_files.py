"""Tokenizer files of the three layouts, of which all give the ids of the SentencePiece model behind them."""

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geochat.structures import IMAGE_PLACEHOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SENTENCEPIECE = 'tokenizer.model'

SLOW_FILES = ('tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json', 'generation_config.json')
"""What the original keeps beside its SentencePiece model."""

SLOW_CONFIG = {
    'tokenizer_class': 'LlamaTokenizer',
    'add_bos_token': True,
    'add_eos_token': False,
    'bos_token': '<s>',
    'eos_token': '</s>',
    'unk_token': '<unk>',
    'pad_token': None,
    'clean_up_tokenization_spaces': False,
    'legacy': True,
    'model_max_length': 2048,
    'padding_side': 'right',
}
"""``tokenizer_config.json`` for the original's transformers 4.31, with the values of GeoChat-7B."""


def copy_tokenizer(source: Path, target: Path, vocabulary: int) -> None:
    """Copy a tokenizer into a model folder, without tokens that a LLaVA folder has added to it.

    Args:
        source: Folder with ``tokenizer.model`` or ``tokenizer.json``.
        target: Where to.
        vocabulary: Rows of the LLM's embeddings.
    """
    from geochat.prompts import load_tokenizer

    if (source / SENTENCEPIECE).is_file():
        shutil.copyfile(source / SENTENCEPIECE, target / SENTENCEPIECE)
        if _is_slow(source):
            for name in SLOW_FILES:
                if (source / name).is_file():
                    shutil.copyfile(source / name, target / name)
        return
    load_tokenizer(str(source)).save_pretrained(str(target))
    path = target / 'tokenizer.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    content['added_tokens'] = [
        token
        for token in content['added_tokens']
        if token['id'] < vocabulary and token['content'] != IMAGE_PLACEHOLDER and not _is_filler(token['content'])
    ]
    content['post_processor'] = None  # this project writes the token that begins a text itself
    path.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')


def write_slow_tokenizer(source: Path, target: Path) -> None:
    """Write the files from which the original loads its tokenizer.

    Raises:
        FileNotFoundError: If the model has no SentencePiece file.
    """
    if not (source / SENTENCEPIECE).is_file():
        raise FileNotFoundError(
            f'the original needs the SentencePiece file {SENTENCEPIECE} of the LLM: put it into {str(source)!r}'
        )
    copy_tokenizer(source, target, 0)
    if not (target / 'tokenizer_config.json').is_file():
        (target / 'tokenizer_config.json').write_text(json.dumps(SLOW_CONFIG, indent=2), encoding='utf-8')


def _is_slow(folder: Path) -> bool:
    path = folder / 'tokenizer_config.json'
    return path.is_file() and json.loads(path.read_text(encoding='utf-8')).get('tokenizer_class') == 'LlamaTokenizer'


def image_tokenizer(settings: Mapping[str, Any], vocabulary: int) -> 'PreTrainedTokenizerFast':
    """Return an LLM's tokenizer with ``<image>`` as the first token after its vocabulary, and ``<s>`` before a text.

    Args:
        settings: Settings of the LLM.
        vocabulary: Rows of its embeddings. If they are more than the tokenizer's tokens, the rest get names.

    Raises:
        ValueError: If the tokenizer has more tokens than the LLM has rows.
    """
    from tokenizers import AddedToken
    from tokenizers.processors import TemplateProcessing

    from geochat.prompts import load_tokenizer

    tokenizer = copy.deepcopy(load_tokenizer(settings['tokenizer']))
    unused = vocabulary - len(tokenizer)
    if unused < 0:
        raise ValueError(f'the tokenizer has {len(tokenizer)} tokens, the LLM rows for {vocabulary}')
    names = [*(f'<unused_{number}>' for number in range(unused)), IMAGE_PLACEHOLDER]
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    bos = tokenizer.bos_token
    if bos is not None:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f'{bos} $A', pair=f'{bos} $A {bos} $B', special_tokens=[(bos, tokenizer.bos_token_id)]
        )
    return tokenizer


def _is_filler(name: str) -> bool:
    return name.startswith('<unused_')
