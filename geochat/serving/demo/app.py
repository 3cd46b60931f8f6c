"""The demo's application: the page made by Gradio, pictures and answers beside it, and the gate before both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import gradio
from fastapi import FastAPI

from geochat.apis import PictureSettings
from geochat.serving.demo.files import Files
from geochat.serving.demo.gate import Gate
from geochat.serving.demo.page import CSS, build_page, theme
from geochat.serving.demo.sessions import Sessions
from geochat.serving.demo.talk import Talk
from geochat.serving.errors import APIError, error_response
from geochat.serving.hosts import HostCheck, HostNames
from geochat.serving.limits import Limits
from geochat.serving.worker import Worker

IDLE_SECONDS = 1800
"""After how long without a question a page makes room for another one, if there are as many as may be."""

LOST_SECONDS = 60
"""The same of a page that no browser holds open."""


class DemoApp:
    """The application.

    Args:
        worker: Loads the model and writes the answers; the application starts and closes it.
        limits: How much is taken.
        pictures: What pictures are taken, and how.
        max_users: Most pages that may be open at a time.
        host_names: The names that are answered to.

    Attributes:
        asgi: What a server runs.
    """

    def __init__(
        self, worker: Worker, limits: Limits, pictures: PictureSettings, max_users: int, host_names: HostNames
    ):
        self.worker, self.host_names = worker, host_names
        self.talk = Talk(worker, limits, pictures)
        self.sessions = Sessions(max_users, IDLE_SECONDS, LOST_SECONDS)
        self.page = build_page(self.talk, self.sessions)
        app = FastAPI(title='GeoChat', lifespan=self._lifespan, docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(Files(self.sessions, self.talk).router)
        app.add_exception_handler(APIError, error_response)
        gradio.mount_gradio_app(
            app,
            self.page,
            '/',
            footer_links=[],
            run_history=False,
            show_error=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=theme(),
            css=CSS,
        )
        self._gradio = app.routes[-1].app  # what was mounted last
        self.asgi = HostCheck(Gate(app, self.sessions, int(limits.max_body_mb * 2**20)), host_names)

    def end(self) -> None:
        """Give up what is being written and let all open pages go, so that the server need not wait for them."""
        self.sessions.close_all()
        self.page.is_running = False
        self.page._queue.close()
        self._gradio.stop_event.set()

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self.worker.start()
        yield
        self.worker.close()
        self.talk.close()
