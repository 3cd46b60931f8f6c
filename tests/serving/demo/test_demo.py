"""The demo without a browser: what it lets through, how many it serves, and how it ends."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from PIL import Image
from small_demo import RunningDemo, running_demo, small_demo_model
from small_parts import small_model, small_parts

pytest.importorskip('gradio')

from gradio.utils import get_upload_folder

from geochat.engine.checkpoint import save_model
from geochat.serving.demo.gate import COOKIE
from geochat.serving.demo.sessions import Sessions
from geochat.serving.errors import APIError
from geochat.serving.hosts import HostNames

ROOT = Path(__file__).parents[3]


def png(size=(40, 30), color='red'):
    buffer = io.BytesIO()
    Image.new('RGB', size, color).save(buffer, 'PNG')
    return buffer.getvalue()


def names(demo):
    """Return the number of each function of the page by its name, and the number of the viewer."""
    config = httpx.get(f'{demo.url}/config').json()
    return {one['api_name']: one['id'] for one in config['dependencies']}


class Client:
    """What a page does, without a browser.

    Args:
        demo: The demo.
        page: Gradio's name of the page.
        owner: The browser's cookie.
    """

    def __init__(self, demo, page, owner=''):
        self.url, self.page, self.functions = demo.url, page, names(demo)
        self.cookies = {COOKIE: owner} if owner else {}

    def begin(self, name, *data):
        """Do something, and return all that is told of it."""
        body = {'data': list(data), 'fn_index': self.functions[name], 'session_hash': self.page}
        assert httpx.post(f'{self.url}/gradio_api/queue/join', json=body, cookies=self.cookies).status_code == 200
        address = f'{self.url}/gradio_api/queue/data?session_hash={self.page}'
        with httpx.stream('GET', address, timeout=30, cookies=self.cookies) as stream:
            lines = [line for line in stream.iter_lines() if line.startswith('data:')]
        return [json.loads(line.removeprefix('data:')) for line in lines]

    def call(self, name, *data):
        """Do something, and return what the page shows then."""
        return next(one['output']['data'] for one in self.begin(name, *data) if one['msg'] == 'process_completed')

    def open(self, content=None):
        """Begin, open a picture, and return the session's key."""
        key = self.call('loaded')[0]['key']
        self.upload(key, content or png())
        return key

    def upload(self, key, content):
        return httpx.post(f'{self.url}/sessions/{key}/picture', content=content, headers={'X-File-Name': 'a.png'})

    def ask(self, words, task='chat', box=None, temperature=0, top_p=1, tokens=8):
        """Ask, and return the dialogue and the notice."""
        return self.call('ask', {'box': box}, task, words, temperature, top_p, tokens)[1:3]


@pytest.fixture(scope='module')
def demo():
    with running_demo(max_users=3) as running:
        yield running


@pytest.fixture
def client(demo):
    yield Client(demo, 'page1')
    demo.app.sessions.close('page1')


def test_nothing_of_gradios_files_is_reachable(demo, client):
    client.open()
    client.ask('Is a harbor present?')
    folder = Path(get_upload_folder())
    for path in (
        f'/gradio_api/file={ROOT / "setup.py"}',
        f'/gradio_api/file={folder}/a.png',
        '/gradio_api/file/etc/passwd',
        '/file=/etc/passwd',
        '/gradio_api/proxy=http://127.0.0.1/',
        '/gradio_api/deep_link?session_hash=page1',
        '/gradio_api/runs',
        '/monitoring',
        '/static/../../../../../../etc/passwd',
        '/assets/%2e%2e/%2e%2e/%2e%2e/__init__.py',
        '/gradio_api/info',
    ):
        assert httpx.get(f'{demo.url}{path}').status_code in (403, 404), path
    file = {'files': ('a.png', png())}
    assert httpx.post(f'{demo.url}/gradio_api/upload', files=file).status_code == 404
    assert httpx.post(f'{demo.url}/gradio_api/run/ask', json={'data': []}).status_code == 404


def test_pictures_are_reached_by_their_key_alone_and_kept_by_nobody(demo, client):
    key = client.open()
    reply = httpx.get(f'{demo.url}/sessions/{key}/picture')
    assert Image.open(io.BytesIO(reply.content)).getpixel((0, 0)) == (255, 0, 0)
    assert reply.headers['cache-control'] == 'no-store'
    assert "default-src 'self'" in httpx.get(demo.url).headers['content-security-policy']
    for other in (key[:-1], f'{key}x', 'page1', '', 'é'):
        assert httpx.get(f'{demo.url}/sessions/{other}/picture').status_code == 404
        assert client.upload(other, png()).status_code == 404
    assert httpx.get(f'{demo.url}/sessions/{key}/answers/0/geochat.json').status_code == 404
    demo.app.sessions.close('page1')
    assert httpx.get(f'{demo.url}/sessions/{key}/picture').status_code == 404


def test_a_page_is_of_no_use_to_another_browser(demo):
    """Who has found out what Gradio calls a page sees nothing of it."""
    assert f'{COOKIE}=' in httpx.get(demo.url).headers['set-cookie']
    user = Client(demo, 'known', 'cookie of the user'.replace(' ', '-'))
    user.open()
    user.ask('Is a harbor present?')
    for cookie in ('', 'another'):
        other = Client(demo, 'known', cookie)
        assert other.begin('loaded') == []
        other.begin('left')
        assert httpx.get(f'{demo.url}/gradio_api/heartbeat/known', cookies=other.cookies).status_code == 404
    with pytest.raises(APIError, match='another browser'):
        demo.app.sessions.open('known', 'another')
    told = [one['output']['data'] for one in user.begin('loaded') if one['msg'] == 'process_completed']
    shown = [data[1] for data in told if data]  # the others tried to make it leave, which tells nothing
    assert 'gc-model' in shown[-1]
    demo.app.sessions.close('known')


def test_the_picture_that_was_opened_last_is_shown(demo, client):
    """The file of an earlier one may arrive later."""
    key = client.call('loaded')[0]['key']
    has_begun, go_on = threading.Event(), threading.Event()
    content = png(color='red')

    def slowly():
        yield content[:20]
        has_begun.set()
        go_on.wait(10)
        yield content[20:]

    def upload():
        headers = {'Content-Length': str(len(content))}
        assert httpx.post(f'{demo.url}/sessions/{key}/picture', content=slowly(), headers=headers).status_code == 200

    thread = threading.Thread(target=upload)
    thread.start()
    assert has_begun.wait(10)
    client.upload(key, png(color='blue'))
    go_on.set()
    thread.join()
    shown = httpx.get(f'{demo.url}/sessions/{key}/picture').content
    assert Image.open(io.BytesIO(shown)).getpixel((0, 0)) == (0, 0, 255)
    client.upload(key, png(color='red'))
    shown = httpx.get(f'{demo.url}/sessions/{key}/picture').content
    assert Image.open(io.BytesIO(shown)).getpixel((0, 0)) == (255, 0, 0)


def test_a_file_that_does_not_arrive_is_given_up(demo, client, monkeypatch):
    key = client.call('loaded')[0]['key']
    monkeypatch.setattr(demo.app.talk, 'limits', replace(demo.app.talk.limits, read_seconds=0.2))
    head = f'POST /sessions/{key}/picture HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n'
    begun = head.encode() + png()[:20]
    with socket.create_connection(('127.0.0.1', demo.server.port), timeout=10) as late:
        late.sendall(begun)
        assert late.recv(1000).startswith(b'HTTP/1.1 408')
    with socket.create_connection(('127.0.0.1', demo.server.port)) as gone:
        gone.sendall(begun)
    assert httpx.get(f'{demo.url}/sessions/{key}/picture').status_code == 404
    assert client.upload(key, png()).status_code == 200


@pytest.mark.parametrize('site', ['cross-site', 'same-site'])  # another port of this machine is the same site
def test_pages_of_other_sites_cannot_use_the_demo(demo, client, site):
    key = client.open()
    headers = {'Sec-Fetch-Site': site}
    body = {'data': [], 'fn_index': client.functions['loaded'], 'session_hash': 'of-a-bad-page'}
    assert httpx.post(f'{demo.url}/gradio_api/queue/join', json=body, headers=headers).status_code == 403
    for path in ('gradio_api/heartbeat/page1', 'gradio_api/queue/data?session_hash=page1', f'sessions/{key}/picture'):
        assert httpx.get(f'{demo.url}/{path}', headers=headers).status_code == 403
    assert len(list(demo.app.sessions)) == 1
    assert httpx.get(demo.url, headers=headers).status_code == 200  # they may have a link to it


def test_a_rebound_name_does_not_lead_to_the_demo(demo, client):
    key = client.open()
    for path in ('', 'config', f'sessions/{key}/picture', 'gradio_api/heartbeat/page1', 'nothing'):
        reply = httpx.get(f'{demo.url}/{path}', headers={'Host': f'evil.example:{demo.server.port}'})
        assert (reply.status_code, reply.json()['error']['code']) == (421, 'unknown_host')
        assert 'set-cookie' not in reply.headers
    for host in ('localhost', f'127.0.0.1:{demo.server.port}', '[::1]', 'LOCALHOST:80'):
        assert httpx.get(f'{demo.url}/sessions/{key}/picture', headers={'Host': host}).status_code == 200


def test_the_demo_answers_to_the_names_it_is_given():
    with running_demo(host_names=HostNames('0.0.0.0', ['demo.example'])) as demo:
        for host, status in (('demo.example', 200), ('localhost', 200), ('evil.example', 421)):
            assert httpx.get(demo.url, headers={'Host': host}).status_code == status


def test_large_bodies_are_refused_before_they_are_read(demo, client):
    key = client.call('loaded')[0]['key']
    reply = client.upload(key, b'0' * (33 * 2**20))
    assert (reply.status_code, reply.json()['error']['code']) == (413, 'body_too_large')
    pieces = (b'0' for _ in range(3))
    assert httpx.post(f'{demo.url}/sessions/{key}/picture', content=pieces).status_code == 411
    body = {'data': ['x' * 70_000], 'fn_index': 0, 'session_hash': 'page1'}
    assert httpx.post(f'{demo.url}/gradio_api/queue/join', json=body).status_code == 413


def test_bad_values_are_explained(client):
    client.open()
    assert 'empty' in client.ask(' ')[1]
    assert 'Draw a box' in client.ask('', 'identify')[1]
    assert 'outside the picture' in client.ask('', 'identify', [900, 900, 5, 5, 0])[1]
    assert 'a box is' in client.ask('', 'identify', 'no box')[1].lower()
    for values in ({'top_p': 0}, {'temperature': -1}, {'tokens': 65}):
        with pytest.raises(KeyError, match='data'):  # which an error has none of
            client.ask('yes', **values)
    dialogue, notice = client.ask('yes')
    assert 'gc-model' in dialogue
    assert not notice


def test_the_batch_and_the_queue_have_an_end(demo, client):
    client.open()
    worker = demo.app.worker
    with worker.places(worker.max_places):
        assert 'Try again in a moment' in client.ask('Is a harbor present?')[1]
    assert not client.ask('Is a harbor present?')[1]
    assert worker.busy == 0


def test_too_many_users_are_told_so(demo):
    clients = [Client(demo, f'many{number}') for number in range(4)]
    try:
        for one in clients[:3]:
            one.open()
        assert 'The demo is full: 3 people' in clients[3].call('loaded')[2]
    finally:
        demo.app.sessions.close_all()


def test_who_has_been_idle_makes_room():
    sessions = Sessions(most=2, idle_seconds=0.05, lost_seconds=0.05)
    first = sessions.open('first')
    second = sessions.open('second')
    with pytest.raises(APIError, match='full'):
        sessions.open('third')
    time.sleep(0.06)
    assert sessions.open('second') is second
    sessions.open('third')
    assert sessions.find(first.key) is None
    assert sessions.find(second.key) is second


def test_a_page_that_the_server_has_closed_is_told_so(demo, client):
    """It was idle, has lost its connection for a while, or the demo was started anew."""
    client.open()
    client.ask('yes')
    demo.app.sessions.close('page1')
    for name, *data in (
        ('ask', {}, 'chat', 'yes', 0, 1, 8),
        ('identify', {}, 0, 1, 8),
        ('ask_again', 0, 1, 8),
        ('clear',),
        ('show',),
    ):
        dialogue, notice = client.call(name, *data)[1:3]
        assert 'Load it again' in notice
        assert dialogue['__type__'] == 'update' and 'value' not in dialogue  # what was said can still be read
    assert not list(demo.app.sessions)
    client.open()
    assert not client.ask('yes')[1]


def test_a_page_that_no_browser_holds_makes_room_first():
    sessions = Sessions(most=2, idle_seconds=60, lost_seconds=0.05)
    with sessions.held('first'), sessions.held('first'):
        first = sessions.open('first')
        lost = sessions.open('lost')
        time.sleep(0.06)
        sessions.open('third')
        assert sessions.find(lost.key) is None
        assert sessions.find(first.key) is first


def test_pages_that_are_lost_as_they_open_keep_nobody_out(demo, monkeypatch):
    """What a page does as it is loaded may come after its heartbeat has ended; nobody holds it open then."""
    monkeypatch.setattr(demo.app.sessions, 'lost_seconds', 0.2)
    try:
        for number in range(3):
            Client(demo, f'lost{number}').call('loaded')
        time.sleep(0.2)
        with httpx.stream('GET', f'{demo.url}/gradio_api/heartbeat/stays') as heartbeat:
            lines = heartbeat.iter_lines()
            assert 'ALIVE' in next(lines)
            stays = Client(demo, 'stays')
            key = stays.open()
            assert not stays.ask('yes')[1]
            for number in range(3, 6):
                time.sleep(0.2)
                Client(demo, f'lost{number}').call('loaded')
            assert demo.app.sessions.find(key) is not None
    finally:
        demo.app.sessions.close_all()


def test_gradio_remembers_no_more_pages_than_may_be_open(demo):
    try:
        for number in range(5):
            Client(demo, f'many{number}').call('show')
            demo.app.sessions.close_all()
        assert len(demo.app.page.state_holder.session_data) == demo.app.sessions.most == 3
    finally:
        demo.app.sessions.close_all()


def test_several_users_are_answered_in_one_batch(demo):
    """Each has the answer that they would have alone."""
    clients = [Client(demo, f'user{number}') for number in range(3)]
    words = ['Is a harbor present?', 'How many planes are there?', 'yes']
    try:
        for one, color in zip(clients, ('red', 'green', 'blue'), strict=True):
            one.open(png(color=color))
        alone = [one.ask(word, tokens=48)[0] for one, word in zip(clients, words, strict=True)]
        for one in clients:
            one.call('clear')
        together = [None] * 3

        def ask(number):
            together[number] = clients[number].ask(words[number], tokens=48)[0]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert together == alone
        assert len(set(together)) == 3
    finally:
        demo.app.sessions.close_all()


def test_the_page_says_that_the_model_is_being_loaded():
    go_on = threading.Event()

    def load():
        go_on.wait(30)
        return small_demo_model()

    demo = RunningDemo(load)
    try:
        client = Client(demo, 'early')
        client.open()  # pictures are taken in the meantime
        assert 'is being loaded' in client.ask('Is a harbor present?')[1]
        go_on.set()
        assert 'Model: small' in client.call('wait_for_model')[0]
        assert not client.ask('Is a harbor present?')[1]
    finally:
        go_on.set()
        demo.stop()


def test_it_ends_at_once_while_answers_are_written():
    with running_demo() as demo:
        client = Client(demo, 'last')
        client.open()
        demo.prompter.seconds = 0.2
        demo.prompter.say('yes no ' * 100)

        def ask():
            with contextlib.suppress(httpx.TransportError):  # told that it ends, or cut off
                client.begin('ask', {}, 'chat', 'yes', 0, 1, 64)

        thread = threading.Thread(target=ask)
        thread.start()
        demo.wait_for(lambda: demo.app.worker.busy == 1)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    thread.join(10)
    assert demo.app.worker.busy == 0


def test_the_command_shows_the_page_until_a_signal_ends_it(tmp_path):
    parts = small_parts()
    parts['llm']['chat_template'] = {'type': 'vicuna_v1'}
    model = save_model(small_model(), parts, tmp_path / 'm')
    command = [sys.executable, '-m', 'geochat', 'demo', model, '--port', '0', '--device', 'cpu']
    code = f'import sys; sys.argv = {["geochat", *map(str, command[3:])]!r}; from geochat.console import main; main()'
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'GRADIO_TEMP_DIR': str(tmp_path / 'gradio')},
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if 'is ready' in line:
            break
    (address,) = [line.split()[-1] for line in lines if 'the page is at' in line]
    assert address.startswith('http://127.0.0.1:')
    client = Client(SimpleNamespace(url=address), 'page1')
    client.open()
    assert 'gc-model' in client.ask('yes')[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (0, -signal.SIGTERM)
    assert not [path for path in (tmp_path / 'gradio').rglob('*') if path.is_file()]


def test_a_public_address_is_there_only_if_asked_for(monkeypatch):
    opened = []

    def open_tunnel(host, port, *settings):
        opened.append((host, port))
        if len(opened) > 1:
            raise RuntimeError('no network')
        return 'http://somewhere.gradio.live'

    monkeypatch.setattr('gradio.networking.setup_tunnel', open_tunnel)
    with running_demo():
        assert not opened
    with running_demo(share=True) as demo:
        assert opened == [('127.0.0.1', demo.server.port)]
        for host, status in (('somewhere.gradio.live', 200), ('elsewhere.gradio.live', 421)):
            assert httpx.get(demo.url, headers={'Host': host}).status_code == status
    failed = RunningDemo(share=True)
    failed.thread.join(10)
    assert isinstance(failed.server.error, ConnectionError)
    assert 'no network' in str(failed.server.error)
