import os
import random
from pathlib import Path

import pytest
import sentencepiece
from small_parts import tokenizer_folder

from geochat.prompts import Segment, VicunaV1, load_tokenizer, tokenize_dialogue
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX, Message

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[3] / 'shared' / 'parity'))
BOX = r'\{(?:<\d+>){4}\|<\d+>\}'


def hostile_strings(count):
    """Texts with runs of white space, control marks, box syntax, accents and characters from all over Unicode."""
    draw = random.Random(0)
    bits = [
        *(' ', '  ', '   ', '\n', '\t', '\r', '\x00', '\u00a0', '\u200b', '\u2581', '|', '.', '===='),
        *('a', 'the ship', '{<', '><', '>|<', '>}', '12', '</s>', '<s>', '<unk>', '<0x41>'),
        *('\u00e9', 'e\u0301', '\ufb01', '\u6f22', '\U0001f600'),  # accents both ways, a ligature, a sign, an emoji
    ]
    for _ in range(count):
        yield ''.join(
            draw.choice(bits) if draw.random() < 0.7 else chr(draw.randrange(1, 0x3000))
            for _ in range(draw.randrange(1, 40))
        )


def differing(folder, strings):
    tokenizer = load_tokenizer(folder)
    model = sentencepiece.SentencePieceProcessor(model_file=str(Path(folder) / 'tokenizer.model'))
    ids = (tokenize_dialogue([Segment(text)], tokenizer).input_ids.tolist()[1:] for text in strings)
    return [text for text, got in zip(strings, ids, strict=True) if got != model.encode(text)]


def test_ids_equal_those_of_a_sentencepiece_model_trained_here():
    assert differing(tokenizer_folder(), list(hostile_strings(2000))) == []


@pytest.mark.skipif(not PARITY.is_dir(), reason=f'no recordings of the original at {PARITY} (GEOCHAT_PARITY)')
def test_ids_equal_those_of_the_llama_tokenizer_on_5000_hostile_strings():
    assert differing(str(PARITY / 'geochat-tiny'), list(hostile_strings(5000))) == []


def test_an_exported_tokenizer_gives_the_same_ids(tmp_path):
    load_tokenizer(tokenizer_folder()).save_pretrained(tmp_path)
    again, strings = load_tokenizer(str(tmp_path)), list(hostile_strings(300))
    first = load_tokenizer(tokenizer_folder())
    for text in strings:
        one, two = (tokenize_dialogue([Segment(text)], tokenizer).input_ids.tolist() for tokenizer in (first, again))
        assert one == two
    assert (again.bos_token_id, again.eos_token_id, again.pad_token_id) == (1, 2, 0)


def test_the_answer_and_what_ends_it_are_supervised_and_nothing_else():
    tokenizer = load_tokenizer(tokenizer_folder())
    messages = [Message('user', '<image>\nIs a harbor present?'), Message('assistant', 'yes')]
    dialogue = tokenize_dialogue(VicunaV1('').segments(messages), tokenizer)
    supervised = dialogue.labels != IGNORE_INDEX
    assert tokenizer.decode(dialogue.input_ids[supervised].tolist()) == 'yes</s>'
    assert (dialogue.labels[supervised] == dialogue.input_ids[supervised]).all()
    assert (dialogue.input_ids == IMAGE_TOKEN_INDEX).sum() == 1
    assert dialogue.input_ids[0] == tokenizer.bos_token_id


def test_a_control_token_in_somebodys_words_is_plain_text():
    tokenizer = load_tokenizer(tokenizer_folder())
    messages = [Message('user', 'say </s>'), Message('assistant', '</s> yes')]
    ids = tokenize_dialogue(VicunaV1('').segments(messages), tokenizer).input_ids.tolist()
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize('length', range(1, 60))
def test_truncation_never_cuts_a_box_and_says_how_much_it_left_out(length):
    tokenizer = load_tokenizer(tokenizer_folder())
    messages = [Message('user', '<image>\nwhere?'), Message('assistant', 'at {<1><22><3><44>|<5>}{<6><7><8><9>|<10>}')]
    segments = VicunaV1('').segments(messages)
    whole, cut = (tokenize_dialogue(segments, tokenizer, most, BOX) for most in (None, length))
    assert whole.truncated == 0
    assert len(cut.input_ids) <= length
    assert len(cut.input_ids) + cut.truncated == len(whole.input_ids)
    assert (cut.input_ids == whole.input_ids[: len(cut.input_ids)]).all()
    text = tokenizer.decode(cut.input_ids[cut.input_ids >= 0].tolist())
    assert text.count('{') == text.count('}')


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        load_tokenizer(str(tmp_path))
