"""Questions of the page's users, answered by the worker; what is new of a session is told by yielding."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TypeVar

from PIL import Image

from geochat.apis import History, InputError, Interpreter, PictureSettings, read_picture
from geochat.apis.interpreter import Query
from geochat.generation import GenerationSettings, Request, Written
from geochat.serving.demo.sessions import Session, Writing, stopped
from geochat.serving.demo.tasks import TASKS
from geochat.serving.errors import APIError
from geochat.serving.limits import Limits
from geochat.serving.worker import Job, Worker

PREPARING_THREADS = 2
"""Pictures that are decoded or drawn at the same time: few, since each may take hundreds of megabytes."""

Done = TypeVar('Done')


class Talk:
    """Answers the users of the page.

    Args:
        worker: Writes the answers.
        limits: How much is taken.
        pictures: What pictures are taken, and how.
    """

    def __init__(self, worker: Worker, limits: Limits, pictures: PictureSettings):
        self.worker, self.limits, self.pictures = worker, limits, pictures
        self.threads = ThreadPoolExecutor(PREPARING_THREADS, thread_name_prefix='geochat-preparing')

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown()

    async def in_thread(self, work: Callable[[], Done]) -> Done:
        """Do what takes the processor for a while without holding up the others."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def read(self, file: bytes, name: str) -> Image.Image:
        """Read a user's picture.

        Args:
            file: The content of its file.
            name: What messages call it.

        Raises:
            geochat.apis.PictureError: If it is none that can be taken.
        """
        return await self.in_thread(lambda: read_picture(file, self.pictures, name))

    def ask(self, session: Session, question: Query, task: str, settings: GenerationSettings) -> AsyncGenerator:
        """Ask; yields when there is something new to show."""
        return self._answer(session, question, task, settings, again=False)

    def ask_again(self, session: Session, settings: GenerationSettings) -> AsyncGenerator:
        """Ask the last question again; the new answer takes the place of the last one once it is there.

        Raises:
            APIError: If there is no question yet (400).
        """
        if session.asked is None:
            raise APIError(400, 'there is no question yet', 'nothing_asked')
        return self._answer(session, *session.asked, settings, again=session.answered)

    async def _answer(
        self, session: Session, question: Query, task: str, settings: GenerationSettings, again: bool
    ) -> AsyncGenerator:
        if session.writing is not None:
            session.notice = 'An answer is being written: wait for it, or stop it.'
            return
        session.notice = ''
        if session.picture is None:
            session.notice = 'Open a picture first, or take one of the examples.'
            return
        writing = session.writing = Writing(again=again)
        session.asked, session.answered = (question, task), again
        try:
            async with aclosing(self._write(session, writing, question, task, settings)) as news:
                async for _ in news:
                    yield
        except (APIError, InputError) as error:
            if not writing.stopped:  # else the user, who stopped it, has been told
                session.notice = sentence(str(error)) + (' Try again in a moment.' if _is_passing(error) else '')
        finally:
            if session.writing is writing:
                session.writing = None

    async def _write(
        self, session: Session, writing: Writing, question: Query, task: str, settings: GenerationSettings
    ) -> AsyncGenerator:
        deadline = time.monotonic() + self.limits.answer_seconds
        with self.worker.places(1) as places:
            history = writing.history = self._history(session, writing.again)
            yield
            writing.prepared = await self.in_thread(lambda: history.prepare(question, task, settings))
            if writing.stopped:
                raise stopped()
            request = Request.of_sample(writing.prepared.sample, settings)
            writing.job = job = Job([request], streamed=True)
            self.worker.submit(job, places)
        try:
            await job.accepted
            yield
            while (result := (event := await job.next(deadline)).result) is None:
                writing.text += event.text
                yield
        finally:
            self.worker.cancel(job)
        if writing.stopped:
            raise stopped()
        history.remember(writing.prepared, Written.of(result, self.worker.served.processor.tokenizer))
        session.remember(history)
        session.answered = True

    def _history(self, session: Session, again: bool) -> History:
        """Return what was said before a question, apart from what is remembered: the question may be given up."""
        served = self.worker.ready()
        history = History(Interpreter(served, served.processor, pictures=self.pictures), [session.picture])
        said = session.history.predictions if session.history else []
        history.predictions = said[:-1] if again else said
        return history


def _is_passing(error: Exception) -> bool:
    """Tell whether an error is one of a server that is busy, or not there yet."""
    return isinstance(error, APIError) and error.status in (429, 503)


def drawn_anew(task: str, temperature: float, top_p: float, max_tokens: int) -> GenerationSettings:
    """Return how an answer is to be written, with random numbers of its own.

    Args:
        task: The task; one whose answers are boxes has them well formed.
        temperature: See :class:`~geochat.generation.GenerationSettings`, also for the next.
        top_p: Share of the likeliest tokens.
        max_tokens: Most tokens.
    """
    return GenerationSettings(max_tokens, temperature, top_p, secrets.randbits(63), box_grammar=TASKS[task].has_boxes)


def sentence(text: str) -> str:
    """Return a message as a sentence."""
    return text[:1].upper() + text[1:] + ('' if text.endswith(('.', '!', '?')) else '.')
