"""Which names a server answers to: a page of the web that leads its own name to this machine cannot ask it.

Browsers let a page ask the host that it is from, whatever address that name leads to by now (DNS rebinding). That it is
not this server which was meant is told by the request's Host header alone.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from geochat.apis import InputError
from geochat.serving.errors import APIError

HOST_HEADER = re.compile(r'(\[[^\]]*\]|[^:]*)(?::\d*)?')
"""A name or address with or without a port; an address of IPv6 stands in brackets."""

HOST_NAME = re.compile(r'[a-z0-9_-]+(?:\.[a-z0-9_-]+)*')


class HostNames:
    """The names that a server answers to.

    Args:
        host: Address that it listens at. At a loopback address it answers to loopback names alone; at another one to
            all, unless names are given.
        names: Names that it answers to besides, without port.

    Raises:
        InputError: If one of the names cannot be a host's.
    """

    def __init__(self, host: str, names: Sequence[str] = ()):
        self._names = {_checked(name) for name in names}
        self._answers_all = not names and not is_loopback(host)

    def add(self, name: str) -> None:
        """Answer to another name as well."""
        self._names.add(_checked(name))

    def refusal(self, headers: Sequence[str]) -> APIError | None:
        """Return why a request is refused, None if it is not.

        Args:
            headers: Its Host headers; a good request has one.
        """
        if self._answers_all:
            return None
        if len(headers) != 1:
            return APIError(400, f'a request has one Host header, not {len(headers)}', 'invalid_host')
        found = HOST_HEADER.fullmatch(headers[0].strip())
        name = _plain(found[1]) if found else ''
        if name in self._names or is_loopback(name):
            return None
        message = f'this server does not answer to the host {headers[0]!r}; its option --host-name gives it more names'
        return APIError(421, message, 'unknown_host')


class HostCheck:
    """ASGI middleware that refuses requests for other hosts before the application looks at them.

    Args:
        app: What the others are passed on to.
        names: The names that are answered to.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], names: HostNames):
        self.app, self.names = app, names

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        refusal = None
        if scope['type'] != 'lifespan':
            hosts = [value.decode('latin-1') for name, value in scope['headers'] if name == b'host']
            refusal = self.names.refusal(hosts)
        answer = self.app if refusal is None else refusal.response
        await answer(scope, receive, send)


def is_loopback(name: str) -> bool:
    """Tell whether a name or address is this machine's own for itself: ``localhost``, ``127.0.0.1``, ``::1``."""
    address = _address(name)
    return address.is_loopback if address else _plain(name) == 'localhost'


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, that of IPv6 with or without brackets; None if it is none."""
    try:
        return ipaddress.ip_address(name.removeprefix('[').removesuffix(']'))
    except ValueError:
        return None


def _plain(name: str) -> str:
    """Write a name or address as it is compared: in small letters, without brackets and the dot that may end a name."""
    return str(_address(name) or name.lower().removesuffix('.'))


def _checked(name: str) -> str:
    plain = _plain(name)
    if _address(name) or HOST_NAME.fullmatch(plain):
        return plain
    raise InputError(f"{name!r} is no host's name: one is such as 'demo.example.org', without http://, port and path")
