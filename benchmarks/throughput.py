"""How many samples a second a model learns from and answers, and where the time goes.

    python benchmarks/throughput.py --json throughput.json
    python benchmarks/throughput.py --shapes tiny --steps 50 --threads 1

The runs are those of ``tools/train.py`` and ``tools/test.py`` on the built-in scenes, with random weights; their parts
are timed from outside. ``tiny`` is ``configs/geochat_tiny.py`` as it is; ``60m`` has the same data and another shape:
60 million parameters, pictures of 224 pixels (256 image tokens), batches of 2, AdamW.
"""

import argparse
import contextlib
import json
import os
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measuring import machine, synchronize
from mmengine.hooks import Hook

from geochat.datasets.collate import count_records
from geochat.engine import build_runner

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'geochat_tiny.py'

SHAPES: dict[str, dict[str, Any]] = {
    'tiny': {},
    '60m': {
        'vision_encoder': {
            'type': 'ClipVisionEncoder',
            'config': {
                'hidden_size': 384,
                'intermediate_size': 1536,
                'num_hidden_layers': 12,
                'num_attention_heads': 6,
                'image_size': 224,
                'patch_size': 14,
                'projection_dim': 384,
            },
        },
        'llm.config.hidden_size': 512,
        'llm.config.intermediate_size': 1408,
        'llm.config.num_hidden_layers': 12,
        'llm.config.num_attention_heads': 8,
        'llm.config.num_key_value_heads': 8,
        'llm.config.max_position_embeddings': 2048,
        'train_dataloader.batch_size': 2,
        'optim_wrapper': {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16', 'optimizer': {'type': 'AdamW', 'lr': 1e-3}},
    },
}
"""Changes of the tiny config by the name of the shape."""


class Stopwatch:
    """Adds up the seconds spent in named parts of a run; parts do not overlap."""

    def __init__(self):
        self.seconds: Counter[str] = Counter()
        self.start = time.perf_counter()

    def reset(self) -> None:
        """Forget what was measured so far."""
        self.__init__()

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the time of a block as a part's."""
        synchronize()
        start = time.perf_counter()
        yield
        synchronize()
        self.seconds[part] += time.perf_counter() - start

    def wrap(self, owner: Any, method: str, part: str | Callable[..., str]) -> None:
        """Count the time of an object's method as a part's; ``part`` may be told from the arguments."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.measure(part if isinstance(part, str) else part(*args)):
                return original(*args, **kwargs)

        object.__setattr__(owner, method, timed)

    def shares(self) -> dict[str, float]:
        """Return each part's share of the time since the start, and ``rest``."""
        total = time.perf_counter() - self.start
        shares = {part: seconds / total for part, seconds in self.seconds.most_common()}
        shares['rest'] = 1 - sum(shares.values())
        return {part: round(share, 4) for part, share in shares.items()}


class TimedLoader:
    """A data loader whose waiting time is counted as ``data``."""

    def __init__(self, dataloader: Any, stopwatch: Stopwatch):
        self.dataloader = dataloader
        self.stopwatch = stopwatch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataloader, name)

    def __len__(self) -> int:
        return len(self.dataloader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.dataloader)
        while True:
            with self.stopwatch.measure('data'):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def build(shape: str, folder: Path, training: bool, options: dict[str, Any]) -> Any:
    """Build the runner of a shape, writing into a scratch folder and printing warnings only."""
    changes = {
        'default_hooks.checkpoint': None,
        'custom_hooks': [],
        'log_level': 'WARNING',
        'data_preparation.0.num_train': 1000,  # records enough for these steps
        'env_cfg.cpu_threads': torch.get_num_threads(),
        'experiment_name': f'{shape}_{training}',
        **SHAPES[shape],
        **options,
    }
    return build_runner(CONFIG, cfg_options=changes, work_dir=folder / shape, training=training)


class TrainingClock(Hook):
    """Times the parts of a training once it has warmed up, and counts what it learns from.

    Args:
        warmup: Optimizer steps that are not measured.
        steps: Optimizer steps that are.
    """

    def __init__(self, warmup: int, steps: int):
        self.warmup = warmup
        self.last = warmup + steps
        self.stopwatch = Stopwatch()
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        self.shares: dict[str, float] = {}

    def before_train(self, runner: Any) -> None:
        """Put the stopwatch around everything that the training loop calls."""
        loop, optim_wrapper = runner.train_loop, runner.optim_wrapper
        loop.dataloader = TimedLoader(loop.dataloader, self.stopwatch)
        time_model(runner.model, self.stopwatch)
        self.stopwatch.wrap(optim_wrapper, 'backward', 'backward')
        self.stopwatch.wrap(optim_wrapper, 'step', 'optimizer')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count the step; the first and the last one that are measured start and stop the stopwatch."""
        self.counts['samples'] += sum(count_records(batch) for batch in data_batch)
        self.counts['text_tokens'] += sum(int(batch['attention_mask'].sum()) for batch in data_batch)
        self.counts['supervised_tokens'] += sum(int((batch['labels'] >= 0).sum()) for batch in data_batch)
        if batch_idx + 1 == self.warmup:
            self.counts.clear()
            self.stopwatch.reset()
        if batch_idx + 1 == self.last:
            self.seconds = time.perf_counter() - self.stopwatch.start
            self.shares = self.stopwatch.shares()


def measure_training(shape: str, folder: Path, steps: int, warmup: int) -> dict[str, Any]:
    """Train for ``warmup + steps`` optimizer steps and measure the last ``steps``."""
    schedule = {'train_cfg.max_iters': warmup + steps, 'train_cfg.max_epochs': None}
    runner = build(shape, folder, True, {**schedule, 'val_dataloader': None, 'val_cfg': None})
    clock = TrainingClock(warmup, steps)
    runner.register_hook(clock, priority='LOWEST')
    model = runner.model
    runner.train()
    return {
        'parameters': sum(parameter.numel() for parameter in model.parameters()),
        'trained_parameters': sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        'batch_size': runner.cfg.train_dataloader.batch_size,
        'steps': steps,
        'seconds': round(clock.seconds, 3),
        **{f'{name}_per_s': round(count / clock.seconds, 2) for name, count in clock.counts.items()},
        'shares': clock.shares,
    }


def measure_answering(shape: str, folder: Path, questions: int, new_tokens: int) -> dict[str, Any]:
    """Let the model answer the referring questions, each with exactly ``new_tokens`` tokens."""
    options = {
        'data_preparation.0.num_test': questions,
        'benchmarks.refer.max_new_tokens': new_tokens,
        'test_cfg.names': ['refer'],
        'test_cfg.comparisons': [],
        'test_cfg.num_workers': 0,
    }
    runner = build(shape, folder, False, options)
    loop, model = runner.test_loop, runner.model
    model.eval()
    model.llm.stop_ids = ()  # random weights end an answer anywhere
    benchmark = loop.benchmarks[0]
    loop.ask(benchmark)  # warm-up
    stopwatch = Stopwatch()
    time_model(model, stopwatch)
    stopwatch.wrap(benchmark.reader.image_source, 'load', 'data')
    stopwatch.wrap(loop.processor, 'prompt_sample', 'data')
    loop.ask(benchmark)
    seconds = time.perf_counter() - stopwatch.start
    return {
        'questions': questions,
        'new_tokens': new_tokens,
        'batch_size': loop.batch_size,
        'seconds': round(seconds, 3),
        'answers_per_s': round(questions / seconds, 3),
        'new_tokens_per_s': round(questions * new_tokens / seconds, 1),
        'shares': stopwatch.shares(),
    }


def time_model(model: Any, stopwatch: Stopwatch) -> None:
    """Count the parts of a forward: vision (encoder and projector), the LLM's layers, and its head."""
    stopwatch.wrap(model, 'encode_images', 'vision')
    stopwatch.wrap(model.llm, 'hidden_states', _llm_part)
    stopwatch.wrap(model.llm, 'logits', 'llm head')


def _llm_part(embeds: Any, *_: Any) -> str:
    return 'llm, token by token' if embeds.shape[1] == 1 else 'llm'


def print_figures(shape: str, training: dict[str, Any], answering: dict[str, Any]) -> None:
    """Print the figures of a shape."""
    print(f'\n{shape}: {training["parameters"]:,} parameters, {training["trained_parameters"]:,} of them trained')
    print(f'  training   {training["samples_per_s"]:9.2f} samples/s  {_percent(training["shares"])}')
    print(
        f'  answering  {answering["answers_per_s"]:9.2f} answers/s of {answering["new_tokens"]} tokens  '
        f'{_percent(answering["shares"])}',
        flush=True,
    )


def _percent(shares: dict[str, float]) -> str:
    return ', '.join(f'{part} {share:.0%}' for part, share in shares.items())


def main() -> None:
    """Measure the shapes, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--shapes', nargs='+', choices=list(SHAPES), default=list(SHAPES), help='which models')
    parser.add_argument('--steps', type=int, default=10, help='optimizer steps that are measured')
    parser.add_argument('--warmup', type=int, default=2, help='optimizer steps before those')
    parser.add_argument('--questions', type=int, default=64, help='questions that are answered')
    parser.add_argument('--new-tokens', type=int, default=16, help='tokens of each answer')
    parser.add_argument('--threads', type=int, default=1, help="PyTorch's threads for one operator")
    parser.add_argument('--json', type=Path, help='file to write the figures to')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not torch.cuda.is_available():
        os.environ.setdefault('DS_ACCELERATOR', 'cpu')  # otherwise DeepSpeed, which transformers imports, warns
    # MMEngine looks whether the optimizer's step is still the one that it knows; the stopwatch is around it.
    warnings.filterwarnings('ignore', message='Seems like `optimizer.step')
    path = args.json.resolve() if args.json else None
    report: dict[str, Any] = {'machine': machine(args.threads), 'shapes': {}}
    with tempfile.TemporaryDirectory(prefix='geochat-throughput-') as scratch:
        os.chdir(scratch)  # the scenes' files are written there
        for shape in args.shapes:
            training = measure_training(shape, Path(scratch), args.steps, args.warmup)
            answering = measure_answering(shape, Path(scratch), args.questions, args.new_tokens)
            report['shapes'][shape] = {'training': training, 'answering': answering}
            print_figures(shape, training, answering)
        os.chdir(ROOT)
    if path:
        path.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
