import pytest

from geochat.prompts import Llama2, LlavaV1, Plain, Segment, VicunaV1
from geochat.registry import CHAT_TEMPLATES
from geochat.structures import Message

DIALOGUE = (
    Message('user', '<image>\nIs there a ship?'),
    Message('assistant', 'yes'),
    Message('user', 'Where?'),
    Message('assistant', 'left'),
)


def test_vicuna_writes_the_dialogue_that_vicuna_was_trained_on():
    assert VicunaV1().prompt(DIALOGUE) == (
        'A chat between a curious user and an artificial intelligence assistant. '
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
        'USER: <image>\nIs there a ship? ASSISTANT: yes</s>USER: Where? ASSISTANT: left</s>'
    )


def test_llava_differs_from_vicuna_in_one_word_of_the_system_sentence():
    assert LlavaV1().prompt(DIALOGUE) == VicunaV1().prompt(DIALOGUE).replace('curious user', 'curious human').replace(
        "the user's", "the human's"
    )


def test_llama_2_opens_every_round_with_its_own_control_token():
    assert Llama2('Look.').segments(DIALOGUE) == [
        Segment('[INST] <<SYS>>\nLook.\n<</SYS>>\n\n<image>\nIs there a ship? [/INST]'),
        Segment(' yes ', supervised=True),
        Segment('</s>', supervised=True, control=True),
        Segment('<s>', control=True),
        Segment('[INST] Where? [/INST]'),
        Segment(' left ', supervised=True),
        Segment('</s>', supervised=True, control=True),
    ]


def test_plain_keeps_of_the_user_only_the_picture():
    assert Plain().segments(DIALOGUE[:2]) == [Segment('<image>'), Segment('yes\n', supervised=True)]


@pytest.mark.parametrize('name', ['vicuna_v1', 'llava_v1', 'llama_2', 'plain'])
def test_a_prompt_is_the_beginning_of_the_dialogue_it_leads_to(name):
    template = CHAT_TEMPLATES.build({'type': name})
    assert template.prompt(DIALOGUE).startswith(template.prompt(DIALOGUE[:3]))
    assert not template.segments(DIALOGUE[:3])[-1].supervised


@pytest.mark.parametrize(
    ('messages', 'message'),
    [
        ((), 'at least one turn'),
        ((Message('assistant', 'hello'),), 'turn 1 of the dialogue is the assistant, not the user'),
        ((Message('user', 'a'), Message('user', 'b')), 'turn 2 of the dialogue is the user, not the assistant'),
    ],
)
def test_a_dialogue_whose_turns_do_not_alternate_is_refused(messages, message):
    with pytest.raises(ValueError, match=message):
        VicunaV1().segments(messages)
