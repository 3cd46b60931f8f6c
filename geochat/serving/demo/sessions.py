"""What the demo knows of each user who has its page open; nothing of it is written to the disk."""

import itertools
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image

from geochat.apis import History, Prepared
from geochat.apis.interpreter import Query
from geochat.serving.errors import APIError
from geochat.serving.worker import Job


@dataclass
class Writing:
    """An answer on its way.

    Attributes:
        history: What was said before; it becomes the session's when the answer has ended.
        prepared: The question, once it has been put into words.
        job: What the worker was given, once it was.
        text: What has come of the answer.
        again: True if it takes the place of the last answer.
        stopped: True if it was given up.
    """

    history: History | None = None
    prepared: Prepared | None = None
    job: Job | None = None
    text: str = ''
    again: bool = False
    stopped: bool = False

    def stop(self) -> None:
        """Give the answer up; whoever waits for its words is told."""
        self.stopped = True
        if self.job is not None:
            self.job.fail(stopped())


def stopped() -> APIError:
    """Return the error of an answer that was given up."""
    return APIError(499, 'Stopped: this question and what came of its answer are not remembered.', 'stopped')


def closed() -> APIError:
    """Return the error of a page whose session was ended, though somebody still has it before them."""
    message = 'The server has closed this page, which was idle or lost its connection. Load it again.'
    return APIError(404, message, 'session_not_found')


@dataclass(eq=False)
class Session:
    """One open page of one user. All of it is used by the server's event loop alone.

    Attributes:
        owner: The cookie of the browser that it is open in; empty if it has none.
        key: What the page names its pictures by: 256 random bits, told to this page only.
        picture: What is asked about.
        openings: Gives the pictures their numbers, in the order in which the user wanted to see them.
        number: The number of the one that is asked about.
        history: What was said of it; None before the first question.
        asked: The last question and its task.
        answered: True if its answer is remembered.
        chosen: Which answer is on the picture; None for the last.
        writing: The answer that is being written.
        notice: What the user is to be told.
        version: How often the picture or the dialogue has changed; a part of addresses, so that no browser shows what
            it remembers of an earlier one.
        used: When the user last did something, on the clock of ``time.monotonic``.
    """

    owner: str = ''
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    picture: Image.Image | None = None
    openings: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    number: int = 0
    history: History | None = None
    asked: tuple[Query, str] | None = None
    answered: bool = False
    chosen: int | None = None
    writing: Writing | None = None
    notice: str = ''
    version: int = 0
    used: float = field(default_factory=time.monotonic)

    def show(self, picture: Image.Image, number: int) -> None:
        """Begin with another picture, unless it is late and a later one is there."""
        if number < self.number:
            return
        self.clear()
        self.picture, self.number = picture, number

    def clear(self) -> None:
        """Forget all that was said; the picture stays."""
        self.stop()
        self.asked, self.answered, self.notice = None, False, ''
        self.remember(None)

    def remember(self, history: History | None) -> None:
        """Take over what was said."""
        self.history, self.chosen = history, None
        self.version += 1

    def choose(self, number: int) -> None:
        """Put another answer on the picture, if there is such an answer."""
        if self.history and 0 <= number < len(self.history.predictions):
            self.chosen = number
            self.version += 1

    def stop(self) -> None:
        """Give up the answer that is being written, if there is one."""
        if self.writing is not None:
            self.writing.stop()
            self.writing = None


class Sessions:
    """All open pages.

    Args:
        most: How many there may be at a time: each may hold a picture in memory.
        idle_seconds: After how long without a question a page makes room for another one.
        lost_seconds: The same of a page that no browser holds open: of one that is closed soon after it was opened,
            the last event may come after the news that it was left.
    """

    def __init__(self, most: int, idle_seconds: float, lost_seconds: float):
        self.most, self.idle_seconds, self.lost_seconds = most, idle_seconds, lost_seconds
        self._by_page: dict[str, Session] = {}
        self._held: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_page.values())

    def open(self, page: str, owner: str = '') -> Session:
        """Return the session of a page that is loaded, a new one for a new page.

        Args:
            page: Gradio's name of the page.
            owner: The cookie of the browser that it is open in.

        Raises:
            APIError: If there are too many (429), or the page is another browser's (404).
        """
        if page not in self._by_page:
            self._make_room()
            self._by_page[page] = Session(owner)
        return self.of(page, owner)

    def of(self, page: str, owner: str = '') -> Session:
        """Return the session of a page that was opened.

        Raises:
            APIError: If the page is not open any more, or is another browser's (404).
        """
        if not self.is_free_for(page, owner):
            raise APIError(404, 'This page is open in another browser. Load it again.', 'session_not_found')
        if page not in self._by_page:
            raise closed()
        session = self._by_page[page]
        session.used = time.monotonic()
        return session

    def is_free_for(self, page: str, owner: str) -> bool:
        """Tell whether a page is this browser's, or nobody's yet."""
        return page not in self._by_page or self._by_page[page].owner == owner

    @contextmanager
    def held(self, page: str) -> Iterator[None]:
        """Know, within the ``with``, that a browser holds a page open."""
        self._held[page] += 1
        try:
            yield
        finally:
            self._held[page] -= 1
            if not self._held[page]:
                del self._held[page]

    def find(self, key: str) -> Session | None:
        """Return the session of a key."""
        return next((session for session in self if secrets.compare_digest(session.key.encode(), key.encode())), None)

    def close(self, page: str) -> None:
        """Forget a page, and end what is being written for it."""
        if session := self._by_page.pop(page, None):
            session.stop()

    def close_all(self) -> None:
        """Forget all pages."""
        for page in list(self._by_page):
            self.close(page)

    def _make_room(self) -> None:
        if len(self._by_page) < self.most:
            return
        page = max(self._by_page, key=self._overdue)
        if self._overdue(page) < 0:
            raise APIError(429, f'The demo is full: {self.most} people are using it. Try again later.', 'demo_full')
        self.close(page)

    def _overdue(self, page: str) -> float:
        """Return for how many seconds a page has been idle longer than it may be."""
        most = self.idle_seconds if page in self._held else self.lost_seconds
        return time.monotonic() - self._by_page[page].used - most
