"""What is let through to Gradio: the paths that the page needs, and bodies of a sensible size; nothing of its files."""

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any

from starlette.requests import Request

from geochat.serving.demo.sessions import Sessions
from geochat.serving.errors import APIError

PATHS = re.compile(
    r'/|/(?:config|theme\.css|favicon\.ico)'
    r'|/(?:assets|static)/.*'
    r'|/gradio_api/(?:queue/join|queue/data|heartbeat/\w+|app_id)'
    r'|/sessions/.*'
)
"""Gradio would also read files, take uploads, fetch addresses, save sessions and more: here nobody needs that."""

HEARTBEAT = re.compile(r'/gradio_api/heartbeat/(\w+)')

COOKIE = 'geochat-demo'
"""Tells browsers apart: Gradio's names of pages are no secrets, though hard to guess.

It also comes by a link from another site: who has the page open and follows one is not to get another cookie.
"""

MAX_EVENT_BYTES = 2**16
"""Most bytes of what a button sends."""

POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'"
"""Browsers ask no other host for anything. Gradio's programs need the rest: they make others of texts."""

HEADERS = [
    (b'content-security-policy', POLICY.encode()),
    (b'referrer-policy', b'no-referrer'),
    (b'x-content-type-options', b'nosniff'),
]
"""What goes with all replies."""

SESSION_HEADERS = [(b'cache-control', b'no-store')]
"""What goes with pictures and answers: no browser or proxy keeps them."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Gate:
    """ASGI middleware before everything else.

    Args:
        app: What is let through to.
        sessions: All open pages.
        max_upload_bytes: Most bytes of a picture's file.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], sessions: Sessions, max_upload_bytes: int):
        self.app, self.sessions, self.max_upload_bytes = app, sessions, max_upload_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal.response(scope, receive, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message['type'] == 'http.response.start':
                more = SESSION_HEADERS if scope['path'].startswith('/sessions/') else []
                if scope['path'] == '/' and COOKIE not in Request(scope).cookies:
                    cookie = f'{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; SameSite=Lax'
                    more = [(b'set-cookie', cookie.encode())]
                message['headers'] = [*message['headers'], *HEADERS, *more]
            await send(message)

        page = HEARTBEAT.fullmatch(scope['path'])
        # A page's browser asks for its heartbeat, which has no end, as long as the page is open.
        with self.sessions.held(page[1]) if page else nullcontext():
            await self.app(scope, receive, send_with_headers)

    def _refusal(self, scope: MutableMapping[str, Any]) -> APIError | None:
        if scope['type'] != 'http' or not PATHS.fullmatch(scope['path']):
            return APIError(404, f'there is no {scope["path"]}', 'not_found')
        request = Request(scope)
        # Browsers say where a request comes from; others, which say nothing, do what they like anyway.
        if scope['path'] != '/' and request.headers.get('sec-fetch-site') in ('cross-site', 'same-site'):
            return APIError(403, 'the page of another site has no business here', 'other_site')
        if not self._is_own_page(request):
            return APIError(404, 'this page is open in another browser', 'session_not_found')
        if scope['method'] not in ('POST', 'PUT', 'PATCH'):
            return None
        length = dict(scope['headers']).get(b'content-length', b'')
        if not length.isdigit():
            return APIError(411, 'the length of the body is missing', 'length_required')
        most = self.max_upload_bytes if scope['path'].startswith('/sessions/') else MAX_EVENT_BYTES
        if int(length) > most:
            return APIError(413, f'the file has more than {most / 2**20:g} MB', 'body_too_large')
        return None

    def _is_own_page(self, request: Request) -> bool:
        """Tell whether a page whose events are asked for is one of the browser that asks."""
        page = HEARTBEAT.fullmatch(request.scope['path'])
        name = page[1] if page else request.query_params.get('session_hash', '')
        return self.sessions.is_free_for(name, owner_of(request))


def owner_of(request: Any) -> str:
    """Return the cookie of the browser that a request, Starlette's or Gradio's, comes from; empty if it has none."""
    return request.cookies.get(COOKIE, '')
