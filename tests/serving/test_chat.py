"""Chat completions by OpenAI's own client."""

import openai
import pytest
from PIL import Image
from small_server import NAME, data_url, running_server, small_served_model

from geochat.generation import GenerationEngine, GenerationSettings, Request
from geochat.serving.replies import token_texts
from geochat.structures import Message

RED = Image.new('RGB', (40, 28), 'red')


@pytest.fixture(scope='module')
def server():
    with running_server() as running:
        yield running


@pytest.fixture(scope='module')
def client(server):
    with openai.OpenAI(base_url=f'{server.url}/v1', api_key='none', max_retries=0) as client:
        yield client


def ask(client, messages, **settings):
    if isinstance(messages, str):
        messages = [{'role': 'user', 'content': messages}]
    return client.chat.completions.create(model=NAME, messages=messages, **{'max_tokens': 8, **settings})


def with_picture(text, image=RED):
    picture = {'type': 'image_url', 'image_url': {'url': data_url(image)}}
    return [{'role': 'user', 'content': [picture, {'type': 'text', 'text': text}]}]


def expected(messages, images=(), **settings):
    """What the engine says to a dialogue without a server."""
    served = small_served_model()
    sample = served.processor.prompt_sample([Message(*message) for message in messages], images)
    settings = GenerationSettings(**{'max_new_tokens': 8, **settings})
    return GenerationEngine(served.model).generate([Request.of_sample(sample, settings)])[0]


def test_the_answer_is_the_engines(client):
    answer = ask(client, 'How many planes are there?')
    alone = expected([('user', 'How many planes are there?')])
    (choice,) = answer.choices
    assert choice.message.content == alone.text
    assert choice.message.role == 'assistant'
    assert choice.finish_reason == {'length': 'length', 'end': 'stop'}[alone.finish]
    assert answer.usage.completion_tokens == len(alone.ids)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + len(alone.ids)
    assert answer.model == NAME


def test_pictures_and_several_turns(client):
    first = ask(client, with_picture('Is a harbor present?'))
    assert first.choices[0].message.content == expected([('user', '<image>\nIs a harbor present?')], [RED]).text
    assert first.usage.prompt_tokens > ask(client, 'Is a harbor present?').usage.prompt_tokens + 3
    blue = ask(client, with_picture('Is a harbor present?', Image.new('RGB', (28, 28), 'blue')))
    assert blue.choices[0].message.content != first.choices[0].message.content
    # An answer is sent back as the client's object has it, with fields that are empty.
    said = first.choices[0].message.model_dump()
    dialogue = [*with_picture('Is a harbor present?'), said, {'role': 'user', 'content': 'yes or no?'}]
    second = ask(client, dialogue)
    turns = [('user', '<image>\nIs a harbor present?'), ('assistant', said['content']), ('user', 'yes or no?')]
    assert second.choices[0].message.content == expected(turns, [RED]).text


def test_a_system_message_stands_before_the_first_question(client):
    dialogue = [{'role': 'system', 'content': 'Be polite'}, {'role': 'user', 'content': 'yes?'}]
    assert ask(client, dialogue).choices[0].message.content == expected([('user', 'Be polite\nyes?')]).text


def test_a_stream_brings_the_same_text_piece_by_piece(client):
    whole = ask(client, with_picture('two planes'))
    chunks = list(ask(client, with_picture('two planes'), stream=True, stream_options={'include_usage': True}))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert ''.join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 2
    assert chunks[0].choices[0].delta.role == 'assistant'
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_several_choices_are_drawn_by_a_seed(client):
    settings = {'n': 3, 'seed': 5, 'temperature': 1.0, 'top_p': 0.9}
    texts = [choice.message.content for choice in ask(client, 'three', **settings).choices]
    assert len(set(texts)) == 3
    assert [choice.message.content for choice in ask(client, 'three', **settings).choices] == texts
    streamed = ['', '', '']
    for chunk in ask(client, 'three', stream=True, **settings):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ''
    assert streamed == texts
    assert texts[1] == expected([('user', 'three')], temperature=1.0, top_p=0.9, seed=6).text
    assert ask(client, 'three', seed=-1, temperature=1.0).choices[0].message.content
    assert ask(client, 'three', temperature=2.0).choices != ask(client, 'three', temperature=2.0).choices


def test_a_text_stops_the_answer_and_is_no_part_of_it(client):
    free = ask(client, 'where', max_tokens=20).choices[0].message.content
    stop = free[len(free) // 2 :][:3]
    stopped = ask(client, 'where', max_tokens=20, stop=stop).choices[0]
    assert stopped.message.content == free[: free.index(stop)].rstrip()
    assert stopped.finish_reason == 'stop'
    streamed = ''.join(
        chunk.choices[0].delta.content or '' for chunk in ask(client, 'where', max_tokens=20, stop=[stop], stream=True)
    )
    assert streamed == stopped.message.content


def test_log_probabilities_are_those_of_the_tokens(client):
    alone = expected([('user', 'the red ship')])
    choice = ask(client, 'the red ship', logprobs=True).choices[0]
    assert [token.logprob for token in choice.logprobs.content] == pytest.approx(alone.log_probs, abs=1e-5)
    assert ''.join(token.token for token in choice.logprobs.content).strip() == choice.message.content
    streamed = [
        token
        for chunk in ask(client, 'the red ship', logprobs=True, stream=True)
        for token in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert [token.token for token in streamed] == [token.token for token in choice.logprobs.content]
    assert ask(client, 'the red ship').choices[0].logprobs is None


def test_the_model_is_listed(client):
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).owned_by == 'geochat'
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4o'; it is 'small'"):
        client.models.retrieve('gpt-4o')


def test_what_clients_send_by_habit_changes_nothing(client):
    habits = {
        'user': 'me',
        'frequency_penalty': 0,
        'presence_penalty': 0.0,
        'logit_bias': {},
        'response_format': {'type': 'text'},
        'metadata': {'a': 'b'},
        'store': False,
        'parallel_tool_calls': True,
        'service_tier': 'auto',
        'tool_choice': 'none',
        'top_logprobs': 0,
    }
    assert ask(client, 'yes', **habits).choices[0].message.content == ask(client, 'yes').choices[0].message.content
    more = ask(client, 'yes', max_tokens=None, max_completion_tokens=3)
    assert more.usage.completion_tokens <= 3


def test_parts_of_a_character_have_their_own_bytes():
    tokenizer = small_served_model().processor.tokenizer
    text = 'two é € planes'
    tokens = token_texts(tokenizer, [], tokenizer.encode(text, add_special_tokens=False))
    assert b''.join(data for _, data in tokens).decode() == text
    assert any(not told or '\ufffd' in told for told, _ in tokens)
