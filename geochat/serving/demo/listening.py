"""The demo's HTTP server: tells where the page is, opens a tunnel if asked to, does not wait for open pages to end."""

import asyncio
import logging
import secrets
from urllib.parse import urlsplit

import uvicorn

from geochat.serving.demo.app import DemoApp
from geochat.serving.server import KEEP_ALIVE_SECONDS

CLOSING_SECONDS = 3
"""How long connections are waited for at the end."""

logger = logging.getLogger('uvicorn.error')  # what the server logs stands in one place


class DemoServer(uvicorn.Server):
    """A server of the demo.

    Args:
        demo: What it serves.
        host: Address to listen at.
        port: Port to listen at.
        share: True also opens a tunnel from the Internet.

    Attributes:
        error: Why there is no tunnel.
    """

    def __init__(self, demo: DemoApp, host: str, port: int, share: bool = False, log_level: str | None = None):
        # No log of requests: their addresses hold the keys of sessions.
        config = uvicorn.Config(
            demo.asgi,
            host=host,
            port=port,
            access_log=False,
            log_level=log_level,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        super().__init__(config)
        self.demo, self.share = demo, share
        self.error: BaseException | None = None

    @property
    def port(self) -> int:
        """The port that it listens at, also where any free one was asked for."""
        return self.servers[0].sockets[0].getsockname()[1]

    async def startup(self, *args, **kwargs) -> None:
        """Begin to listen, and tell where."""
        await super().startup(*args, **kwargs)
        if not self.started:
            return
        logger.info('the page is at http://%s:%d', self.config.host, self.port)
        if self.share:
            try:
                address = await asyncio.to_thread(open_tunnel, self.config.host, self.port)
                self.demo.host_names.add(urlsplit(address).hostname)  # the tunnel passes the browser's Host on
                logger.warning('whoever knows %s can use the demo', address)
            except Exception as error:  # no network, no such server, a program that cannot be fetched or run
                self.error = ConnectionError(f'there is no public address: {error}')
                self.should_exit = True

    async def shutdown(self, *args, **kwargs) -> None:
        """Give up what is being written, and end."""
        self.demo.end()
        if self.share:
            await asyncio.to_thread(close_tunnels)
        await super().shutdown(*args, **kwargs)


def open_tunnel(host: str, port: int) -> str:
    """Open a tunnel through Gradio's servers and return its public address. It fetches the program that does it."""
    from gradio import networking

    address = networking.setup_tunnel(host, port, secrets.token_urlsafe(32), None, None)
    return address.replace('http://', 'https://', 1)


def close_tunnels() -> None:
    """Close what :func:`open_tunnel` has opened."""
    from gradio import tunneling

    for tunnel in tunneling.CURRENT_TUNNELS:
        tunnel.kill()
