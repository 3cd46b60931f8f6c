"""``tools/serve.py`` as a process of its own: it listens, loads, answers, and ends at a signal."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from small_parts import small_model, small_parts

from geochat.engine import ConfigError
from geochat.engine.checkpoint import save_model
from geochat.serving import Limits, serve

ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def test_a_model_folder_is_served_until_a_signal_comes(tmp_path):
    parts = small_parts()
    parts['llm']['chat_template'] = {'type': 'VicunaV1'}
    save_model(small_model(), parts, tmp_path / 'ships')
    port = free_port()
    command = [sys.executable, str(ROOT / 'tools' / 'serve.py'), str(tmp_path / 'ships'), '--port', str(port)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'GEOCHAT_API_KEY': 'secret', 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        with httpx.Client(base_url=f'http://127.0.0.1:{port}', timeout=30) as client:
            wait_until_ready(client, process)
            assert client.get('/v1/models').status_code == 401
            body = {'model': 'ships', 'max_tokens': 3, 'messages': [{'role': 'user', 'content': 'yes'}]}
            answer = client.post('/v1/chat/completions', json=body, headers={'Authorization': 'Bearer secret'})
            assert answer.json()['usage']['completion_tokens'] <= 3
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert 'ships is ready' in output
    assert 'Traceback' not in output


def wait_until_ready(client, process):
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            if client.get('/health').status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail('the server has not become ready')


def test_what_cannot_be_served_is_told():
    with pytest.raises(FileNotFoundError, match="no model folder or config 'nowhere'"):
        serve('nowhere')
    with pytest.raises(ConfigError, match='is a config: name its weights too'):
        serve(ROOT / 'configs' / 'geochat_tiny.py', port=free_port())
    with pytest.raises(ValueError, match='max_tokens is a positive number, not 0'):
        Limits(max_tokens=0)
