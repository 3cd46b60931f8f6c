"""Bad requests: each is answered with a status, and an error object that names the cause."""

import io
import json
import struct
import threading
import zlib

import httpx
import openai
import pytest
from PIL import Image
from small_server import NAME, RunningServer, bytes_url, data_url, running_server, small_served_model

from geochat.apis import PictureSettings
from geochat.serving import Limits

LIMITS = Limits(max_body_mb=0.5, max_pictures=2, max_tokens=64, max_choices=4, read_seconds=1)


@pytest.fixture(scope='module')
def server():
    with running_server(limits=LIMITS, pictures=PictureSettings(max_side=1000)) as running:
        yield running


@pytest.fixture(scope='module')
def http(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def chat(content='yes', **fields):
    return {'model': NAME, 'messages': [{'role': 'user', 'content': content}], 'max_tokens': 2, **fields}


def picture(url):
    return [{'type': 'image_url', 'image_url': {'url': url}}, {'type': 'text', 'text': 'yes'}]


def turns(*roles):
    return {'messages': [{'role': role, 'content': 'yes'} for role in roles]}


def encoded(image, kind='PNG'):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def huge_png(width, height):
    """The head of a PNG that says it is huge, and no more."""
    head = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    data = b'IDAT' + zlib.compress(b'')
    chunks = (
        struct.pack('>I', len(chunk) - 4) + chunk + struct.pack('>I', zlib.crc32(chunk)) for chunk in (head, data)
    )
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


JPEG = encoded(Image.effect_noise((64, 64), 50).convert('RGB'), 'JPEG')

BAD_CHATS = {
    'no model': ({'messages': chat()['messages']}, 400, 'model', "the field 'model' is missing"),
    'another model': (chat(model='gpt-4o'), 404, 'model', "no model 'gpt-4o'"),
    'no messages': ({'model': NAME}, 400, 'messages', 'missing'),
    'empty dialogue': (chat(messages=[]), 400, 'messages', 'at least 1 item'),
    'not an object': ([1], 400, None, 'object'),
    'unknown field': (chat(temprature=1), 400, 'temprature', "unknown field 'temprature'"),
    'tools': (chat(tools=[{'type': 'function'}]), 400, None, 'tools is not supported'),
    'json mode': (chat(response_format={'type': 'json_object'}), 400, None, 'response_format is not supported'),
    'penalty': (chat(frequency_penalty=0.5), 400, None, 'frequency_penalty is not supported'),
    'top_logprobs': (chat(logprobs=True, top_logprobs=3), 400, None, 'top_logprobs is not supported'),
    'temperature': (chat(temperature=3), 400, 'temperature', 'less than or equal to 2'),
    'temperature word': (chat(temperature='hot'), 400, 'temperature', 'valid number'),
    'top_p': (chat(top_p=0), 400, 'top_p', 'greater than 0'),
    'seed': (chat(seed=1.5), 400, 'seed', 'integer'),
    'stop': (chat(stop=''), 400, 'stop', 'empty'),
    'stops': (chat(stop=list('abcde')), 400, 'stop', 'at most 4'),
    'n 0': (chat(n=0), 400, 'n', 'greater than or equal to 1'),
    'n': (chat(n=5), 400, 'n', 'n may be 4 at most'),
    'tokens': (chat(max_tokens=65), 400, 'max_tokens', 'max_tokens may be 64 at most'),
    'tokens twice': (chat(max_completion_tokens=2), 400, 'max_tokens', 'say the same'),
    'empty question': (chat(' \n'), 400, 'messages[0].content', 'the question is empty'),
    'long question': (chat('planes ' * 600), 400, None, "the LLM's context 512"),
    'endless question': (chat('planes ' * 20_000), 400, 'messages[0].content', '140000 characters'),
    'role': (chat(**turns('tool')), 400, 'messages[0].role', "'user' or 'assistant'"),
    'assistant first': (chat(**turns('assistant', 'user')), 400, 'messages', 'turn 1 of the dialogue'),
    'twice': (chat(**turns('user', 'user')), 400, 'messages', 'turn 2 of the dialogue'),
    'assistant last': (chat(**turns('user', 'assistant')), 400, 'messages', 'the last message'),
    'system only': (chat(**turns('system')), 400, 'messages', 'at least one turn'),
    'system later': (chat(**turns('user', 'system')), 400, 'messages[1]', 'stands first'),
    'content': (chat(7), 400, 'messages[0].content', 'valid array'),
    'part': (chat([{'type': 'audio'}]), 400, 'messages[0].content[0]', 'image_url'),
    'placeholder': (chat('<image> yes'), 400, 'messages[0].content', "'<image>' stands for a picture"),
    'url': (chat(picture('https://example.org/a.png')), 400, None, 'nothing is fetched'),
    'file': (chat(picture('file:///etc/passwd')), 400, None, 'nothing is fetched'),
    'path': (chat(picture('/etc/passwd')), 400, None, 'nothing is fetched'),
    'base64': (chat(picture('data:image/png;base64,???')), 400, None, 'not base64'),
    'text': (chat(picture(bytes_url(b'no picture at all'))), 400, None, 'not a picture of a known kind'),
    'nothing': (chat(picture(bytes_url(b''))), 400, None, 'not a picture'),
    'truncated': (chat(picture(bytes_url(JPEG[:-200]))), 400, None, 'truncated'),
    '16 bit': (chat(picture(data_url(Image.new('I;16', (9, 9))))), 400, None, 'not 8 bits'),
    'wide': (
        chat(picture(data_url(Image.new('L', (1001, 1))))),
        413,
        None,
        '1001 x 1 pixels, at most 1000',
    ),
    'bomb': (chat(picture(bytes_url(huge_png(30000, 30000)))), 413, None, 'is too large'),
    'pictures': (chat(picture(data_url(RED := Image.new('RGB', (2, 2)))) * 3), 400, 'messages', 'pictures may be 2'),
}


@pytest.mark.parametrize('name', BAD_CHATS)
def test_a_bad_request_is_answered_with_its_cause(http, server, name):
    body, status, param, message = BAD_CHATS[name]
    answer = http.post('/v1/chat/completions', json=body)
    error = answer.json()['error']
    assert (answer.status_code, message in error['message']) == (status, True), error
    assert error['type'] == 'invalid_request_error'
    assert error['code']
    if param is not None:
        assert error['param'] == param
    server.wait_for(lambda: server.worker.busy == 0)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'one pixel', 'transparent palette'])
def test_pictures_of_all_kinds_are_read(http, mode):
    if mode == 'one pixel':
        url = data_url(Image.new('RGB', (1, 1), 'red'))
    elif mode == 'CMYK':
        url = data_url(Image.new(mode, (9, 5)), 'JPEG')
    elif mode == 'transparent palette':
        url = data_url(Image.new('RGBA', (9, 5), (1, 2, 3, 0)).quantize(), 'PNG')
    else:
        url = data_url(Image.new(mode, (9, 5)))
    assert http.post('/v1/chat/completions', json=chat(picture(url))).status_code == 200


def test_a_body_that_is_no_json(http):
    headers = {'content-type': 'application/json'}
    for body in (b'{"model": ', b'', b'\xff\xfe', b'{"model": "\\ud800"}'):
        answer = http.post('/v1/chat/completions', content=body, headers=headers)
        assert (answer.status_code, answer.json()['error']['code']) == (400, 'invalid_json'), body
    answer = http.post('/v1/chat/completions', content=json.dumps(chat()), headers={'content-type': 'text/plain'})
    assert (answer.status_code, answer.json()['error']['code']) == (415, 'unsupported_media_type')


def test_a_body_that_is_too_large_or_too_slow(http, server):
    large = chat('yes ' * 200_000)
    assert http.post('/v1/chat/completions', json=large).status_code == 413
    headers = {'content-type': 'application/json'}
    pieces = (b'x' * 2**16 for _ in range(20))  # without its length in the head
    assert http.post('/v1/chat/completions', content=pieces, headers=headers).status_code == 413

    def slow():
        yield b'{'
        threading.Event().wait(2)

    answer = http.post('/v1/chat/completions', content=slow(), headers=headers)
    assert (answer.status_code, answer.json()['error']['code']) == (408, 'body_timeout')
    assert server.worker.busy == 0


def test_paths_that_are_not_there(http):
    assert http.get('/v1/nothing').json()['error']['code'] == 'not_found'
    answer = http.get('/v1/chat/completions')
    assert (answer.status_code, answer.json()['error']['type']) == (405, 'invalid_request_error')


def test_openais_client_raises_its_own_errors(server):
    with openai.OpenAI(base_url=f'{server.url}/v1', api_key='none', max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match='unknown field') as caught:
            client.chat.completions.create(**chat(), extra_body={'best_of': 2})
        assert caught.value.param == 'best_of'
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(**chat(model='other'))
        with pytest.raises(openai.BadRequestError, match='context 512'):
            list(client.chat.completions.create(**chat('planes ' * 600, stream=True)))


def test_a_key_is_asked_for():
    with running_server(api_key='secret') as server:
        client = openai.OpenAI(base_url=f'{server.url}/v1', api_key='guess', max_retries=0)
        with client, pytest.raises(openai.AuthenticationError, match='API key'):
            client.models.list()
        with openai.OpenAI(base_url=f'{server.url}/v1', api_key='secret', max_retries=0) as client:
            assert client.chat.completions.create(**chat()).choices
        assert httpx.get(f'{server.url}/v1/models').headers['www-authenticate'] == 'Bearer'
        assert httpx.get(f'{server.url}/metrics').status_code == 401
        assert httpx.get(f'{server.url}/health').status_code == 200


def test_nothing_is_answered_while_the_model_is_loaded():
    loaded = threading.Event()

    def load():
        loaded.wait(30)
        return small_served_model()

    server = RunningServer(load)
    try:
        answer = httpx.get(f'{server.url}/health')
        assert (answer.status_code, answer.json()['error']['code']) == (503, 'model_loading')
        assert httpx.post(f'{server.url}/v1/chat/completions', json=chat()).headers['retry-after'] == '5'
        assert 'geochat_ready 0.0' in httpx.get(f'{server.url}/metrics').text
        client = openai.OpenAI(base_url=f'{server.url}/v1', api_key='none', max_retries=0)
        with client, pytest.raises(openai.InternalServerError, match='being loaded'):
            client.chat.completions.create(**chat())
        loaded.set()
        server.wait_for(lambda: httpx.get(f'{server.url}/health').status_code == 200)
        assert httpx.post(f'{server.url}/v1/chat/completions', json=chat()).status_code == 200
    finally:
        loaded.set()
        server.stop()
