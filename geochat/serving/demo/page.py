"""The page: its parts, and what they do."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from geochat.apis import InputError
from geochat.serving.demo.examples import draw_example, examples
from geochat.serving.demo.gate import owner_of
from geochat.serving.demo.sessions import Session, Sessions, stopped
from geochat.serving.demo.shown import shown
from geochat.serving.demo.talk import Talk, drawn_anew, sentence
from geochat.serving.demo.tasks import TASKS, query_of
from geochat.serving.demo.views import dialogue_html, viewer_state
from geochat.serving.errors import APIError
from geochat.serving.worker import State


def _static(name: str) -> str:
    return (Path(__file__).parent / 'static' / name).read_text(encoding='utf-8')


CSS = _static('page.css')

LOADING_SECONDS = 0.5
"""How often it is looked whether the model is there."""

DEFAULT_TOKENS = 256

Updates = list[Any]
"""What each output of a function is to show."""


def theme() -> gr.themes.ThemeClass:
    """Return a calm theme with the fonts of the user's system: none is loaded."""
    fonts = {'font': ('system-ui', 'sans-serif'), 'font_mono': ('ui-monospace', 'monospace')}
    return gr.themes.Default(primary_hue='teal', neutral_hue='slate', spacing_size='md', radius_size='md', **fonts)


def build_page(talk: Talk, sessions: Sessions) -> gr.Blocks:
    """Make the page.

    Args:
        talk: Answers questions.
        sessions: All open pages.
    """
    page = gr.Blocks(title='GeoChat', analytics_enabled=False, fill_width=True)
    # After each event Gradio would work out statistics of the last 10,000, which nobody looks at.
    os.environ.setdefault('GRADIO_ANALYTICS_CACHE_FREQUENCY', str(2**62))
    # Gradio remembers what it has told of pages, closed ones too: all that was said on 10,000 of them.
    page.state_session_capacity = sessions.most
    page.max_threads = 3 * sessions.most  # each page may wait for the model, for an answer and for a button
    with page:
        Page(talk, sessions).wire(page)
    return page.queue(max_size=None, default_concurrency_limit=None, api_open=False)


class Page:
    """The parts of the page, and what they do. All functions run in the server's event loop.

    Args:
        talk: Answers questions.
        sessions: All open pages.
    """

    def __init__(self, talk: Talk, sessions: Sessions):
        self.talk, self.sessions = talk, sessions
        self.status = gr.HTML(_status('Connecting'), elem_id='gc-status')
        with gr.Row(elem_id='gc-columns'):
            with gr.Column(scale=6, min_width=320):
                self.viewer = _viewer()
            with gr.Column(scale=5, min_width=320, elem_id='gc-talk'):
                self.dialogue = gr.HTML(
                    html_template='<div role="log" aria-live="polite" aria-label="Dialogue">${value}</div>',
                    js_on_load=_static('dialogue.js'),
                    elem_id='gc-dialogue',
                )
                self.notice = gr.HTML(elem_id='gc-notice')
                self._controls()
                self._settings()
        self.outputs = [
            self.viewer,
            self.dialogue,
            self.notice,
            self.ask_button,
            self.stop_button,
            self.again_button,
            self.clear_button,
        ]

    def _controls(self) -> None:
        self.task = gr.Radio(
            [(task.title, name) for name, task in TASKS.items()], value='chat', label='Task', elem_id='gc-task'
        )
        first = TASKS['chat']
        self.words = gr.Textbox(label=first.label, placeholder=first.hint, lines=1, max_lines=6, elem_id='gc-words')
        with gr.Row(elem_id='gc-buttons'):
            self.ask_button = gr.Button('Ask', variant='primary', min_width=90, elem_id='gc-ask')
            self.stop_button = gr.Button('Stop', interactive=False, min_width=90, elem_id='gc-stop')
            self.again_button = gr.Button('Retry', interactive=False, min_width=90, elem_id='gc-again')
            self.clear_button = gr.Button('Clear', interactive=False, min_width=90, elem_id='gc-clear')

    def _settings(self) -> None:
        most = self.talk.limits.max_tokens
        with gr.Accordion('Settings', open=False, elem_id='gc-settings'):
            temperature = gr.Slider(
                0, 2, 0, step=0.05, label='Temperature', info='0 takes the likeliest words, the same each time.'
            )
            top_p = gr.Slider(
                0.05, 1, 1, step=0.05, label='Top-p', info='Above temperature 0: words are drawn from this share.'
            )
            tokens = gr.Slider(1, most, min(DEFAULT_TOKENS, most), step=1, label='Most tokens of an answer')
        self.settings = [temperature, top_p, tokens]

    def wire(self, page: gr.Blocks) -> None:
        """Say what happens when."""
        quiet = {'show_progress': 'hidden', 'api_visibility': 'private'}
        asking = {'outputs': [*self.outputs, self.words], **quiet}
        page.load(self.loaded, outputs=self.outputs, **quiet)
        page.load(self.wait_for_model, outputs=self.status, **quiet)
        page.unload(self.left)
        self.viewer.opened(self.show, outputs=self.outputs, **quiet)
        self.viewer.example(self.open_example, outputs=self.outputs, **quiet)
        self.viewer.drawn(None, js="() => 'identify'", outputs=self.task, **quiet)
        self.viewer.identify(self.identify, [self.viewer, *self.settings], **asking)
        self.dialogue.picked(self.pick, outputs=self.outputs, **quiet)
        self.task.change(self.choose_task, [self.task, self.words], self.words, **quiet)
        question = [self.viewer, self.task, self.words, *self.settings]
        gr.on([self.ask_button.click, self.words.submit], self.ask, question, **asking)
        self.again_button.click(self.ask_again, self.settings, **asking)
        self.stop_button.click(self.stop, outputs=self.outputs, **quiet)
        self.clear_button.click(self.clear, outputs=self.outputs, **quiet)

    async def loaded(self, request: gr.Request) -> Updates:
        """Open a session for a page that is loaded, and show that there is nothing yet."""
        try:
            return self._updates(self.sessions.open(request.session_hash, owner_of(request)))
        except APIError as error:
            return self._only_notice(str(error))

    async def show(self, request: gr.Request) -> Updates:
        """Show what there is of a page's session."""
        return self._changed(request, lambda session: None)

    async def wait_for_model(self) -> AsyncGenerator[str, None]:
        """Tell how far the model is, until it is there."""
        worker = self.talk.worker
        while worker.state is State.LOADING:
            yield _status('The model is being loaded. You can open a picture in the meantime.', 'loading')
            await asyncio.sleep(LOADING_SECONDS)
        if worker.state is State.READY:
            yield _status(f'Model: {worker.served.name}', 'ready')
        else:
            yield _status('The demo is shutting down.', 'loading')

    async def left(self, request: gr.Request) -> None:
        """Forget a page that was closed, and free its place in the batch."""
        if self.sessions.is_free_for(request.session_hash, owner_of(request)):
            self.sessions.close(request.session_hash)

    async def open_example(self, data: gr.EventData, request: gr.Request) -> Updates:
        """Open one of the examples."""
        number = int(data.number)
        if not 0 <= number < len(examples()):
            raise gr.Error('There is no such example.')
        try:
            session = self.sessions.of(request.session_hash, owner_of(request))
        except APIError as error:
            return self._only_notice(str(error))
        opening = next(session.openings)
        session.show(await self.talk.in_thread(lambda: draw_example(number)), opening)
        return self._updates(session)

    async def pick(self, data: gr.EventData, request: gr.Request) -> Updates:
        """Put the boxes of one of the answers on the picture."""
        number = int(data.number)
        return self._changed(request, lambda session: session.choose(number))

    async def choose_task(self, task: str, words: str) -> dict[str, Any]:
        """Fit the text field to a task."""
        chosen = TASKS[task]
        fitted = {'label': chosen.label, 'placeholder': chosen.hint, 'interactive': chosen.takes_words}
        is_default = words in {one.words for one in TASKS.values()}
        if (is_default and words != chosen.words) or not chosen.takes_words:
            fitted['value'] = chosen.words
        return gr.update(**fitted)

    async def ask(
        self,
        viewer: dict[str, Any],
        task: str,
        words: str,
        temperature: float,
        top_p: float,
        tokens: float,
        request: gr.Request,
    ) -> AsyncGenerator[Updates, None]:
        """Ask what was typed, or what is in the box that was drawn."""

        def begin(session: Session) -> AsyncGenerator:
            query = query_of(task, words, viewer.get('box'))
            return self.talk.ask(session, query, task, drawn_anew(task, temperature, top_p, tokens))

        async with aclosing(self._answering(request, begin, clears_words=not TASKS[task].words)) as news:
            async for updates in news:
                yield updates

    async def identify(
        self, viewer: dict[str, Any], temperature: float, top_p: float, tokens: float, request: gr.Request
    ) -> AsyncGenerator[Updates, None]:
        """Ask what is in the box that was drawn."""
        async with aclosing(self.ask(viewer, 'identify', '', temperature, top_p, tokens, request)) as news:
            async for updates in news:
                yield updates

    async def ask_again(
        self, temperature: float, top_p: float, tokens: float, request: gr.Request
    ) -> AsyncGenerator[Updates, None]:
        """Ask the last question once more, with other random numbers."""

        def begin(session: Session) -> AsyncGenerator:
            task = session.asked[1] if session.asked else 'chat'
            return self.talk.ask_again(session, drawn_anew(task, temperature, top_p, tokens))

        async with aclosing(self._answering(request, begin)) as news:
            async for updates in news:
                yield updates

    async def stop(self, request: gr.Request) -> Updates:
        """Give up the answer that is being written."""

        def do(session: Session) -> None:
            if session.writing is not None:
                session.stop()
                session.notice = str(stopped())

        return self._changed(request, do)

    async def clear(self, request: gr.Request) -> Updates:
        """Forget what was said; the picture stays."""
        return self._changed(request, Session.clear)

    async def _answering(
        self, request: gr.Request, begin: Callable[[Session], AsyncGenerator], clears_words: bool = False
    ) -> AsyncGenerator[Updates, None]:
        """Ask, and show the answer as it comes.

        Args:
            request: Whose page it is.
            begin: Begins to ask.
            clears_words: True empties the text field once the question is understood.
        """
        try:
            session = self.sessions.of(request.session_hash, owner_of(request))
        except APIError as error:
            yield [*self._only_notice(str(error)), gr.skip()]
            return
        try:
            async with aclosing(begin(session)) as answering:
                async for _ in answering:
                    words = gr.skip()
                    if clears_words and session.writing and session.writing.prepared:
                        words, clears_words = '', False  # once: the next question may be typed meanwhile
                    yield [*self._updates(session), words]
        except (APIError, InputError) as error:
            session.notice = sentence(str(error))
        yield [*self._updates(session), gr.skip()]

    def _changed(self, request: gr.Request, change: Callable[[Session], None]) -> Updates:
        """Change a page's session, and show what there is then."""
        try:
            session = self.sessions.of(request.session_hash, owner_of(request))
        except APIError as error:
            return self._only_notice(str(error))
        change(session)
        return self._updates(session)

    def _updates(self, session: Session) -> Updates:
        """Return what the outputs are to show."""
        show = shown(session)
        is_writing = session.writing is not None
        return [
            viewer_state(session, show),
            dialogue_html(session, show),
            _notice(session.notice),
            gr.update(interactive=not is_writing),
            gr.update(interactive=is_writing),
            gr.update(interactive=session.asked is not None and not is_writing),
            gr.update(interactive=session.asked is not None),
        ]

    def _only_notice(self, text: str) -> Updates:
        return [_notice(text) if output is self.notice else gr.skip() for output in self.outputs]


def _viewer() -> gr.HTML:
    buttons = [
        f'<button type="button" data-example="{number}" aria-label="Example: {example.title}" title="{example.title}">'
        f'<img src="{example.thumbnail}" alt=""></button>'
        for number, example in enumerate(examples())
    ]
    return gr.HTML(
        {'key': None, 'picture': None, 'files': None},
        html_template=_static('viewer.html').replace('EXAMPLES', ''.join(buttons)),
        js_on_load=_static('viewer.js'),
        apply_default_css=False,
        elem_id='gc-viewer',
    )


def _status(text: str, state: str = 'loading') -> str:
    return f'<header><h1>GeoChat</h1><p role="status" class="gc-state gc-{state}">{escape(text)}</p></header>'


def _notice(text: str) -> str:
    return f'<p role="alert">{escape(text)}</p>' if text else ''
