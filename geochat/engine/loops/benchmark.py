"""The test loop: a model is asked the questions of benchmarks, its answers are scored and written down."""

import datetime
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, get_rank, get_world_size, is_main_process
from mmengine.runner import BaseLoop
from PIL import Image
from torch.utils.data import DataLoader

from geochat.datasets.collate import collate_samples
from geochat.datasets.processor import PreparedPicture
from geochat.datasets.transforms import image_size
from geochat.engine.benchmark import Benchmark, build_available, build_benchmarks
from geochat.engine.config import ConfigError, build_part
from geochat.engine.files import failing_together
from geochat.engine.journal import Journal, gather_rows
from geochat.engine.loops.step import bare_model
from geochat.engine.predictions import Row, answer_of_row, answer_row
from geochat.engine.results import COMPARISONS, BenchmarkResult, Problem, Scores, score_table, write_metrics
from geochat.engine.run_card import (
    Card,
    TakenOver,
    add_origins,
    card_of,
    describe_machine,
    now,
    take_over,
    write_card,
)
from geochat.generation import Backend, BackendError, EngineBackend, GenerationSettings, Written, option_log_probs
from geochat.registry import BACKENDS, LOOPS, TRANSFORMS
from geochat.structures import Answer, Message, Question, with_pictures
from geochat.visualization import draw_answer

SECONDS_BETWEEN_LINES = 5

GREY = 'predictions_grey'
"""Name of the file of answers to grey pictures."""


@LOOPS.register_module()
class BenchmarkLoop(BaseLoop):
    """Ask a model all questions of some benchmarks, score the answers, and write them into the work directory.

    ``predictions.jsonl`` has every answer, ``metrics.json`` the scores, ``run_card.json`` what they depend on, and
    ``pictures/`` the first answers with boxes. Answers are written as they come. A run in a work directory that has
    answers of the same weights to the same questions goes on from there: an interrupted run from where it ended.

    Args:
        runner: MMEngine's runner; it fills this in.
        dataloader: MMEngine's runner hands over ``test_dataloader``, which is not used: benchmarks have readers.
        evaluator: MMEngine's runner hands over ``test_evaluator``, which is not used: benchmarks have metrics.
        benchmarks: Settings of the benchmarks by name; linking fills this and the next three in.
        task_prompts: Settings of the task prompt templates by task.
        box_codec: Settings of the box codec.
        processor: Settings of the sample processor.
        names: Which benchmarks to run; None runs all whose files are there.
        comparisons: What the scores are compared with, of :data:`~geochat.engine.results.COMPARISONS`.
        batch_size: Questions that are answered together.
        num_workers: Processes that prepare questions ahead; 0 prepares them in this one.
        num_pictures: Pictures that are drawn for each benchmark whose answers have boxes.
        backend: Settings of who writes the answers instead of the runner's model; see
            :class:`~geochat.generation.Backend`.

    Raises:
        ConfigError: If a comparison or a benchmark is unknown, a number is out of its range, or a back end is to choose
            the likeliest of answers.
        FileNotFoundError: If a file of a named benchmark is not there.
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
        backend: Mapping[str, Any] | None = None,
    ):
        super().__init__(runner, [])
        for name, value, least in (
            ('batch_size', batch_size, 1),
            ('num_workers', num_workers, 0),
            ('num_pictures', num_pictures, 0),
        ):
            if not isinstance(value, int) or value < least:
                raise ConfigError(f'test_cfg.{name} is a whole number from {least}, not {value!r}')
        for name in comparisons:
            if name not in COMPARISONS:
                raise ConfigError(f'test_cfg.comparisons: {name!r} is none of {", ".join(COMPARISONS)}')
        self.missing: dict[str, str] = {}
        if names is None:
            self.benchmarks, self.missing = build_available(benchmarks, task_prompts, box_codec)
        else:
            self.benchmarks = build_benchmarks(benchmarks, task_prompts, box_codec, names)
        self._server = None
        if backend is not None:
            self._server = build_part(BACKENDS, {'batch_size': batch_size, **backend}, 'test_cfg.backend')
            _check_scoring(self.benchmarks)
        self.processor = TRANSFORMS.build(dict(processor)) if self._server is None else self._server.processor
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
        card, earlier = self._open_card()
        folder = Path(runner.work_dir)
        journals = {name: Journal(folder, name, earlier.kept) for name in self._journals}
        results = []
        for benchmark in self.benchmarks:
            result = self._test(benchmark, journals)
            with failing_together():
                if is_main_process():
                    results.append(result)
                    write_metrics(results, folder / 'metrics.json', card['weights']['source'], earlier.metrics)
        for journal in journals.values():
            journal.close()
        with failing_together():
            if is_main_process():
                write_card({**card, 'finished': now()}, folder)
        shared = [
            {f'{done.benchmark.name}/{name}': value for done in results for name, value in done.scores['score'].items()}
        ]
        broadcast_object_list(shared)
        runner.call_hook('after_test_epoch', metrics=shared[0])
        runner.call_hook('after_test')
        if is_main_process():
            runner.logger.info(f'Scores, written to {folder}:\n{score_table(results, self.missing)}')
        return shared[0]

    def _test(self, benchmark: Benchmark, journals: Mapping[str, Journal]) -> BenchmarkResult | None:
        """Ask a benchmark's questions and finish its journals; the main process scores the answers and draws some."""
        answers = self.ask(benchmark, journals['predictions'])
        seen_grey = self.ask(benchmark, journals[GREY], show_grey=True) if GREY in journals else None
        result, told = None, [None] * len(answers)
        if is_main_process():
            result = benchmark.assess(answers, self.comparisons, _unasked(benchmark, answers))
            told = result.of_answers() or told
            draw_answers(benchmark, answers[: self.num_pictures], Path(self.runner.work_dir) / 'pictures')
            if seen_grey is not None:
                result.scores['grey'] = benchmark.score(seen_grey)
        rows = [answer_row(benchmark.name, answer, scores) for answer, scores in zip(answers, told, strict=True)]
        journals['predictions'].finish(benchmark.name, rows)
        if seen_grey is not None:
            journals[GREY].finish(benchmark.name, [answer_row(benchmark.name, answer) for answer in seen_grey])
        return result

    @property
    def _journals(self) -> tuple[str, ...]:
        return ('predictions', GREY) if 'grey' in self.comparisons else ('predictions',)

    def _open_card(self) -> tuple[Card, TakenOver]:
        """Write the run's card, and tell on every rank what holds of an earlier run in the work directory."""
        runner = self.runner
        opened = [None]
        with failing_together(BackendError):
            if is_main_process():
                card = self._new_card()
                earlier = take_over(Path(runner.work_dir), card, self._journals)
                write_card(card, Path(runner.work_dir))
                opened = [(card, earlier)]
        broadcast_object_list(opened)
        if opened[0][1].message:
            runner.logger.info(opened[0][1].message)
        return opened[0]

    def _new_card(self) -> Card:
        runner = self.runner
        origin = self._backend().origin
        here = str(runner.cfg.get('load_from') or runner.work_dir)
        card = card_of(
            self.benchmarks,
            runner.cfg.to_dict(),
            weights={
                'source': here if self._server is None else ', '.join(origin.values()),
                'sha256': origin.get('weights'),
            },
            seed=runner.seed,
            batch_size=self.batch_size,
            processes=get_world_size(),
            machine=describe_machine(),
        )
        add_origins(card, origin)
        return card

    def _backend(self) -> Backend:
        """Return who writes the answers: the server, or an engine that has kept nothing of earlier questions."""
        return self._server or EngineBackend(bare_model(self.runner.model), self.processor, batch_size=self.batch_size)

    def ask(self, benchmark: Benchmark, journal: Journal, show_grey: bool = False) -> list[Answer]:
        """Let the model answer those questions of a benchmark that the journal has no answer to.

        Args:
            benchmark: The benchmark.
            journal: Where answers are written as they come.
            show_grey: True shows grey pictures of the same size instead of the questions' own.

        Returns:
            All answers, in the order of the questions, on every rank.
        """
        prompts = Prompts(benchmark, self.processor, show_grey)
        backend = self._backend()
        title = f'{benchmark.name}, grey pictures' if show_grey else benchmark.name
        known = journal.rows.get(benchmark.name, {})
        new = []
        with failing_together(BackendError):
            for rows in self._answer_batches(benchmark, backend, prompts, known, title):
                journal.add(rows)
                new += rows
        rows = {**known, **{row['id']: row for row in gather_rows(new)}}
        return [answer_of_row(benchmark, question, rows[question.id]) for question in benchmark.reader]

    def _answer_batches(
        self, benchmark: Benchmark, backend: Backend, prompts: 'Prompts', known: Mapping[str, Row], title: str
    ) -> Iterator[list[Row]]:
        """Yield the rows of each of this rank's batches that has a question without an answer."""
        batches = self._batches(prompts)
        open_batches = [batch for batch in batches if any(prompts.questions[i].id not in known for i in batch)]
        mine = open_batches[get_rank() :: get_world_size()]
        loader = DataLoader(prompts, batch_sampler=mine, num_workers=self.num_workers, collate_fn=list)
        progress = _Progress(self.runner.logger, title, sum(map(len, mine)))
        answer = self._chosen if benchmark.scoring == 'likelihood' else functools.partial(_written, backend)
        for indices, samples in zip(mine, loader, strict=True):
            asked = {
                index: sample for index, sample in zip(indices, samples, strict=True) if not isinstance(sample, str)
            }
            answers = answer(benchmark, prompts, asked) if asked else []
            failed = [
                benchmark.no_answer(prompts.questions[index], error)
                for index, error in zip(indices, samples, strict=True)
                if isinstance(error, str)
            ]
            yield [answer_row(benchmark.name, answer) for answer in (*answers, *failed)]
            progress.advance(len(indices))

    def _batches(self, prompts: 'Prompts') -> list[list[int]]:
        """Return the numbers of the questions that are answered together.

        They depend neither on how many processes there are nor on what has been answered before, so that an answer does
        not either, to the last digit.
        """
        # Questions about one picture follow each other, so that it is computed once; those of like length, so that
        # little is padding.
        keys = [(q.images, len(text)) for text, q in zip(prompts.texts, prompts.questions, strict=True)]
        order = sorted(range(len(prompts)), key=keys.__getitem__)
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def _chosen(
        self, benchmark: Benchmark, prompts: 'Prompts', samples: Mapping[int, Mapping[str, Any]]
    ) -> Iterator[Answer]:
        """Yield the likeliest of the answers that each question of a batch gives to choose from."""
        model = bare_model(self.runner.model)
        batch = model.data_preprocessor(collate_samples(list(samples.values()), padding='left'), False)
        choices = [benchmark.choices(prompts.questions[index]) for index in samples]
        for index, texts, log_probs in zip(samples, choices, option_log_probs(model, batch, choices), strict=True):
            best = int(log_probs.argmax())
            yield benchmark.answer(
                prompts.questions[index],
                prompts.texts[index],
                texts[best],
                prompts.image_sizes[index],
                log_prob=round(float(log_probs[best]), 4),
            )


def _check_scoring(benchmarks: Sequence[Benchmark]) -> None:
    for benchmark in benchmarks:
        if benchmark.scoring == 'likelihood':
            raise ConfigError(
                f"benchmarks.{benchmark.name}.scoring='likelihood' needs the model itself: leave test_cfg.backend out, "
                'or test without this benchmark (--benchmarks)'
            )


def _written(
    backend: Backend, benchmark: Benchmark, prompts: 'Prompts', samples: Mapping[int, Mapping[str, Any]]
) -> Iterator[Answer]:
    """Yield what is written to the questions of a batch, whose samples are given by their numbers."""
    settings = GenerationSettings(max_new_tokens=benchmark.max_new_tokens)
    for index, written in zip(samples, backend.generate(list(samples.values()), settings), strict=True):
        question = prompts.questions[index]
        if isinstance(written, ValueError):  # longer than the LLM's context
            yield benchmark.no_answer(question, str(written))
            continue
        answer = benchmark.answer(
            question,
            prompts.texts[index],
            written.text,
            prompts.image_sizes[index],
            tokens=written.tokens,
            log_prob=None if written.log_prob is None else round(written.log_prob, 4),
        )
        yield _with_box_scores(answer, written)


def _with_box_scores(answer: Answer, written: Written) -> Answer:
    grounded = answer.parsed.grounded
    scores = None if grounded is None else written.box_scores(grounded.spans)
    # Rounded here, not when they are written, so that scoring what was written gives the same figures.
    return replace(answer, box_scores=None if scores is None else tuple(round(score, 6) for score in scores.products))


def _unasked(benchmark: Benchmark, answers: Sequence[Answer]) -> list[Problem]:
    return [
        Problem('not_asked', benchmark.place(answer.question), answer.error)
        for answer in answers
        if answer.error is not None
    ]


class Prompts(torch.utils.data.Dataset):
    """The questions of a benchmark as the model takes them.

    Args:
        benchmark: The benchmark.
        processor: The sample processor.
        show_grey: True gives grey pictures of the same size instead of the questions' own.

    Attributes:
        questions: The questions.
        image_sizes: Width and height in pixels of each question's (first) picture; None without a picture, or if it
            cannot be read.
        texts: Each question in the user's words, without image placeholders; empty if its picture cannot be read.
        errors: Why a question cannot be asked, by its number.
    """

    def __init__(self, benchmark: Benchmark, processor: Any, show_grey: bool = False):
        self.source = benchmark.reader.image_source
        self.processor = processor
        self.show_grey = show_grey
        self.questions: list[Question] = list(benchmark.reader)
        self.errors: dict[int, str] = {}
        self._shown: dict[str, PreparedPicture] = {}
        self.image_sizes = [self._size(benchmark, number) for number in range(len(self.questions))]
        self.texts = [
            '' if number in self.errors else benchmark.prompt(question, size)
            for number, (question, size) in enumerate(zip(self.questions, self.image_sizes, strict=True))
        ]

    def _size(self, benchmark: Benchmark, number: int) -> tuple[int, int] | None:
        try:
            return benchmark.image_size(self.questions[number])
        except OSError as error:
            self.errors[number] = str(error)
            return None

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> dict[str, Any] | str:
        """Prepare a question.

        Returns:
            See :meth:`~geochat.datasets.SampleProcessor.prompt_sample`; or, if a picture cannot be read, why.
        """
        if index in self.errors:
            return self.errors[index]
        names = self.questions[index].images
        try:
            # Pictures that the question before shows too are not read again.
            self._shown = {name: self._shown.get(name) or self._prepared(name) for name in names}
        except OSError as error:
            return str(error)
        images = [self._shown[name] for name in names]
        return self.processor.prompt_sample([Message('user', with_pictures(self.texts[index], len(names)))], images)

    def _prepared(self, name: str) -> PreparedPicture:
        grey = Image.new('RGB', image_size(self.source, name), (128, 128, 128)) if self.show_grey else None
        return self.processor.prepare(grey or self.source.load(name))


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
    """Draw predicted and true boxes on the questions' pictures; answers without boxes or picture are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, answer in enumerate(answers):
        if answer.parsed.boxes is None or not answer.question.images or answer.error is not None:
            continue
        image = benchmark.reader.image_source.load(answer.question.images[0])
        draw_answer(image, answer).save(folder / f'{benchmark.name}_{number:03d}.png')
