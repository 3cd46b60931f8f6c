"""A server in a thread of the tests' own process."""

import threading
import time
from collections.abc import Callable

import uvicorn


class ServerThread:
    """A server that runs until it is stopped.

    Args:
        server: The server.
    """

    def __init__(self, server: uvicorn.Server):
        self.server = server
        self.thread = threading.Thread(target=server.run)
        self.thread.start()
        self.wait_for(lambda: server.started)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, 'it never came'
            time.sleep(0.01)

    def stop(self) -> None:
        """End it as a signal does."""
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()
