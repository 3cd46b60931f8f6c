"""Tests of how the server listens."""

import httpx
import pytest

from geochat.serving import server


def test_the_server_keeps_connections_open_for_longer_than_clients_do(tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr(server, 'run', lambda listening, worker, warn: served.append(listening))
    server.serve(tmp_path)
    # httpx, and so the openai client, does not send on a connection that was idle for longer.
    assert served[0].config.timeout_keep_alive > httpx.Limits().keepalive_expiry


def test_there_is_no_server_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing'):
        server.serve(tmp_path / 'nothing')
