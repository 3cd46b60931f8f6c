import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_parts import tokenizer_folder

from geochat.box_codecs import GeoChatBoxCodec
from geochat.generation.text import AnswerText
from geochat.prompts import load_tokenizer

ALPHABET = '{<>}|0123456789 the ship\n\u00fc\u4e2d\U0001f6a2'


def write(text, **settings):
    """Let an answer come token by token: what was taken at each, and its reader."""
    tokenizer = load_tokenizer(tokenizer_folder())
    ids = tokenizer(text, add_special_tokens=False)['input_ids']
    reader, pieces = AnswerText(tokenizer, **settings), []
    for count in range(1, len(ids) + 1):
        pieces.append(reader.take(ids[:count], ended=False))
        if reader.end is not None:
            break
    pieces.append(reader.take(ids[:count] if ids else [], ended=True))
    return pieces, reader, ids[:count] if ids else []


@given(st.text(alphabet=ALPHABET, max_size=30))
def test_the_pieces_are_the_text(text):
    pieces, reader, ids = write(text)
    assert ''.join(pieces) == reader.finished(ids) == reader.tokenizer.decode(ids, skip_special_tokens=True).strip()


@given(st.text(alphabet='ship the', max_size=40))
def test_a_stop_text_ends_the_answer_and_no_piece_of_it_is_shown(text):
    pieces, reader, ids = write(text, stop=('the s', 'hip'))
    whole = reader.tokenizer.decode(reader.tokenizer(text, add_special_tokens=False)['input_ids'])
    places = [place for place in (whole.find('the s'), whole.find('hip')) if place >= 0]
    expected = whole[: min(places)] if places else whole
    assert ''.join(pieces) == reader.finished(ids) == expected.strip()
    assert reader.stopped_by == ('stop' if places else None)


@pytest.mark.parametrize('before', ['', 'the ships are at '])
def test_the_first_closed_box_ends_the_answer_and_belongs_to_it(before):
    box, pattern = '{<12><34><56><78>|<90>}', GeoChatBoxCodec().pattern
    pieces, reader, ids = write(f'{before}{box}{box} and more', box=pattern)
    assert ''.join(pieces) == reader.finished(ids) == f'{before}{box}'
    assert reader.stopped_by == 'box'
    assert write(f'{before}{{<12><34>}} and more', box=pattern)[1].stopped_by is None


@pytest.mark.parametrize('token', ['<0xE2>', '<unk>'])
def test_tokens_that_complete_no_character_cost_no_more_the_more_there_are(token, monkeypatch):
    tokenizer = load_tokenizer(tokenizer_folder())
    decoded, decode = [], tokenizer.decode
    monkeypatch.setattr(tokenizer, 'decode', lambda ids, **settings: decoded.append(ids) or decode(ids, **settings))
    reader, ids = AnswerText(tokenizer), []
    for _ in range(50):
        ids.append(tokenizer.convert_tokens_to_ids(token))
        reader.take(ids, ended=False)
    assert len(decoded) == 2 * 50  # what was known before and what is known now, once a token
    ids += tokenizer('the ship', add_special_tokens=False)['input_ids']
    assert reader.take(ids, ended=False).endswith('the ship')
