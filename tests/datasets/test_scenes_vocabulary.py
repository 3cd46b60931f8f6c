"""The quick start's tokenizer: short dialogues, whole box fields, and any text back as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochat.datasets.scenes.vocabulary import SPACE, build_tokenizer, save_tokenizer


@pytest.fixture(scope='module')
def tokenizer():
    tokenizer = build_tokenizer()
    tokenizer.encode_special_tokens = True
    return tokenizer


def pieces(tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text, add_special_tokens=False).tokens


def test_ids_of_control_tokens(tokenizer):
    assert [tokenizer.token_to_id(token) for token in ('<unk>', '<s>', '</s>')] == [0, 1, 2]


def test_a_box_is_five_pieces(tokenizer):
    found = pieces(tokenizer, 'at {<7><-13><100><118>|<45>}')
    assert found[-5:] == [f'{SPACE}{{<7>', '<-13>', '<100>', '<118>', '|<45>}']


def test_several_boxes(tokenizer):
    assert pieces(tokenizer, '{<1><2><3><4>|<5>}{<6><7><8><9>|<10>}').count('<3>') == 1


def test_set_expressions_are_one_piece(tokenizer):
    text = 'Is there a tennis court in the image? Answer the question using a single word or phrase.'
    assert len(pieces(tokenizer, text)) == 4


def test_numbers_out_of_range_are_spelled(tokenizer):
    assert ''.join(pieces(tokenizer, 'a<981>')[1:]) == '<981>'


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_characters=SPACE, exclude_categories=['Cs'])))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_saved_tokenizer_loads(tmp_path, tokenizer):
    from geochat.prompts.tokenization import load_tokenizer

    save_tokenizer(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id, loaded.unk_token_id) == (1, 2, 0, 0)
    assert len(loaded) == tokenizer.get_vocab_size()
    text = '[refer] where is <p>red ship</p> ?'
    assert loaded(text, add_special_tokens=False)['input_ids'] == tokenizer.encode(text, add_special_tokens=False).ids


def test_shipped_tokenizer_is_the_one_that_is_built(tokenizer):
    from importlib.resources import files

    from tokenizers import Tokenizer

    shipped = Tokenizer.from_str((files('geochat') / 'data/tiny/tokenizer/tokenizer.json').read_text(encoding='utf-8'))
    assert shipped.get_vocab() == tokenizer.get_vocab()
    text = '[refer] where is <p>red ship</p> ? {<7><-13><100><118>|<45>} \u00e9'
    assert shipped.encode(text).ids == tokenizer.encode(text).ids
