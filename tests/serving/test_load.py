"""Many clients at once, those that go away, a queue that is full, time that is over, and the end."""

import asyncio
import json
import threading
import time

import httpx
import openai
import pytest
from PIL import Image
from small_server import NAME, data_url, running_server, small_served_model

from geochat.generation import GenerationEngine, GenerationSettings, Request
from geochat.serving import Limits
from geochat.serving.app import create_app
from geochat.serving.hosts import HostNames
from geochat.serving.worker import Worker
from geochat.structures import Message

COLORS = ('red', 'green', 'blue', 'white')
WORDS = ('ship', 'planes', 'harbor', 'red', 'top', 'left', 'yes', 'no', 'two', 'three')


def chat(text='yes', **fields):
    return {'model': NAME, 'messages': [{'role': 'user', 'content': text}], 'max_tokens': 16, **fields}


def slow_model(seconds=0.01):
    """The small model, each of whose steps takes a while."""
    served = small_served_model()
    logits = served.model.llm.logits

    def slow(states):
        time.sleep(seconds)
        return logits(states)

    served.model.llm.logits = slow
    return served


def metric(server, name):
    lines = httpx.get(f'{server.url}/metrics').text.splitlines()
    return sum(float(line.rpartition(' ')[2]) for line in lines if line.startswith(name))


def test_64_clients_get_each_its_own_answer():
    served = small_served_model()
    questions = [(f'{WORDS[number % 10]} {WORDS[number // 7]} {number}', COLORS[number % 4]) for number in range(64)]
    pictures = {color: Image.new('RGB', (28, 28), color) for color in COLORS}
    samples = [
        served.processor.prompt_sample([Message('user', f'<image>\n{text}')], [pictures[color]])
        for text, color in questions
    ]
    engine = GenerationEngine(served.model)
    alone = engine.generate([Request.of_sample(sample, GenerationSettings(16)) for sample in samples])
    assert len({answer.text for answer in alone}) > 32
    urls = {color: data_url(picture) for color, picture in pictures.items()}

    async def ask_all(url):
        async with openai.AsyncOpenAI(base_url=f'{url}/v1', api_key='none', max_retries=0) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(64)))

    async def ask(client, number):
        text, color = questions[number]
        parts = [{'type': 'image_url', 'image_url': {'url': urls[color]}}, {'type': 'text', 'text': text}]
        create = client.chat.completions.create
        settings = {'model': NAME, 'messages': [{'role': 'user', 'content': parts}], 'max_tokens': 16}
        if number % 2:
            return (await create(**settings)).choices[0].message.content
        return ''.join([chunk.choices[0].delta.content or '' async for chunk in await create(**settings, stream=True)])

    with running_server() as server:
        assert asyncio.run(ask_all(server.url)) == [answer.text for answer in alone]
        assert server.worker.busy == 0
        assert metric(server, 'geochat_requests_total{path="/v1/chat/completions",status="200"}') == 64
        assert metric(server, 'geochat_generated_tokens_total') == sum(len(answer.ids) for answer in alone)


def test_a_full_queue_is_answered_with_429():
    with running_server(slow_model, Limits(max_queue=2), batch_size=2) as server:
        statuses = []

        def ask():
            statuses.append(httpx.post(f'{server.url}/v1/chat/completions', json=chat(max_tokens=60)).status_code)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        server.wait_for(lambda: server.worker.busy == 4)
        answer = httpx.post(f'{server.url}/v1/chat/completions', json=chat())
        assert (answer.status_code, answer.json()['error']['code']) == (429, 'queue_full')
        assert answer.json()['error']['type'] == 'rate_limit_error'
        assert answer.headers['retry-after'] == '1'
        for thread in threads:
            thread.join()
        assert statuses == [200] * 4
        assert httpx.post(f'{server.url}/v1/chat/completions', json=chat(n=5)).status_code == 429
        assert httpx.post(f'{server.url}/v1/chat/completions', json=chat(n=4)).status_code == 200


@pytest.mark.parametrize('stream', [False, True])
def test_a_client_that_goes_away_frees_its_place(stream):
    with running_server(slow_model) as server, httpx.Client(base_url=server.url) as client:
        if stream:
            with client.stream('POST', '/v1/chat/completions', json=chat(max_tokens=400, stream=True)) as answer:
                next(answer.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post('/v1/chat/completions', json=chat(max_tokens=400), timeout=0.2)
        began = time.monotonic()
        server.wait_for(lambda: server.worker.busy == 0)
        assert time.monotonic() - began < 2  # the whole answer would take four seconds
        assert metric(server, 'geochat_answers_total{finish="cancelled"}') == 1
        assert httpx.post(f'{server.url}/v1/chat/completions', json=chat()).status_code == 200


def test_a_client_that_goes_away_before_the_first_word_frees_its_place():
    worker = Worker(slow_model, batch_size=4, max_queue=4, prefix_memory_mb=1)
    app = create_app(worker, Limits(), HostNames('0.0.0.0'))
    body = json.dumps(chat(max_tokens=400, stream=True)).encode()
    came = iter([{'type': 'http.request', 'body': body, 'more_body': False}])

    async def receive():
        return next(came, None) or await asyncio.Event().wait()

    async def send(message):
        raise OSError('the connection is closed')

    async def ask():
        scope = {'type': 'http', 'method': 'POST', 'path': '/v1/chat/completions', 'query_string': b''}
        with pytest.raises(OSError, match='closed'):
            await app({**scope, 'headers': [(b'content-type', b'application/json')]}, receive, send)
        began = time.monotonic()
        while worker.busy:
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    worker.start()
    while not worker.is_ready:
        time.sleep(0.01)
    assert asyncio.run(ask()) < 1  # the whole answer would take four seconds
    worker.close()


def test_an_answer_that_takes_too_long_is_given_up():
    with running_server(slow_model, Limits(answer_seconds=0.3)) as server:
        answer = httpx.post(f'{server.url}/v1/chat/completions', json=chat(max_tokens=400))
        assert (answer.status_code, answer.json()['error']['code']) == (504, 'answer_timeout')
        client = openai.OpenAI(base_url=f'{server.url}/v1', api_key='none', max_retries=0)
        with client, pytest.raises(openai.APIError, match='not written in the time'):
            list(client.chat.completions.create(**chat(max_tokens=400, stream=True)))
        server.wait_for(lambda: server.worker.busy == 0)


def test_an_engine_that_fails_is_replaced():
    broken = threading.Event()

    def load():
        served = small_served_model()
        logits = served.model.llm.logits

        def failing(states):
            if broken.is_set():
                raise RuntimeError('out of memory')
            return logits(states)

        served.model.llm.logits = failing
        return served

    with running_server(load) as server:
        broken.set()
        answer = httpx.post(f'{server.url}/v1/chat/completions', json=chat())
        assert (answer.status_code, answer.json()['error']['code']) == (500, 'engine_failed')
        broken.clear()
        assert httpx.post(f'{server.url}/v1/chat/completions', json=chat()).status_code == 200
        assert server.worker.busy == 0


def test_what_runs_is_finished_before_the_end():
    with running_server(slow_model) as server:
        answers = []

        def ask():
            answers.append(httpx.post(f'{server.url}/v1/chat/completions', json=chat(max_tokens=80), timeout=30))

        thread = threading.Thread(target=ask)
        thread.start()
        server.wait_for(lambda: server.worker.busy == 1)
        server.stop()
        thread.join()
    assert answers[0].status_code == 200
    assert answers[0].json()['choices'][0]['message']['content']
