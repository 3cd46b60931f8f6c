"""Ending a training early without loss: a signal is remembered until the step is done."""

import os
import signal
import threading
from types import FrameType, TracebackType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TrainingInterrupted(Exception):  # noqa: N818 (it is no error, like KeyboardInterrupt)
    """A signal ended the training at the end of a step.

    Args:
        message: What was saved and how to go on.
        signal_number: The signal.
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a program that ends for this reason returns: 128 and the signal's number, as shells have it."""
        return 128 + self.signal_number


class StopSignals:
    """Remembers SIGTERM and Ctrl-C while it is entered; a second one ends the program at once.

    Outside the main thread, where Python allows no handlers, it remembers nothing; a signal that the program was told
    to ignore (``nohup``) stays ignored.

    Attributes:
        received: Number of the signal; 0 if there was none.
    """

    def __init__(self):
        self.received = 0
        self._previous = {}
        self._process = 0

    def __enter__(self) -> 'StopSignals':
        self.received = 0
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._previous = {number: signal.signal(number, self._remember) for number in heeded}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        if os.getpid() != self._process:  # forked meanwhile, such as a data worker, and to end as if nobody listened
            os.kill(os.getpid(), number)
            return
        self.received = number
        # Not by the logger: it may be in the middle of a line of its own.
        name = signal.Signals(number).name
        os.write(2, f'\n{name}: saving at the end of this step; once more ends the program at once\n'.encode())
