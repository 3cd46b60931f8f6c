"""Pictures of what a model answers while it learns: a fault in boxes is seen long before the benchmarks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from PIL import Image

from geochat.datasets.collate import collate_samples
from geochat.engine.benchmark import Benchmark, build_benchmarks
from geochat.engine.config import ConfigError
from geochat.engine.loops.step import bare_model
from geochat.engine.randomness import undisturbed_randomness
from geochat.generation import generate
from geochat.registry import HOOKS, TRANSFORMS
from geochat.structures import Answer, Message, Question, with_pictures
from geochat.visualization.visualizer import AnswerVisualizer


@HOOKS.register_module()
class AnswerPicturesHook(Hook):
    """Draw the answers to a few held-out questions now and then during training.

    The questions are always the same, spread evenly over a benchmark of the config. The pictures, with predicted over
    true boxes, go to the back ends of the config's ``visualizer``, which must be an
    :class:`~geochat.visualization.visualizer.AnswerVisualizer`. The first process generates and draws while the others
    wait; the training itself is the same as without.

    Args:
        benchmark: Name of the benchmark.
        count: Questions.
        interval: Optimizer steps between two drawings; None draws after each validation.

    Raises:
        ConfigError: If a setting is no positive number.
    """

    def __init__(self, benchmark: str, count: int = 4, interval: int | None = None):
        for name, value in (('count', count), ('interval', interval)):
            if value is not None and value < 1:
                raise ConfigError(f'{name} of AnswerPicturesHook must be at least 1, not {value!r}')
        self.benchmark_name = benchmark
        self.count = count
        self.interval = interval

    def before_train(self, runner: Any) -> None:
        """Load the questions and their pictures, so that what is missing is known before the training.

        Raises:
            ConfigError: If the config lacks what the pictures need, or the weights are spread over processes.
            FileNotFoundError: If a file of the benchmark is not there.
        """
        _check_run(runner, after_validation=self.interval is None)
        settings = runner.cfg['test_cfg']
        parts = [settings[key] for key in ('benchmarks', 'task_prompts', 'box_codec')]
        (self.benchmark,) = build_benchmarks(*parts, [self.benchmark_name])
        self.processor = TRANSFORMS.build(dict(settings['processor']))
        with_picture = [question for question in self.benchmark.reader if question.images]
        if not with_picture:
            raise ConfigError(f'AnswerPicturesHook: no question of {self.benchmark_name} has a picture')
        places = np.linspace(0, len(with_picture), min(self.count, len(with_picture)), endpoint=False).astype(int)
        self.asked = [_Asked(self.benchmark, with_picture[place]) for place in places]

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Draw, unless there is an interval."""
        if self.interval is None:
            self._draw(runner)

    def after_step(self, runner: Any) -> None:
        """Draw if it is time to."""
        if self.interval is not None and runner.iter % self.interval == 0:
            self._draw(runner)

    @master_only
    def _draw(self, runner: Any) -> None:
        for number, (asked, answer) in enumerate(zip(self.asked, self._answers(runner), strict=True)):
            name = f'{self.benchmark_name}_{number}'
            runner.visualizer.add_datasample(name, np.array(asked.images[0]), answer, step=runner.iter)

    @torch.no_grad()
    def _answers(self, runner: Any) -> Sequence[Answer]:
        model = bare_model(runner.model)
        samples = [self.processor.prompt_sample([asked.message], asked.images) for asked in self.asked]
        batch = model.data_preprocessor(collate_samples(samples, padding='left'), False)
        was_training = runner.model.training
        runner.model.eval()
        with undisturbed_randomness(with_gpu=True), runner.optim_wrapper.optim_context(runner.model):
            generated = generate(model, batch, self.benchmark.max_new_tokens)
        runner.model.train(was_training)
        decode = self.processor.tokenizer.decode
        texts = [decode(answer.ids, skip_special_tokens=True).strip() for answer in generated]
        return [asked.answer(text) for asked, text in zip(self.asked, texts, strict=True)]


def _check_run(runner: Any, after_validation: bool) -> None:
    if not runner.cfg.get('benchmarks'):
        raise ConfigError('AnswerPicturesHook takes its questions from the benchmarks of the config, which has none')
    if not isinstance(runner.visualizer, AnswerVisualizer):
        raise ConfigError(
            'AnswerPicturesHook needs visualizer.type AnswerVisualizer, whose back ends get the pictures; it is '
            f'{type(runner.visualizer).__name__}'
        )
    if after_validation and runner.val_loop is None:
        raise ConfigError('AnswerPicturesHook draws after validations, of which there are none: give it an interval')
    if getattr(getattr(runner, 'strategy', None), 'spreads_weights', False):
        raise ConfigError('AnswerPicturesHook does not work with strategy.zero_stage 3: no process has all weights')


class _Asked:
    """A question as the model takes it.

    Args:
        benchmark: Its benchmark.
        question: The question, with a picture.
    """

    def __init__(self, benchmark: Benchmark, question: Question):
        self.benchmark, self.question = benchmark, question
        self.images: list[Image.Image] = [benchmark.reader.image_source.load(name) for name in question.images]
        self.text = benchmark.prompt(question, self.images[0].size)
        self.message = Message('user', with_pictures(self.text, len(self.images)))

    def answer(self, text: str) -> Answer:
        """Read the model's words."""
        return self.benchmark.answer(self.question, self.text, text, self.images[0].size)
