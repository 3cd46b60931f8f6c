"""Random numbers that do not depend on who draws them: each sample has its own, and the training's can be kept."""

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the state of this process's generators: Python's, NumPy's, PyTorch's on the CPU and on its GPU."""
    state = _cpu_state()
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def _cpu_state() -> dict[str, Any]:
    return {'python': random.getstate(), 'numpy': np.random.get_state(), 'cpu': torch.get_rng_state()}


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators of this process back to what :func:`random_state` returned."""
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    torch.set_rng_state(state['cpu'])
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


@contextlib.contextmanager
def undisturbed_randomness(with_gpu: bool) -> Iterator[None]:
    """Let a block draw what it likes; afterwards the generators are as before.

    Args:
        with_gpu: False leaves out the GPU's generator, whose state takes a wait for the GPU.
    """
    state = random_state() if with_gpu else _cpu_state()
    try:
        yield
    finally:
        set_random_state(state)


def seed_cpu_generators(*seeds: int) -> None:
    """Seed the generators on the CPU by several numbers that are 0 or above; those of GPUs are left alone."""
    first, second = (int(word) for word in np.random.SeedSequence(seeds).generate_state(2))
    random.seed(first)
    np.random.seed(second)
    torch.default_generator.manual_seed(first << 32 | second)
