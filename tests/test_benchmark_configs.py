"""Every benchmark of the configs: it is told about, reads files of its form, and finds the true answers right."""

from pathlib import Path

import pytest
from benchmark_files import write_benchmark_files

from geochat.engine import load_config
from geochat.engine.benchmark import build_benchmarks

CONFIG = Path(__file__).parents[1] / 'configs' / 'geochat_7b.py'
NAMES = (
    *('aid', 'ucmerced', 'rsvqa_lrben', 'rsvqa_hrben', 'referring', 'region_caption', 'grounding_description'),
    *('vrsbench_caption', 'vrsbench_referring', 'vrsbench_vqa', 'dior_rsvg', 'opt_rsvg', 'rsvg', 'rrsis_d'),
    *('rsicd_caption', 'nwpu_caption', 'whu_rs19', 'fit_rsrc', 'geobench_vlm', 'vhm_honesty', 'dota', 'dior_r'),
)
WHOLE = (
    *('accuracy', 'macro_accuracy', 'circular_accuracy', 'rouge1', 'rougeL', 'bleu4'),
    *(
        'acc@0.5',
        'exact_set@0.5',
        'mean_iou',
        'hbox/acc@0.9',
        'f1@0.5',
        'mf1@0.5',
        'mAP_nc@0.5',
        'lmmrotate/mAP_nc@0.5',
    ),
)
"""Scores that true answers reach in full."""

UNSCORED = {'grounding_description': {'acc@0.5', 'acc@0.25'}}
"""Published figures that the public files do not suffice to compute."""


@pytest.fixture(scope='module')
def cfg():
    return load_config(CONFIG)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('benchmarks')
    write_benchmark_files(folder)
    return folder


def test_the_benchmarks_are_those_of_the_field(cfg):
    assert tuple(cfg.benchmarks) == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_a_benchmark_says_its_version_and_where_its_files_come_from(cfg, name):
    settings = cfg.benchmarks[name]
    assert settings.version >= 1
    assert settings.source and '\n' not in settings.source
    assert all(0 < value < 1 for value in settings.get('published', {}).values())


@pytest.mark.parametrize('name', NAMES)
def test_the_true_answers_of_a_benchmark_are_right(cfg, folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv('PATH', '')  # without Java, which takes half a minute
    (benchmark,) = build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec, [name])
    answers = [true_answer(benchmark, question) for question in benchmark.reader]
    assert not any(answer.parsed.malformed for answer in answers)
    assert all(Path(file).is_file() for file in benchmark.reader.files)
    scores = benchmark.score(answers)
    found = {
        score: scores[score] for score in (*WHOLE, *(benchmark.shown or ()), *benchmark.published) if score in scores
    }
    assert found and found == pytest.approx(dict.fromkeys(found, 1), abs=1e-3)
    lacking = {score for score in benchmark.published if score not in scores and needs_no_java(score)}
    assert lacking == UNSCORED.get(name, set())


def test_a_missing_file_is_named_with_where_to_get_it(cfg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        with pytest.raises(FileNotFoundError, match=r'data/.* does not exist') as error:
            build_benchmarks(cfg.benchmarks, cfg.task_prompts, cfg.box_codec, [name])
        assert str(error.value).endswith(f'; where to get it: {cfg.benchmarks[name].source}')


def needs_no_java(score):
    return ('meteor' not in score and not score.startswith('vrsbench/')) or '@' in score


def true_answer(benchmark, question):
    size = benchmark.reader.picture_size(question.images[0])
    assert size == (200, 200)
    truth = question.truth
    if 'boxes' not in truth:
        text = truth['text'] if isinstance(truth['text'], str) else truth['text'][0]
    elif 'labels' in truth:
        boxes = [benchmark.codec.encode(box[None], size) for box in truth['boxes']]
        text = ' '.join(f'<p>{label}</p> {box}' for label, box in zip(truth['labels'], boxes, strict=True))
    else:
        text = benchmark.codec.encode(truth['boxes'], size)
    if name_of_task(benchmark) == 'GroundingPrompt' and 'boxes' not in truth:
        text += ' {<1><1><9><9>|<0>}'  # a description without boxes is malformed
    return benchmark.answer(question, benchmark.prompt(question, size), text, size)


def name_of_task(benchmark):
    return type(benchmark.task).__name__
