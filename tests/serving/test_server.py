"""Tests of how the server listens."""

import httpx
import pytest
from starlette.testclient import TestClient

from geochat.serving import server
from geochat.serving.demo import server as demo_server


@pytest.mark.parametrize('what', ['serve', 'demo'])
@pytest.mark.parametrize('host', ['127.0.0.1', '0.0.0.0'])
def test_the_server_answers_to_the_names_for_where_it_listens(tmp_path, monkeypatch, what, host):
    if what == 'demo':
        pytest.importorskip('gradio')
    module, serve = {'serve': (server, server.serve), 'demo': (demo_server, demo_server.serve_demo)}[what]
    served = []
    monkeypatch.setattr(module, 'run', lambda listening, worker, warn: served.append(listening.config.app))
    serve(tmp_path, host=host)
    serve(tmp_path, host=host, host_names=['demo.example'])
    without, given = (
        [
            TestClient(app).get('/nothing', headers={'Host': name}).status_code != 421
            for name in ('localhost', 'demo.example', 'evil.example')
        ]
        for app in served
    )
    assert without == ([True, False, False] if host == '127.0.0.1' else [True, True, True])
    assert given == [True, True, False]


def test_the_server_keeps_connections_open_for_longer_than_clients_do(tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr(server, 'run', lambda listening, worker, warn: served.append(listening))
    server.serve(tmp_path)
    # httpx, and so the openai client, does not send on a connection that was idle for longer.
    assert served[0].config.timeout_keep_alive > httpx.Limits().keepalive_expiry


def test_there_is_no_server_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing'):
        server.serve(tmp_path / 'nothing')
