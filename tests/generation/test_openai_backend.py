"""A server's answers are those of the engine with the same model, and whatever a server does has a clear end."""

import contextlib
import dataclasses
import gc
import json
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from scripted_server import completion, scripted
from small_server import NAME, running_server, small_served_model

from geochat.apis import GeoChatInferencer, InputError, load_conventions
from geochat.datasets import collate_samples
from geochat.engine import ConfigError
from geochat.generation import BackendError, GenerationSettings
from geochat.generation.openai_backend import OpenAIBackend
from geochat.serving import Limits
from geochat.structures import Message, Record

SETTINGS = GenerationSettings(max_new_tokens=32)
ASKED = '[refer] Give me the location of <p> the red ship </p>'
BOX = '{<12><34><56><78>|<90>} two'


def taught_model():
    """The small model, taught to answer one question with a box."""
    served = small_served_model()
    served = dataclasses.replace(served, task_prompts=load_conventions().task_prompts)
    messages = (Message('user', f'<image>\n{ASKED}'), Message('assistant', BOX))
    sample = served.processor.training_sample(Record('a', messages, ('a',)), [Image.new('RGB', (28, 28))])
    batch = collate_samples([sample])
    optimizer = torch.optim.Adam(served.model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        served.model(**batch, mode='loss')['loss'].backward()
        optimizer.step()
    return served


@pytest.fixture(scope='module')
def served():
    return taught_model()


@pytest.fixture(scope='module')
def server(served):
    with running_server(lambda: served, Limits(max_tokens=64)) as running:
        yield running


@pytest.fixture(scope='module')
def remote(server):
    return GeoChatInferencer(backend={'type': 'openai', 'base_url': f'{server.url}/v1'}, settings=SETTINGS)


@pytest.fixture(scope='module')
def local(served):
    return GeoChatInferencer(served, settings=SETTINGS)


@pytest.fixture(scope='module')
def picture():
    """A picture that a lossy format would change."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8))


def same(first, second):
    """Tell whether two answers are the same but for the last digits of their probabilities."""
    told, other = first.to_dict(), second.to_dict()
    for key in ('log_prob', 'confidence', 'box_scores'):
        assert told.pop(key, ()) == pytest.approx(other.pop(key, ()), rel=1e-3, abs=1e-4)
    return told == other


def test_the_answers_are_the_engines(remote, local, picture):
    other = Image.new('RGB', (28, 28), 'blue')
    for images, questions, task in (
        (picture, ['Is a harbor present?', 'How many planes are there?', 'two three', 'where ?'], 'chat'),
        ([picture, other, None, (picture, other)], ['yes', 'no', 'two', 'Is a harbor present?'], 'vqa'),
        (picture, ['the red ship'], 'refer'),
        (picture, [{'boxes': (15, 15, 12, 6, 0.5)}], 'identify'),
        ([other], [{'classes': ['port', 'farm']}], 'scene'),
    ):
        pairs = zip(remote(images, questions, task), local(images, questions, task), strict=True)
        assert all(same(*pair) for pair in pairs)


def test_boxes_and_their_confidence_are_the_engines(remote, local, picture):
    found, expected = remote.refer(picture, 'the red ship'), local.refer(picture, 'the red ship')
    assert len(found.boxes) == 1 and 0 < found.box_scores[0] < 1
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    assert found.box_scores == pytest.approx(expected.box_scores, rel=1e-4)
    assert found.confidence == pytest.approx(expected.confidence, rel=1e-4)


def test_what_is_drawn_follows_the_seed_and_a_text_stops(remote, local, picture):
    drawn = dataclasses.replace(SETTINGS, temperature=1.5, top_p=0.9, seed=7)
    first = remote(picture, 'yes', settings=drawn)[0]
    assert same(first, local(picture, 'yes', settings=drawn)[0])
    assert first.answer != remote(picture, 'yes', settings=dataclasses.replace(drawn, seed=8))[0].answer
    stopped = dataclasses.replace(SETTINGS, stop=('<56>',))
    assert remote(picture, 'yes', settings=stopped)[0].answer == local(picture, 'yes', settings=stopped)[0].answer


def test_a_dialogue_streams_and_remembers(remote, local, picture):
    chat, expected = remote.chat(picture), local.chat(picture)
    for words in ('Is a harbor present?', 'where is the red ship'):
        pieces = list(chat.stream(words))
        assert ''.join(pieces) == expected.say(words).answer
        assert same(chat.predictions[-1], expected.predictions[-1])
    given_up = chat.stream('yes')
    next(given_up)
    given_up.close()
    assert len(chat.predictions) == 2


def test_many_questions_are_asked_at_a_time(server, local, picture):
    backend = OpenAIBackend(f'{server.url}/v1', NAME, batch_size=3)
    asking = GeoChatInferencer(backend=backend, settings=SETTINGS)
    words = [f'two {"three " * number}' for number in range(20)]
    pairs = zip(asking(picture, words), local(picture, words), strict=True)
    assert all(same(*pair) for pair in pairs)


@pytest.mark.parametrize('setting', [{'num_beams': 2}, {'box_grammar': True}, {'stop_at_box': True}])
def test_settings_that_a_server_does_not_have_are_refused(remote, server, picture, setting):
    settings = GenerationSettings(**setting)
    with pytest.raises(InputError, match=f'no setting {next(iter(setting))}: leave it out'):
        remote(picture, 'yes', settings=settings)
    with pytest.raises(InputError, match=next(iter(setting))):
        GeoChatInferencer(backend=OpenAIBackend(f'{server.url}/v1'), settings=settings)


def test_questions_that_the_server_refuses_leave_the_others_alone(remote, picture):
    from geochat.apis import Asked

    long = remote.prepare(Asked((picture,), 'yes ' * 600))
    greedy = remote.prepare(Asked((picture,), 'yes'), GenerationSettings(max_new_tokens=65))
    fine = remote.prepare(Asked((picture,), 'yes'))
    answers = dict(remote.predict([long, fine, greedy]))
    assert '(400): ' in str(answers[0]) and "LLM's context" in str(answers[0])
    assert answers[1].answer
    assert 'max_tokens may be 64 at most, not 65' in str(answers[2])


def test_what_cannot_be_a_back_end(server):
    for settings, message in (
        ({'type': 'opena'}, "did you mean 'openai'"),
        ({'type': 'openai', 'base_url': 'localhost'}, 'base_url is an address such as'),
        ({'type': 'openai', 'base_url': 'http://me:secret@localhost/v1'}, 'no user, password or query'),
        ({'type': 'openai', 'base_url': server.url, 'api_key': 'secret'}, "did you mean 'api_key_variable'"),
        ({'type': 'openai', 'base_url': server.url, 'timeout': 0}, 'timeout is a number of seconds above 0'),
        ({'type': 'openai', 'base_url': server.url, 'batch_size': 0}, 'batch_size is at least 1'),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            GeoChatInferencer(backend=settings)
        assert 'secret' not in str(caught.value)
    with pytest.raises(ConfigError, match='device is a setting of the built-in engine'):
        GeoChatInferencer(backend={'type': 'openai', 'base_url': server.url}, device='cpu')


def ask(url, picture=None, max_tokens=8, **settings):
    backend = OpenAIBackend(f'{url}/v1', **{'max_retries': 2, **settings})
    return GeoChatInferencer(backend=backend, settings=GenerationSettings(max_tokens))(picture, ['yes'])[0]


def test_a_server_that_is_not_there_is_told(server):
    start = time.monotonic()
    with pytest.raises(BackendError, match=r'http://127\.0\.0\.1:9/v1 cannot be reached .*: is the server running'):
        ask('http://127.0.0.1:9', max_retries=8)
    assert time.monotonic() - start < 6
    with pytest.raises(BackendError, match=f"has no model 'other'; it has {NAME}"):
        ask(server.url, model='other')


def test_the_key_comes_from_the_environment_and_is_never_shown(served, monkeypatch):
    with running_server(lambda: served, api_key='the-key') as running:
        monkeypatch.setenv('OPENAI_API_KEY', 'not-it')
        with pytest.raises(BackendError, match=r'refuses the API key \(401\).*OPENAI_API_KEY') as caught:
            ask(running.url)
        assert 'not-it' not in str(caught.value)
        monkeypatch.setenv('MY_KEY', 'the-key')
        assert ask(running.url, api_key_variable='MY_KEY').answer


def test_a_server_that_repeats_the_key_does_not_make_it_shown(monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', 'the-secret-key')
    for said in (
        (401, {}, {'error': {'message': 'the-secret-key is wrong'}}),
        (401, {}, {'error': {'message': 'x' * 290 + ' the-secret-key'}}),  # it would be cut there
        (200, {'Content-Type': 'text/html'}, b'<p>sent: Bearer the-secret-key</p>'),
    ):
        with scripted(said) as server, pytest.raises(BackendError) as caught:
            ask(server.url)
        assert 'the-sec' not in str(caught.value)


def test_a_busy_server_is_asked_again_when_it_says():
    busy = (429, {'Retry-After': '0.4'}, {'error': {'message': 'the queue is full'}})
    with scripted(busy, busy, completion()) as server:
        start = time.monotonic()
        assert ask(server.url).answer == 'yes'
        assert 0.8 <= time.monotonic() - start < 10 and len(server.bodies) == 3
    with scripted(busy) as server:
        with pytest.raises(BackendError, match=r'busy or fails, after 1 more tries too \(429\): the queue is full'):
            ask(server.url, max_retries=1)
        assert len(server.bodies) == 2


def test_a_server_that_fails_is_asked_again_and_then_told_of():
    broken = (500, {'Retry-After': '0.05'}, b'<html>oops</html>')
    with scripted(broken, completion()) as server:
        assert ask(server.url).answer == 'yes'
    with scripted(broken) as server, pytest.raises(BackendError, match=rf'{server.url}.*\(500\)'):
        ask(server.url)


def test_no_other_server_is_asked_and_nothing_is_asked_twice_that_is_not_repeated():
    with scripted(completion('from elsewhere')) as other:
        elsewhere = (307, {'Location': f'{other.url}/v1/chat/completions'}, {})
        for reply in (elsewhere, (405, {}, {'error': {'message': 'no'}})):
            with scripted(reply) as server, pytest.raises(BackendError) as caught:
                ask(server.url)
            assert str(caught.value).startswith(f'{server.url}/v1 does not take questions ({reply[0]}): ')
            assert len(server.bodies) == 1 and not other.bodies


def test_a_server_that_refuses_to_tell_its_models_refuses_no_question():
    with scripted(completion()) as server:
        server.models = (400, {}, {'error': {'message': 'this port wants HTTPS'}})
        message = r'/v1 does not take questions \(400\): this port wants HTTPS'
        with pytest.raises(BackendError, match=message):
            _ = OpenAIBackend(f'{server.url}/v1').origin
        with pytest.raises(BackendError, match=message):
            ask(server.url)
        assert not server.bodies


def cut_short(handler):
    """Promise more than is sent."""
    handler.send_response(200)
    handler.send_header('Content-Type', 'application/json')
    handler.send_header('Content-Length', '1000')
    handler.end_headers()
    handler.wfile.write(b'{"id": "a", "choices": [')
    handler.close_connection = True


def stream_of(*chunks, done=True):
    """A stream of pieces of text, the finish reason being None."""
    lines = []
    for text, finish in chunks:
        choice = {'index': 0, 'delta': {'content': text}, 'finish_reason': finish, 'logprobs': None}
        lines.append({'id': 'a', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm', 'choices': [choice]})
    data = b''.join(b'data: ' + json.dumps(line).encode() + b'\n\n' for line in lines)
    return 200, {'Content-Type': 'text/event-stream'}, data + (b'data: [DONE]\n\n' if done else b'')


def test_an_answer_that_is_cut_off_is_asked_for_again_unless_it_was_shown():
    with scripted(cut_short, completion()) as server:
        assert ask(server.url).answer == 'yes'
    for script, message in (
        (stream_of((' two', None), (' ships', None), done=False), 'ended an answer before it was whole'),
        (stream_of((' two', None), (' ships', None)), 'ended an answer before it was whole'),
        ((200, {'Content-Type': 'text/event-stream'}, b'data: {"error": {"message": "it burns"}}\n\n'), 'it burns'),
        ((200, {'Content-Type': 'text/event-stream'}, b'data: {"choices\n\n'), 'did not answer as the API says'),
    ):
        with scripted(script, stream_of((' two ', None), ('ships', None), (' ', 'stop'))) as server:
            chat = GeoChatInferencer(backend=OpenAIBackend(f'{server.url}/v1', max_retries=2)).chat()
            with pytest.raises(BackendError, match=message):
                chat.say('what is there?')
            assert chat.predictions == []
            # What stands at the edges of a server's pieces is no part of the answer.
            assert ''.join(chat.stream('what is there?')) == chat.predictions[-1].answer == 'two ships'


def test_text_comes_as_soon_as_the_server_sends_it():
    gate = threading.Event()

    def halting(handler):
        handler.send_response(200)
        handler.send_header('Content-Type', 'text/event-stream')
        handler.end_headers()
        handler.wfile.write(stream_of(('two', None), done=False)[2])
        gate.wait(10)
        handler.wfile.write(stream_of((' ships', 'stop'))[2])

    with scripted(halting) as server:
        pieces = GeoChatInferencer(backend=OpenAIBackend(f'{server.url}/v1')).chat().stream('what is there?')
        assert next(pieces) == 'two'
        gate.set()
        assert ''.join(pieces) == ' ships'


def test_a_server_that_says_nothing_is_given_up():
    gate = threading.Event()
    with scripted(lambda handler: gate.wait(10)) as server:
        start = time.monotonic()
        with pytest.raises(BackendError, match=r'has not answered within 0\.5 seconds'):
            ask(server.url, timeout=0.5)
        assert time.monotonic() - start < 5
        gate.set()


def test_answers_that_are_none_are_told():
    for script, message in (
        ((200, {}, {'hello': 'world'}), 'what is no chat completion'),
        ((200, {'Content-Type': 'text/html'}, b'<html>'), 'what is no chat completion'),
        ((404, {}, {'error': {'message': 'gone'}}), r'no such model or path \(404\): gone'),
        (completion('a b c', [('a', -1), (' b', -1), (' c', -1)]), 'more than the 2 tokens'),
    ):
        with scripted(script) as server, pytest.raises(BackendError, match=message):
            ask(server.url, max_tokens=2)


def test_a_server_may_tell_less(picture):
    box = '{<10><20><30><60>|<30>}'
    whole = [('{<', -0.5), ('10><20><30><60>|<30', -0.25), ('>}', 0.0), ('</s>', -3.0)]
    with scripted(completion(f' {box}', whole), completion(box), completion(box, [('other', -1.0)])) as server:
        asking = GeoChatInferencer(backend=OpenAIBackend(f'{server.url}/v1'))
        with_scores, without, unclear = (asking.refer(picture, 'the ship') for _ in range(3))
    assert with_scores.box_scores == pytest.approx((np.exp(-0.75),))
    assert (without.box_scores, without.confidence, without.tokens, without.log_prob) == (None, None, None, None)
    assert (unclear.box_scores, unclear.tokens) == (None, 1)
    assert without.to_dict()['box_scores'] is None and len(without.boxes) == 1
    sent = server.bodies[0]
    assert (sent['model'], sent['max_tokens'], sent['temperature'], sent['logprobs']) == ('m', 256, 0.0, True)
    kinds = [part['type'] for part in sent['messages'][0]['content']]
    assert kinds == ['image_url', 'text'] and sent['messages'][0]['content'][1]['text'].startswith('[refer]')


def test_a_failure_loses_no_answer_that_came_before():
    gate = threading.Event()

    def fails(handler):
        gate.wait(10)
        handler.reply(401, {}, {'error': {'message': 'no'}})

    from geochat.apis import Asked

    with scripted(completion('first'), fails) as server:
        asking = GeoChatInferencer(backend=OpenAIBackend(f'{server.url}/v1', batch_size=1))
        answers = asking.predict([asking.prepare(Asked((), 'one')), asking.prepare(Asked((), 'two'))])
        assert next(answers)[1].answer == 'first'
        gate.set()
        with pytest.raises(BackendError, match='401'):
            next(answers)


def test_a_back_end_that_is_gone_leaves_nothing_open():
    async def broken():
        raise OSError('the connection is broken')

    with scripted(completion()) as server:
        for close in (None, broken):
            backend = OpenAIBackend(f'{server.url}/v1')
            assert backend.origin['model'] == 'm'
            loop, client = backend._loop, backend._client
            if close is not None:
                client.close = close
            del backend
            gc.collect()
            end = time.monotonic() + 10
            while not loop.is_closed() and time.monotonic() < end:
                time.sleep(0.01)
            assert loop.is_closed() and client.is_closed() == (close is None)


def test_every_dialogue_is_told_of_its_own_failure():
    gate = threading.Event()

    def breaks_off(handler):
        handler.send_response(200)
        handler.send_header('Content-Type', 'text/event-stream')
        handler.end_headers()
        handler.wfile.write(stream_of(('two', None), done=False)[2])
        gate.wait(10)

    def answers_later(handler):
        gate.wait(10)
        time.sleep(0.3)
        handler.reply(*stream_of(('ships', 'stop')))

    with scripted(breaks_off, answers_later) as server:
        asking = GeoChatInferencer(backend=OpenAIBackend(f'{server.url}/v1', max_retries=0))
        first = asking.chat().stream('what is there?')
        assert next(first) == 'two'
        gate.set()
        second = asking.chat()
        with contextlib.suppress(BackendError):  # it may hear of the other's, or be quicker
            second.say('what is there?')
        told = []

        def read_on():
            with pytest.raises(BackendError) as caught:
                list(first)
            told.append(str(caught.value))

        reading = threading.Thread(target=read_on, daemon=True)
        reading.start()
        reading.join(10)
        assert 'ended an answer before it was whole' in told[0]
        assert second.say('what is there?').answer == 'ships'
