import pytest

from geochat.datasets.instruction_record import estimate_length, parse_record, task_tag
from geochat.structures import Message


def record(*texts, **fields):
    roles = ['human', 'gpt'] * len(texts)
    return {
        'conversations': [{'from': role, 'value': text} for role, text in zip(roles, texts, strict=False)],
        **fields,
    }


def test_a_record_of_geochat_instruct_is_read():
    parsed = parse_record(record('<image>\n[refer] where is <p>it</p> ?', '{<1>}', id='a/b.png', image='c/b.png '), '7')
    assert (parsed.id, parsed.images) == ('a/b.png', ('c/b.png ',))
    assert parsed.messages == (Message('user', '<image>\n[refer] where is <p>it</p> ?'), Message('assistant', '{<1>}'))


def test_a_record_without_id_is_called_by_its_number_and_one_without_picture_has_none():
    for fields in ({}, {'image': None}, {'image': ''}, {'image': []}):
        parsed = parse_record(record('hello', 'hi', **fields), '7')
        assert (parsed.id, parsed.images) == ('7', ())


@pytest.mark.parametrize(
    ('text', 'moved'),
    [
        ('What is this?\n<image>', '<image>\nWhat is this?'),
        ('See <image> here. ', '<image>\nSee  here.'),
        ('<image>What?', '<image>\nWhat?'),
        ('<image>\n', '<image>'),
    ],
)
def test_a_turns_only_image_token_moves_to_its_front_as_in_the_original(text, moved):
    assert parse_record(record(text, 'a ship', image='a.png'), '1').messages[0].text == moved


def test_turns_without_image_token_and_turns_with_several_stay_as_they_are():
    texts = ('First <image> then <image>.', 'ok', '\n[refer] it ', 'there', 'And <image>', 'yes')
    parsed = parse_record(record(*texts, image=['a.png', 'b.png', 'c.png']), '1')
    assert [message.text for message in parsed.messages] == [*texts[:4], '<image>\nAnd', 'yes']
    assert parsed.images == ('a.png', 'b.png', 'c.png')


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('words', 'a record is an object, not str'),
        ({}, "no 'conversations'"),
        ({'conversations': []}, "no 'conversations'"),
        ({'conversations': 'words'}, "no 'conversations'"),
        ({'conversations': ['words']}, 'turn 1 needs'),
        ({'conversations': [{'from': 'system', 'value': 'a'}]}, 'turn 1 needs'),
        ({'conversations': [{'from': ['human'], 'value': 'a'}]}, 'turn 1 needs'),
        ({'conversations': [{'from': 'human', 'value': 5}]}, 'turn 1 needs'),
        ({'conversations': [{'from': 'gpt', 'value': 'a'}]}, 'turn 1 .* assistant, not the user'),
        (
            {'conversations': [{'from': 'human', 'value': 'a'}, {'from': 'human', 'value': 'b'}]},
            'turn 2 .* user, not the assistant',
        ),
        (record('a'), 'no answer'),
        (record('a', 'b', 'c'), 'no answer'),
        (record('a', 'b', 'c', ' \n'), 'turn 4 is an answer without a word'),
        (record('<image>\na', 'b'), 'image token without a picture: 1 tokens, 0 pictures'),
        (record('<image>\na', 'b', '<image>\nc', 'd', image='x.png'), 'without a picture: 2 tokens, 1 pictures'),
        (record('a', 'b', image='x.png'), 'picture without an image token: 1 pictures, 0 tokens'),
        (record('a', '<image>\nb', image='x.png'), 'turn 2 is an answer and has an image token'),
        (record('<image>', 'b', image=5), "'image' is the name"),
        (record('<image>', 'b', image=['a.png', ' ']), "'image' is the name"),
    ],
)
def test_what_is_wrong_with_a_record_is_said(value, message):
    with pytest.raises(ValueError, match=message):
        parse_record(value, '1')


def test_lengths_count_a_quarter_of_the_letters_and_every_other_mark():
    assert estimate_length([Message('user', 'ships and planes'), Message('assistant', '{<12><34>}')]) == 4 + 10
    with pytest.raises(ValueError, match='surrogates'):
        estimate_length([Message('user', '\ud83d')])


def test_the_task_is_told_by_the_first_words():
    for text, tag in {
        '<image>\n[refer] where': '[refer]',
        ' [identify]{<1>}': '[identify]',
        'Is [it]': '',
        '[': '',
    }.items():
        assert task_tag([Message('user', text)]) == tag
