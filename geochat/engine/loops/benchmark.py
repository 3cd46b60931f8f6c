"""The test loop: a model is asked the questions of benchmarks, its answers are scored and written down."""

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.runner import BaseLoop
from PIL import Image
from torch.utils.data import DataLoader

from geochat.datasets.collate import collate_samples
from geochat.engine.benchmark import (
    COMPARISONS,
    Benchmark,
    Scores,
    build_benchmarks,
    compare,
    score_table,
    write_metrics,
    write_predictions,
)
from geochat.engine.config import ConfigError
from geochat.engine.loops.step import bare_model
from geochat.generation import generate
from geochat.registry import LOOPS, TRANSFORMS
from geochat.structures import IMAGE_PLACEHOLDER, Answer, Message, Question
from geochat.visualization import draw_comparison

SECONDS_BETWEEN_LINES = 5


@LOOPS.register_module()
class BenchmarkLoop(BaseLoop):
    """Ask a model all questions of some benchmarks, score the answers, and write them into the work directory.

    ``predictions.jsonl`` has every answer, ``metrics.json`` the scores, ``pictures/`` the first answers with boxes.
    The files are written anew after each benchmark, so that one that fails later takes nothing away.

    Args:
        runner: MMEngine's runner; it fills this in.
        dataloader: MMEngine's runner hands over ``test_dataloader``, which is not used: benchmarks have readers.
        evaluator: MMEngine's runner hands over ``test_evaluator``, which is not used: benchmarks have metrics.
        benchmarks: Settings of the benchmarks by name; linking fills this and the next three in.
        task_prompts: Settings of the task prompt templates by task.
        box_codec: Settings of the box codec.
        processor: Settings of the sample processor.
        names: Which benchmarks to run; None runs all.
        comparisons: What the scores are compared with, of :data:`~geochat.engine.benchmark.COMPARISONS`.
        batch_size: Questions that are answered together.
        num_workers: Processes that prepare questions ahead; 0 prepares them in this one.
        num_pictures: Pictures that are drawn for each benchmark whose answers have boxes.

    Raises:
        ConfigError: If a comparison or a benchmark is unknown.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        evaluator: Any,
        benchmarks: Mapping[str, Mapping[str, Any]],
        task_prompts: Mapping[str, Mapping[str, Any]],
        box_codec: Mapping[str, Any],
        processor: Mapping[str, Any],
        names: Sequence[str] | None = None,
        comparisons: Sequence[str] = (),
        batch_size: int = 8,
        num_workers: int = 0,
        num_pictures: int = 8,
    ):
        super().__init__(runner, [])
        for name in comparisons:
            if name not in COMPARISONS:
                raise ConfigError(f'test_cfg.comparisons: {name!r} is none of {", ".join(COMPARISONS)}')
        self.benchmarks = build_benchmarks(benchmarks, task_prompts, box_codec, names)
        self.processor = TRANSFORMS.build(dict(processor))
        self.comparisons = comparisons
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.num_pictures = num_pictures

    @torch.no_grad()
    def run(self) -> Scores:
        """Run the benchmarks.

        Returns:
            Scores named ``BENCHMARK/METRIC``.
        """
        runner = self.runner
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        runner.model.eval()
        answers, results = {}, {}
        for benchmark in self.benchmarks:
            answers[benchmark.name] = self.ask(benchmark)
            results[benchmark.name] = self._score(benchmark, answers[benchmark.name])
            if is_main_process():
                self._write(answers, results)
        scores = {
            f'{benchmark}/{metric}': value
            for benchmark, result in results.items()
            for metric, value in result['score'].items()
        }
        runner.call_hook('after_test_epoch', metrics=scores)
        runner.call_hook('after_test')
        runner.logger.info(f'Scores, written to {runner.work_dir}:\n{score_table(self.benchmarks, results)}')
        return scores

    def ask(self, benchmark: Benchmark, show_grey: bool = False) -> list[Answer]:
        """Let the model answer a benchmark's questions.

        Args:
            benchmark: The benchmark.
            show_grey: True shows grey pictures of the same size instead of the questions' own.

        Returns:
            All answers, in the order of the questions, on every rank.
        """
        prompts = Prompts(benchmark, self.processor, show_grey)
        title = f'{benchmark.name}, grey pictures' if show_grey else benchmark.name
        mine = dict(self._answers(benchmark, prompts, title))
        texts = {index: text for part in all_gather_object(mine) for index, text in part.items()}
        return [
            benchmark.answer(question, prompts.texts[index], texts[index], prompts.image_sizes[index])
            for index, question in enumerate(benchmark.reader)
        ]

    def _answers(self, benchmark: Benchmark, prompts: 'Prompts', title: str) -> Iterator[tuple[int, str]]:
        """Yield the number of each of this rank's questions and the model's words."""
        # Questions of like length are answered together, so that little is padding.
        keys = [(len(text), q.images) for text, q in zip(prompts.texts, prompts.questions, strict=True)]
        mine = sorted(range(len(prompts)), key=keys.__getitem__)[get_rank() :: get_world_size()]
        batches = [mine[start : start + self.batch_size] for start in range(0, len(mine), self.batch_size)]
        loader = DataLoader(prompts, batch_sampler=batches, num_workers=self.num_workers, collate_fn=_collate)
        model = bare_model(self.runner.model)
        progress = _Progress(self.runner.logger, title, len(mine))
        for indices, batch in zip(batches, loader, strict=True):
            batch = model.data_preprocessor(batch, False)
            for index, (ids, _) in zip(indices, generate(model, batch, benchmark.max_new_tokens), strict=True):
                yield index, self.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
            progress.advance(len(indices))

    def _score(self, benchmark: Benchmark, answers: Sequence[Answer]) -> dict[str, Scores]:
        results = {'score': benchmark.score(answers), **compare(benchmark, answers, self.comparisons)}
        if 'grey' in self.comparisons:
            results['grey'] = benchmark.score(self.ask(benchmark, show_grey=True))
        return results

    def _write(self, answers: Mapping[str, Sequence[Answer]], results: Mapping[str, Mapping[str, Scores]]) -> None:
        folder = Path(self.runner.work_dir)
        done = [benchmark for benchmark in self.benchmarks if benchmark.name in results]
        write_predictions(answers, folder / 'predictions.jsonl')
        write_metrics(results, done, folder / 'metrics.json', source=str(self.runner.cfg.get('load_from') or folder))
        draw_answers(done[-1], answers[done[-1].name][: self.num_pictures], folder / 'pictures')


class Prompts(torch.utils.data.Dataset):
    """The questions of a benchmark as the model takes them.

    Args:
        benchmark: The benchmark.
        processor: The sample processor.
        show_grey: True gives grey pictures of the same size instead of the questions' own.

    Attributes:
        questions: The questions.
        image_sizes: Width and height in pixels of each question's (first) picture; None without a picture.
        texts: Each question in the user's words, without image placeholders.
    """

    def __init__(self, benchmark: Benchmark, processor: Any, show_grey: bool = False):
        self.source = benchmark.reader.image_source
        self.processor = processor
        self.show_grey = show_grey
        self.questions: list[Question] = list(benchmark.reader)
        self.image_sizes = [
            image_size(self.source, question.images[0]) if question.images else None for question in self.questions
        ]
        self.texts = [
            benchmark.prompt(question, size) for question, size in zip(self.questions, self.image_sizes, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Prepare a question; see :meth:`~geochat.datasets.SampleProcessor.prompt_sample`."""
        names = self.questions[index].images
        images = [self._picture(name) for name in names]
        text = f'{IMAGE_PLACEHOLDER}\n' * len(names) + self.texts[index]
        return self.processor.prompt_sample([Message('user', text)], images)

    def _picture(self, name: str) -> Image.Image:
        if self.show_grey:
            return Image.new('RGB', image_size(self.source, name), (128, 128, 128))
        return self.source.load(name)


def image_size(source: Any, name: str) -> tuple[int, int]:
    """Return a picture's width and height in pixels, without reading all of it where its source can do so."""
    return source.image_size(name) if hasattr(source, 'image_size') else source.load(name).size


def _collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    return collate_samples(samples, padding='left')


class _Progress:
    """Lines that say how far a benchmark is and how long it still takes."""

    def __init__(self, logger: Any, title: str, total: int):
        self.logger, self.title, self.total, self.done = logger, title, total, 0
        self.start = self.last_line = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last_line < SECONDS_BETWEEN_LINES and self.done < self.total:
            return
        self.last_line = now
        left = datetime.timedelta(seconds=int((now - self.start) / self.done * (self.total - self.done)))
        rate = self.done / max(now - self.start, 1e-9)
        self.logger.info(f'{self.title}: {self.done}/{self.total} questions | {left} left | {rate:.1f} answers/s')


def draw_answers(benchmark: Benchmark, answers: Sequence[Answer], folder: Path) -> None:
    """Draw predicted and true boxes on the questions' pictures; answers without boxes are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, answer in enumerate(answers):
        if answer.parsed.boxes is None or not answer.question.images:
            continue
        image = benchmark.reader.image_source.load(answer.question.images[0])
        truth = answer.question.truth.get('boxes', ())
        caption = [f'Question: {answer.prompt}', f'Answer: {answer.text}']
        picture = draw_comparison(image, answer.parsed.boxes, truth, box_labels(answer), caption)
        picture.save(folder / f'{benchmark.name}_{number:03d}.png')


def box_labels(answer: Answer) -> list[str]:
    """Return the phrase that each box of an answer belongs to; empty for a box without one."""
    labels = [''] * len(answer.parsed.boxes)
    for phrase in answer.parsed.grounded.phrases if answer.parsed.grounded else ():
        for index in phrase.box_indices:
            labels[index] = phrase.text
    return labels
