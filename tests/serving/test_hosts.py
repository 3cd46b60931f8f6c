"""Which names a server answers to: no page of the web can lead its own name to this machine and ask there."""

import socket

import httpx
import pytest
from small_server import running_server

from geochat.apis import InputError
from geochat.serving.hosts import HostNames, is_loopback

OWN = [
    'localhost',
    'localhost:8000',
    'LocalHost',
    'localhost.:8000',
    '127.0.0.1',
    '127.0.0.1:8000',
    '127.8.9.10',
    '[::1]',
    '[::1]:8000',
    '[0:0:0:0:0:0:0:1]',
]
OTHERS = [
    'evil.example',
    'evil.example:8000',
    'localhost.evil.example',
    'notlocalhost',
    '127.0.0.1.evil.example',
    '128.0.0.1',
    '0.0.0.0',
    '[::2]:8000',
    '::1',
    '[::1',
    '[::1]evil.example',
    'localhost:80:80',
    'localhost:evil',
    'localhost, evil.example',
    'localhost@evil.example',
    'evil.example/localhost',
    'lócalhost',
    '',
    ':8000',
]


@pytest.mark.parametrize('host', ['127.0.0.1', '127.0.0.2', 'localhost', '::1'])
def test_at_a_loopback_address_only_loopback_names_are_answered_to(host):
    names = HostNames(host)
    assert [one for one in OWN if names.refusal([one])] == []
    assert [one for one in OTHERS if not names.refusal([one])] == []
    refusal = names.refusal(['Evil.example:8000'])
    assert (refusal.status, refusal.code) == (421, 'unknown_host')
    assert "the host 'Evil.example:8000'" in refusal.message
    assert '--host-name' in refusal.message


@pytest.mark.parametrize('host', ['0.0.0.0', '::', '192.168.1.5', 'machine.example'])
def test_elsewhere_all_names_are_answered_to_until_some_are_given(host):
    assert [one for one in OWN + OTHERS if HostNames(host).refusal([one])] == []
    assert HostNames(host).refusal([]) is None
    given = HostNames(host, ['demo.example'])
    assert [one for one in OWN if given.refusal([one])] == []
    assert [one for one in OTHERS if not given.refusal([one])] == []
    assert given.refusal(['demo.example:443']) is None


def test_given_names_are_answered_to_as_clients_write_them():
    names = HostNames('127.0.0.1', ['Demo.Example', '192.168.1.5', '[FE80::0:5]'])
    for host in ('demo.example', 'DEMO.example:443', 'demo.example.', '192.168.1.5:80', '[fe80::5]:80', 'localhost'):
        assert names.refusal([host]) is None, host
    for host in ('www.demo.example', 'example', 'demo_example', '192.168.1.50'):
        assert names.refusal([host]).status == 421, host
    names.add('later.example')
    assert names.refusal(['later.example']) is None


@pytest.mark.parametrize('headers', [[], ['localhost', 'evil.example'], ['localhost', 'localhost']])
def test_a_request_has_one_host(headers):
    refusal = HostNames('127.0.0.1').refusal(headers)
    assert (refusal.status, refusal.code) == (400, 'invalid_host')
    assert f'not {len(headers)}' in refusal.message


@pytest.mark.parametrize(
    'name', ['', 'http://demo.example', 'demo.example:80', 'demo.example/', '*', '*.example', 'a b']
)
def test_what_is_no_name_of_a_host_is_not_taken(name):
    with pytest.raises(InputError, match='no host'):
        HostNames('127.0.0.1', [name])


def test_who_listens_at_a_loopback_address():
    assert all(map(is_loopback, ['127.0.0.1', '127.1.2.3', '::1', '[::1]', 'localhost', 'LOCALHOST']))
    assert not any(map(is_loopback, ['0.0.0.0', '::', '10.0.0.1', 'machine', '']))


def test_the_api_refuses_a_rebound_name_before_anything_else():
    with running_server(api_key='secret', host_names=HostNames('127.0.0.1', ['demo.example'])) as server:
        key = {'Authorization': 'Bearer secret'}
        for path in ('/health', '/v1/models', '/metrics', '/v1/nothing'):
            reply = httpx.get(f'{server.url}{path}', headers={'Host': 'evil.example', **key})
            error = reply.json()['error']
            assert (reply.status_code, error['type'], error['code']) == (421, 'invalid_request_error', 'unknown_host')
        assert httpx.post(f'{server.url}/v1/ground', json={}, headers={'Host': 'evil.example'}).status_code == 421
        for host in ('demo.example', f'localhost:{httpx.URL(server.url).port}', '[::1]:80'):
            assert httpx.get(f'{server.url}/v1/models', headers={'Host': host, **key}).status_code == 200
            assert httpx.get(f'{server.url}/v1/models', headers={'Host': host}).status_code == 401
        with socket.create_connection(('127.0.0.1', httpx.URL(server.url).port), timeout=10) as old:
            old.sendall(b'GET /health HTTP/1.0\r\n\r\n')  # which need not name a host
            assert old.recv(1000).startswith(b'HTTP/1.1 400')
        counted = httpx.get(f'{server.url}/metrics', headers=key).text
        assert 'geochat_requests_total{path="/health",status="421"} 1.0' in counted
