"""Grounding: a picture and a phrase in, boxes in the picture's pixels out."""

import math

import httpx
import numpy as np
import pytest
from PIL import Image
from small_server import NAME, data_url, running_server, small_served_model

from geochat.generation import Generated, Request
from geochat.serving.replies import grounding, token_texts


@pytest.fixture(scope='module')
def http():
    with running_server() as server, httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def ground(http, **fields):
    body = {'image': data_url(Image.new('RGB', (200, 100))), 'phrase': 'the red ship', 'max_tokens': 4, **fields}
    return http.post('/v1/ground', json={key: value for key, value in body.items() if value is not None})


def test_the_model_is_asked_in_its_own_words(http):
    answer = ground(http)
    reply = answer.json()
    assert (answer.status_code, reply['object'], reply['model']) == (200, 'grounding', NAME)
    assert reply['image_size'] == {'width': 200, 'height': 100}
    question = {'type': 'text', 'text': '[refer] Give me the location of <p> the red ship </p>'}
    picture = {'type': 'image_url', 'image_url': {'url': data_url(Image.new('RGB', (200, 100)))}}
    chat = {'model': NAME, 'max_tokens': 4, 'messages': [{'role': 'user', 'content': [picture, question]}]}
    same = http.post('/v1/chat/completions', json=chat).json()
    assert reply['text'] == same['choices'][0]['message']['content']
    assert reply['usage'] == same['usage']
    assert (reply['boxes'], reply['malformed']) == ([], True)


def test_boxes_are_in_pixels_degrees_and_have_scores():
    """{<10><35><30><55>|<90>} of 200 x 100, padded to 200 x 200: x 20 to 60, y 70 - 50 to 110 - 50, a quarter turn."""
    served = small_served_model()
    text = '{<10><35><30><55>|<90>}'
    ids = served.processor.tokenizer.encode(text, add_special_tokens=False)
    half = math.log(0.5) / len(ids)
    sample = Request(np.array([1, 300]))
    reply = grounding(served, sample, Generated(ids, [half] * len(ids), 'end', text), (200, 100))
    (box,) = reply['boxes']
    assert (box['cx'], box['cy'], box['width'], box['height']) == (40, 40, 40, 40)
    assert abs(box['angle']) == 90
    assert box['score'] == pytest.approx(0.5, abs=1e-6)
    assert box['confidence'] == pytest.approx(0.5 ** (1 / len(ids)), abs=1e-6)
    assert sorted(box['corners']) == [[20, 20], [20, 60], [60, 20], [60, 60]]
    assert reply['malformed'] is False


def test_tokens_are_told_by_their_characters():
    tokenizer = small_served_model().processor.tokenizer
    ids = tokenizer.encode('the red ship {<12>', add_special_tokens=False)
    texts = token_texts(tokenizer, [], ids)
    assert ''.join(text for text, _ in texts) == 'the red ship {<12>'
    assert texts[3:] == token_texts(tokenizer, ids[2:3], ids[3:])


@pytest.mark.parametrize(
    ('fields', 'status', 'param'),
    [
        ({'phrase': ' '}, 400, 'phrase'),
        ({'phrase': None}, 400, 'phrase'),
        ({'phrase': '<image>'}, 400, 'phrase'),
        ({'image': None}, 400, 'image'),
        ({'image': 'https://example.org/a.png'}, 400, 'image'),
        ({'model': 'other'}, 404, 'model'),
        ({'max_tokens': 5000}, 400, 'max_tokens'),
        ({'task': 'refer'}, 400, 'task'),
        ({'image': data_url(Image.new('L', (9001, 1)))}, 413, 'image'),
    ],
)
def test_a_bad_request_is_answered_with_its_cause(http, fields, status, param):
    answer = ground(http, **fields)
    assert (answer.status_code, answer.json()['error']['param']) == (status, param), answer.json()
