"""What the benchmarks share: processes of their own, turns, timed programs, and the machine."""

import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine(threads: int = 0) -> dict[str, Any]:
    """Describe what figures were measured on; torch is imported.

    Args:
        threads: PyTorch's threads for one operator; 0 is PyTorch's choice.
    """
    import torch

    model = Path('/proc/cpuinfo').read_text(encoding='utf-8').partition('model name')[2].partition(':')[2]
    return {
        'processor': f'{model.splitlines()[0].strip()} ({platform.machine()})' if model else platform.machine(),
        'cores': os.cpu_count(),
        'threads': threads or torch.get_num_threads(),
        'gpu': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'python': platform.python_version(),
        **{name: version(name) for name in ('torch', 'transformers', 'peft')},
    }


def synchronize() -> None:
    """Wait until the GPU, where there is one, has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fresh process and return its result.

    Raises:
        SystemExit: If it fails; its own error has been printed.
    """
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit(f'{function.__name__} failed') from None
    finally:
        process.join()


def _send_result(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _fork_workers()
    sender.send(function(*arguments))
    sender.close()


def _fork_workers() -> None:
    """Let data workers be forked, as ``env_cfg.mp_cfg`` has it in a training and as they are on any Linux."""
    multiprocessing.set_start_method('fork', force=True)


def run_python(arguments: list[str], folder: Path | None = None, **variables: str) -> dict[str, float]:
    """Run Python and wait for its end.

    Args:
        arguments: Its arguments.
        folder: Where it runs; None runs it here.
        variables: Further environment variables.

    Returns:
        Wall and processor time in seconds (``wall_s``, ``processor_s``) and peak memory in 2**20 bytes (``peak_mb``).

    Raises:
        SystemExit: If it fails.
    """
    # From a fresh process: to Linux the peak of a program is at least what the process that starts it has.
    return in_own_process(_run_python, arguments, folder, {**os.environ, **variables})


def _run_python(arguments: list[str], folder: Path | None, environment: dict[str, str]) -> dict[str, float]:
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f'python {" ".join(arguments)} failed with exit code {process.returncode}')
    return {'wall_s': seconds, 'processor_s': usage.ru_utime + usage.ru_stime, 'peak_mb': usage.ru_maxrss / 1024}


class Gate:
    """The end of the pipe of a process that works in turn: it waits for its turn, and tells what it did in it."""

    def __init__(self, pipe: Any):
        self.pipe = pipe
        self.clock = _clock()

    def opens(self) -> bool:
        """Wait for the next turn; False means that there is none."""
        go_on = self.pipe.recv()
        self.clock = _clock()
        return go_on

    def done(self, **figures: Any) -> None:
        """Tell what was done since the gate opened."""
        synchronize()
        seconds, processor = (now - before for now, before in zip(_clock(), self.clock, strict=True))
        self.pipe.send({'seconds': seconds, 'processor_s': processor, 'peak_mb': _peak_mb(), **figures})


def _clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _peak_mb() -> float:
    """Most memory so far: of the GPU where there is one, else what this process had resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


class Side:
    """One side of a comparison in a process of its own, which works whenever it is told to.

    Args:
        work: Called there with ``job`` and a :class:`Gate`: builds what it needs, says :meth:`Gate.done`, and takes a
            turn each time the gate opens.
        job: What it does; ``job.threads`` are PyTorch's threads for one operator, 0 its choice.
    """

    def __init__(self, work: Callable[[Any, Gate], None], job: Any):
        context = multiprocessing.get_context('spawn')
        self.name, self.job = work.__name__, job
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(work, job, theirs))
        self.process.start()
        theirs.close()
        self.receive()  # it is built

    def receive(self) -> dict[str, Any]:
        """Return what it did."""
        try:
            return self.pipe.recv()
        except EOFError:
            raise SystemExit(f'{self.name} failed') from None

    def turn(self) -> dict[str, Any]:
        """Let it take a turn."""
        self.pipe.send(True)
        return self.receive()

    def finish(self) -> None:
        """Let it end."""
        self.pipe.send(False)
        self.process.join()
        if self.process.exitcode:
            raise SystemExit(f'{self.name} failed at its end')


def _work(work: Callable[[Any, Gate], None], job: Any, pipe: Any) -> None:
    _fork_workers()
    set_threads(job.threads)
    work(job, Gate(pipe))


def set_threads(threads: int) -> None:
    """Set PyTorch's threads for one operator; 0 leaves its choice."""
    import torch

    if threads:
        torch.set_num_threads(threads)
