"""The one thread that loads the model and writes all answers; requests join and leave its batch at any time."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from geochat.apis import Assistant
from geochat.generation import AnswerInProgress, Generated, GenerationEngine, Request
from geochat.serving.errors import APIError, bad_request, time_is_over

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger('uvicorn.error')  # what the server logs stands in one place


class State(Enum):
    """What a worker does."""

    LOADING = 'loading'
    READY = 'ready'
    FAILED = 'failed'
    CLOSING = 'shutting down'


@dataclass(frozen=True)
class Event:
    """Something new of an answer.

    Attributes:
        choice: Which of the job's answers.
        text: The text that has come.
        ids: The tokens that have come.
        log_probs: Their natural log-probabilities.
        result: The whole answer, once it has ended.
    """

    choice: int
    text: str
    ids: list[int]
    log_probs: list[float]
    result: Generated | None = None


@dataclass
class Writing:
    """An answer that is being written: of which job, which of its answers, and how many tokens were told of."""

    job: 'Job'
    choice: int
    told: int = 0


class Job:
    """Requests of one client, and what it is told of their answers. Made within the event loop that is told.

    Args:
        requests: The requests, one for each answer.
        streamed: True tells each token as it comes, False each answer once it has ended.
    """

    def __init__(self, requests: Sequence[Request], streamed: bool):
        self.requests, self.streamed = requests, streamed
        self.loop = asyncio.get_running_loop()
        self.accepted = self.loop.create_future()
        self.events: asyncio.Queue[Event | APIError] = asyncio.Queue()

    def fail(self, error: APIError) -> None:
        """Tell an error, in the event loop."""
        if not self.accepted.done():
            self.accepted.set_exception(error)
        self.events.put_nowait(error)

    def accept(self) -> None:
        """Tell that the answers are going to be written, in the event loop."""
        if not self.accepted.done():
            self.accepted.set_result(None)

    async def next(self, deadline: float) -> Event:
        """Wait for something new.

        Args:
            deadline: Until when, on the clock of ``time.monotonic``.

        Raises:
            APIError: If the answers cannot be written, or nothing has come until then (504).
        """
        try:
            event = await asyncio.wait_for(self.events.get(), deadline - time.monotonic())
        except asyncio.TimeoutError:
            raise time_is_over() from None
        if isinstance(event, APIError):
            raise event
        return event

    async def results(self, deadline: float) -> list[Generated]:
        """Wait for the whole answers; see :meth:`next`."""
        results: dict[int, Generated] = {}
        while len(results) < len(self.requests):
            event = await self.next(deadline)
            if event.result:
                results[event.choice] = event.result
        return [results[choice] for choice in range(len(self.requests))]


class Places:
    """Places in a worker's queue, free again at the end of the ``with``, except those that a job has taken over."""

    def __init__(self, worker: 'Worker', count: int):
        self.worker, self.count = worker, count

    def extend(self, count: int) -> None:
        """Take more of them.

        Raises:
            APIError: If there are no more; with status 429.
        """
        self.worker.take_places(count)
        self.count += count

    def __enter__(self) -> 'Places':
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: 'TracebackType | None') -> None:
        self.worker.free_places(self.count)
        self.count = 0


class Worker:
    """Loads a model and writes answers, in a thread of its own.

    Args:
        load: Loads the model.
        batch_size: Most answers that are written at the same time.
        max_queue: Most answers that wait for a place in the batch.
        prefix_memory_mb: See :class:`~geochat.generation.GenerationEngine`.
        on_end: Called with each answer that has ended, within the thread.

    Attributes:
        state: What it does.
        served: The model, once it is loaded.
        error: Why the model could not be loaded.
        busy: Places that are taken.
    """

    def __init__(
        self,
        load: Callable[[], Assistant],
        batch_size: int,
        max_queue: int,
        prefix_memory_mb: float,
        on_end: Callable[[Generated], None] = lambda generated: None,
    ):
        self.load, self.batch_size, self.prefix_memory_mb = load, batch_size, prefix_memory_mb
        self.max_places = batch_size + max_queue
        self.on_end = on_end
        self.on_failure: Callable[[], None] = lambda: None
        self.state = State.LOADING
        self.served: Assistant | None = None
        self.error: BaseException | None = None
        self.busy = 0
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._writing: dict[AnswerInProgress, Writing] = {}
        self._told: list[tuple[Job, Callable[[], None]]] = []
        self._engine: GenerationEngine | None = None
        self._thread = threading.Thread(target=self._run, name='geochat-engine', daemon=True)

    def start(self) -> None:
        """Begin to load the model."""
        self._thread.start()

    def close(self) -> None:
        """Take nothing more, and wait until all that was taken is done."""
        was_ready = self.state is State.READY
        self.state = State.CLOSING
        self._tasks.put(lambda: None)
        if was_ready:  # loading is not waited for: the thread ends with the program
            self._thread.join()

    def ready(self) -> Assistant:
        """Return the model.

        Raises:
            APIError: If it is not there yet or any more; with status 503.
        """
        if self.state is not State.READY:
            what = 'the model is being loaded' if self.state is State.LOADING else 'the server is shutting down'
            raise APIError(503, what, 'model_loading' if self.state is State.LOADING else 'shutting_down')
        return self.served

    def places(self, count: int) -> Places:
        """Take places in the queue.

        Raises:
            APIError: If the queue is full (429) or the model is not ready (503).
        """
        self.ready()
        self.take_places(count)
        return Places(self, count)

    def take_places(self, count: int) -> None:
        """See :meth:`Places.extend`."""
        with self._lock:
            if self.busy + count > self.max_places:
                raise APIError(429, f'the queue is full: {self.busy} answers are being written or wait', 'queue_full')
            self.busy += count

    def free_places(self, count: int) -> None:
        """Give places back."""
        with self._lock:
            self.busy -= count

    def submit(self, job: Job, places: Places) -> None:
        """Let a job's answers be written. It takes over as many places, which are free when an answer has ended."""
        places.count -= len(job.requests)
        self._tasks.put(lambda: self._submit(job))

    def cancel(self, job: Job) -> None:
        """End what is still being written of a job."""
        self._tasks.put(lambda: self._cancel(job))

    @property
    def is_ready(self) -> bool:
        """True while questions are answered."""
        return self.state is State.READY

    @property
    def prefix_bytes(self) -> int:
        """Memory of the keys and values that are kept of pictures."""
        return self._engine.prefixes.num_bytes if self._engine else 0

    def _run(self) -> None:
        try:
            self.served = self.load()
            self._engine = self._new_engine()
        except BaseException as error:  # the program's main thread raises it
            self.error, self.state = error, State.FAILED
            self.on_failure()
            return
        if self.state is State.LOADING:
            self.state = State.READY
            logger.info('%s is ready', self.served.name)
        while not (self.state is State.CLOSING and self._engine.idle and self._tasks.empty()):
            self._do_tasks()
            if not self._engine.idle:
                self._step()
            self._tell()

    def _new_engine(self) -> GenerationEngine:
        return GenerationEngine(
            self.served.model,
            self.batch_size,
            prefix_memory_mb=self.prefix_memory_mb,
            box_codec=self.served.box_codec,
        )

    def _do_tasks(self) -> None:
        """Do what has come in; wait for something if there is nothing else to do."""
        if self._engine.idle:
            self._tasks.get()()
        while not self._tasks.empty():
            self._tasks.get()()

    def _submit(self, job: Job) -> None:
        answers = []
        try:
            for request in job.requests:
                answers.append(self._engine.submit(request))
        except Exception as error:
            refusal = _refusal(error)
            self._told.append((job, lambda: job.fail(refusal)))
            for answer in answers:
                self._engine.cancel(answer)
            self.free_places(len(job.requests))
            return
        self._writing.update((answer, Writing(job, choice)) for choice, answer in enumerate(answers))
        self._told.append((job, job.accept))

    def _cancel(self, job: Job) -> None:
        for answer in [answer for answer, writing in self._writing.items() if writing.job is job]:
            self._engine.cancel(answer)
            self._end(answer)

    def _step(self) -> None:
        try:
            for answer in self._engine.step():
                if answer in self._writing:
                    self._tell_of(answer, self._writing[answer])
        except Exception as error:  # memory ran out, or a defect: those that ask next shall have an answer
            logger.exception('the answers that were being written have failed')
            self._fail_all(APIError(500, f'the answer could not be written: {type(error).__name__}', 'engine_failed'))

    def _fail_all(self, error: APIError) -> None:
        for job in {id(writing.job): writing.job for writing in self._writing.values()}.values():
            self._told.append((job, lambda job=job: job.fail(error)))
        self.free_places(len(self._writing))
        self._writing.clear()
        self._engine = self._new_engine()

    def _tell_of(self, answer: AnswerInProgress, writing: Writing) -> None:
        job, start = writing.job, writing.told
        result = None if answer.finish is None else answer.result
        if job.streamed:
            event = Event(writing.choice, answer.take_text(), answer.ids[start:], answer.log_probs[start:], result)
            writing.told = len(answer.ids)
        else:
            event = Event(writing.choice, '', [], [], result)
        if job.streamed or result:
            self._told.append((job, lambda: job.events.put_nowait(event)))
        if result:
            self._end(answer)

    def _end(self, answer: AnswerInProgress) -> None:
        del self._writing[answer]
        self.free_places(1)
        self.on_end(answer.result)

    def _tell(self) -> None:
        """Tell the event loop all that is new at once."""
        told, self._told = self._told, []
        if not told:
            return
        try:
            told[0][0].loop.call_soon_threadsafe(lambda: [tell() for _, tell in told])
        except RuntimeError:  # the loop is closed: nobody listens any more
            logger.warning('%s pieces of news came after the server had ended', len(told))


def _refusal(error: Exception) -> APIError:
    if isinstance(error, ValueError):
        return bad_request(str(error), code='context_length_exceeded')
    logger.error('a request could not be taken', exc_info=error)
    return APIError(500, f'the request could not be taken: {type(error).__name__}', 'engine_failed')
