"""The benchmark loop asks every question once, in batches that change no answer, and writes what it got."""

import itertools
import json

import pytest
import torch
from PIL import Image
from small_parts import small_model
from small_run import small_run, write_lines
from small_server import running_server

from geochat.apis import load_assistant
from geochat.datasets import collate_samples
from geochat.engine import ConfigError, build_runner
from geochat.engine.checkpoint import save_model
from geochat.engine.journal import Journal
from geochat.engine.loops.benchmark import Prompts
from geochat.generation import BackendError, GenerationEngine, generate
from geochat.models import GeoChat
from geochat.registry import PART_REGISTRIES

COMPARISONS = ['majority', 'grey', 'angle_0']
NUMBERS = itertools.count()


@pytest.fixture
def runner(tmp_path):
    return build_runner(small_run(tmp_path, test_cfg={'batch_size': 2, 'comparisons': COMPARISONS}), training=False)


def test_a_run_writes_answers_scores_and_pictures(runner, tmp_path):
    scores = runner.test()
    assert set(scores) == {'scene/right', 'refer/boxes', 'refer/angle'}
    folder = tmp_path / 'run'
    rows = [json.loads(line) for line in (folder / 'predictions.jsonl').read_text().splitlines()]
    assert [(row['benchmark'], row['id']) for row in rows] == [
        *(('scene', f's{number}') for number in range(3)),
        *(('refer', f'r{number}') for number in range(3)),
    ]
    results = json.loads((folder / 'metrics.json').read_text())['results']
    assert {name: set(result) for name, result in results.items()} == {
        'scene': {'score', 'majority', 'grey'},
        'refer': {'score', *COMPARISONS},
    }
    assert results['scene']['majority'] == {'right': 2 / 3}
    assert sorted(path.name for path in (folder / 'pictures').iterdir()) == [f'refer_00{n}.png' for n in range(3)]
    with Image.open(folder / 'pictures' / 'refer_000.png') as picture:
        assert picture.width >= 512


def test_a_batch_answers_as_each_question_alone(runner, tmp_path):
    loop = runner.test_loop
    runner.model.eval()
    for benchmark in loop.benchmarks:
        prompts = Prompts(benchmark, loop.processor)
        loader = torch.utils.data.DataLoader(prompts, batch_size=1, collate_fn=lambda samples: samples)
        alone = [generate(runner.model, collate_samples(samples, 'left'), 8)[0].ids for samples in loader]
        texts = [loop.processor.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in alone]
        answers = loop.ask(benchmark, Journal(tmp_path / 'run', benchmark.name, ()))
        assert [answer.text for answer in answers] == texts


def test_grey_pictures_have_the_size_of_the_real_ones(runner):
    loop = runner.test_loop
    prompts = Prompts(loop.benchmarks[0], loop.processor, show_grey=True)
    assert prompts.image_sizes == [(28, 28), (28, 28), (56, 28)]
    pixels = prompts[0]['pixels'][0]
    assert all(abs(channel - channel.mean()).max() < 1e-5 for channel in pixels)
    assert prompts[0]['image_keys'] == prompts[1]['image_keys'] != prompts[2]['image_keys']
    text = loop.processor.tokenizer.decode([token for token in prompts[2]['input_ids'] if token >= 0])
    assert 'USER:  \nIs a ship present?  ASSISTANT:' in text


def test_chosen_benchmarks_only(tmp_path):
    runner = build_runner(small_run(tmp_path), {'test_cfg.names': ['refer']}, training=False)
    assert set(runner.test()) == {'refer/boxes', 'refer/angle'}


def test_a_comparison_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigError, match=r"test_cfg\.comparisons: 'gray' is none of majority, grey, angle_0"):
        build_runner(small_run(tmp_path, test_cfg={'comparisons': ['gray']}), training=False)


@pytest.mark.parametrize(
    ('key', 'value', 'least'),
    [
        ('test_cfg.batch_size', 0, 1),
        ('test_cfg.batch_size', 2.5, 1),
        ('test_cfg.num_workers', -1, 0),
        ('test_cfg.num_pictures', -1, 0),
        ('benchmarks.refer.max_new_tokens', 0, 1),
    ],
)
def test_numbers_that_cannot_be(tmp_path, key, value, least):
    with pytest.raises(ConfigError, match=rf'^{key} is a whole number from {least}, not {value}$'):
        build_runner(small_run(tmp_path), {key: value}, training=False)


def rows(folder, name='predictions'):
    return [json.loads(line) for line in (folder / f'{name}.jsonl').read_text().splitlines()]


def start(cfg):
    cfg.experiment_name = (
        f'run_{next(NUMBERS)}'  # MMEngine has one logger for each name, by default the time in seconds
    )
    build_runner(cfg, training=False).test()


def result_of(tmp_path, **changes):
    """Test with the small run's weights in a work directory, and return its files."""
    torch.manual_seed(0)
    cfg = small_run(tmp_path, test_cfg={'batch_size': 2, 'comparisons': COMPARISONS}, **changes)
    for name in ('scene', 'refer'):
        cfg.benchmarks[name].metrics = [{'type': 'ExactMatch' if name == 'scene' else 'RotatedGrounding'}]
    start(cfg)
    folder = tmp_path / 'run'
    return (
        rows(folder),
        json.loads((folder / 'metrics.json').read_text()),
        json.loads((folder / 'run_card.json').read_text()),
    )


def test_every_answer_has_its_tokens_and_scores(tmp_path):
    answers, _, card = result_of(tmp_path)
    for row in answers:
        assert row['tokens'] <= 8
        assert row['log_prob'] <= 0
        assert set(row['scores']) == ({'right'} if row['benchmark'] == 'scene' else set(row['scores']))
        assert len(row.get('box_scores', [])) == len(row.get('boxes', []))
    assert card['weights']['sha256']
    assert card['seed'] == 0
    assert card['benchmarks']['scene']['questions'] == 3
    assert card['benchmarks']['scene']['metrics'] == [{'type': 'ExactMatch', 'protocol': 'exact', 'version': 1}]
    assert len(card['benchmarks']['scene']['files'][str(tmp_path / 'scene.jsonl')]) == 64
    assert card['finished'] >= card['written']


unpatched = GenerationEngine.generate


class Killed(BaseException):
    pass


def killed_after(monkeypatch, batches):
    """Let the process die when it has answered some batches."""
    count = iter(range(batches))

    def dying(*arguments):
        if next(count, None) is None:
            raise Killed
        return unpatched(*arguments)

    monkeypatch.setattr(GenerationEngine, 'generate', dying)


def counted(monkeypatch):
    """Count the batches that are answered."""
    calls = []
    monkeypatch.setattr(GenerationEngine, 'generate', lambda *arguments: calls.append(1) or unpatched(*arguments))
    return calls


@pytest.mark.parametrize('batches', [1, 3, 6])
def test_a_killed_run_goes_on_where_it_ended(tmp_path, monkeypatch, batches):
    (tmp_path / 'whole').mkdir()
    whole = result_of(tmp_path / 'whole')
    killed_after(monkeypatch, batches)
    (tmp_path / 'again').mkdir()
    with pytest.raises(Killed):
        result_of(tmp_path / 'again')
    path = tmp_path / 'again' / 'run' / 'predictions.jsonl'
    with path.open('a') as file:
        file.write('{"benchmark": "refer", "id"')  # cut short
    calls = counted(monkeypatch)
    again = result_of(tmp_path / 'again')
    assert len(calls) == 8 - batches  # two batches for each benchmark, with its own pictures and with grey ones
    assert again[0] == whole[0]
    assert again[1]['results'] == whole[1]['results']
    assert again[1]['intervals'] == whole[1]['intervals']
    assert again[2]['taken_over']['code_sha256'] == again[2]['code_sha256']
    assert not (path.parent / 'earlier').exists()


def test_answers_of_other_weights_are_not_taken_over(tmp_path, monkeypatch, capsys):
    first = result_of(tmp_path)
    calls = counted(monkeypatch)
    result_of(tmp_path)
    assert calls == []  # the same run once more asks nothing
    result_of(tmp_path, max_length=95)
    assert len(calls) == 8
    (place,) = (tmp_path / 'run' / 'earlier').iterdir()
    assert rows(place) == first[0]
    assert {path.name for path in place.iterdir()} == {
        'predictions.jsonl',
        'predictions_grey.jsonl',
        'metrics.json',
        'run_card.json',
    }
    out = capsys.readouterr().out
    assert 'Answers to scene, refer are taken over' in out
    assert 'scene: other config of the model' in out


def test_answers_to_changed_questions_are_asked_anew(tmp_path, monkeypatch):
    result_of(tmp_path)
    calls = counted(monkeypatch)
    monkeypatch.setattr('small_run.COLORS', {'green': (30, 200, 30), 'red': (200, 30, 30), 'blue': (30, 30, 200)})
    answers, metrics, _ = result_of(tmp_path)
    assert len(calls) == 8  # both files have another order of the pictures
    assert [row['images'] for row in answers if row['benchmark'] == 'scene'] == [
        ['green.png'],
        ['red.png'],
        ['blue.png'],
    ]
    assert set(metrics['results']) == {'scene', 'refer'}


def test_a_run_of_one_benchmark_keeps_what_the_directory_has_of_others(tmp_path, monkeypatch):
    whole = result_of(tmp_path)
    calls = counted(monkeypatch)
    torch.manual_seed(0)
    cfg = small_run(tmp_path, test_cfg={'batch_size': 2, 'comparisons': COMPARISONS, 'names': ['refer']})
    cfg.benchmarks.refer.metrics, cfg.benchmarks.scene.metrics = (
        [{'type': 'RotatedGrounding'}],
        [{'type': 'ExactMatch'}],
    )
    start(cfg)
    assert calls == []
    assert rows(tmp_path / 'run') == whole[0]
    assert json.loads((tmp_path / 'run' / 'metrics.json').read_text())['results'] == whole[1]['results']


def test_questions_whose_picture_is_missing_count_as_wrong_and_are_named(tmp_path, monkeypatch, capsys):
    def without_picture(folder):
        write_data(folder)
        (folder / 'images' / 'red.png').unlink()
        (folder / 'images' / 'blue.png').write_bytes((folder / 'images' / 'blue.png').read_bytes()[:60])

    write_data = small_run.__globals__['write_data']
    monkeypatch.setitem(small_run.__globals__, 'write_data', without_picture)
    answers, metrics, _ = result_of(tmp_path)
    by_id = {row['id']: row for row in answers}
    assert 'red.png does not exist' in by_id['s0']['error']
    assert 'blue.png cannot be read' in by_id['s2']['error']
    assert 'error' not in by_id['s1']
    assert metrics['results']['scene']['score']['questions'] == 3
    assert metrics['results']['scene']['score']['accuracy'] < 1
    assert [problem['code'] for problem in metrics['problems']['refer']] == ['not_asked'] * 2
    assert 'refer: 2 questions that could not be asked' in capsys.readouterr().out
    monkeypatch.setitem(small_run.__globals__, 'write_data', write_data)
    calls = counted(monkeypatch)
    answers, *_ = result_of(tmp_path)  # the pictures are there now: these questions are asked
    assert calls
    assert not any('error' in row for row in answers)


def test_a_question_longer_than_the_context_counts_as_wrong_and_is_named(tmp_path):
    cfg = small_run(tmp_path, test_cfg={'batch_size': 2, 'names': ['scene']})
    cfg.benchmarks.scene.metrics = [{'type': 'ExactMatch'}]
    first, *others = [json.loads(line) for line in (tmp_path / 'scene.jsonl').read_text().splitlines()]
    write_lines(tmp_path / 'scene.jsonl', [{**first, 'text': 'a ship and ' * 200}, *others])
    start(cfg)
    answers, metrics = rows(tmp_path / 'run'), json.loads((tmp_path / 'run' / 'metrics.json').read_text())
    assert ["LLM's context 512" in row.get('error', '') for row in answers] == [True, False, False]
    assert metrics['results']['scene']['score']['questions'] == 3
    assert [problem['code'] for problem in metrics['problems']['scene']] == ['not_asked']


def test_benchmarks_whose_files_are_not_there_are_left_out_unless_they_are_named(tmp_path, capsys):
    cfg = small_run(tmp_path, test_cfg={'batch_size': 2})
    (tmp_path / 'scene.jsonl').unlink()
    assert set(build_runner(cfg, training=False).test()) == {'refer/boxes', 'refer/angle'}
    assert 'scene was not run: the data file' in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r'scene\.jsonl'):
        build_runner(cfg, {'test_cfg.names': ['scene']}, training=False)


def test_the_likeliest_class_is_the_answer(tmp_path):
    options = ['yes', 'no', 'two ships', 'harbor']
    cfg = small_run(tmp_path, test_cfg={'batch_size': 2, 'names': ['scene']})
    lines = [json.loads(line) for line in (tmp_path / 'scene.jsonl').read_text().splitlines()]
    write_lines(tmp_path / 'scene.jsonl', [{**line, 'classes': options} for line in lines])
    cfg.benchmarks.scene.scoring = 'likelihood'
    start(cfg)
    answers = rows(tmp_path / 'run')
    assert len(answers) == 3
    assert all(row['answer'] in options and row['log_prob'] < 0 and 'tokens' not in row for row in answers)


def test_likelihood_needs_something_to_choose_from(tmp_path):
    cfg = small_run(tmp_path, test_cfg={'batch_size': 2, 'names': ['refer']})
    cfg.benchmarks.refer.scoring = 'likelihood'
    with pytest.raises(ConfigError, match=r"scoring='likelihood' needs questions with classes or options"):
        start(cfg)
    cfg.benchmarks.refer.scoring = 'likelyhood'
    with pytest.raises(ConfigError, match=r"scoring is one of answer, likelihood, not 'likelyhood'"):
        start(cfg)


def served(tmp_path):
    """The small run's model as a server has it, its chat template the run's own."""
    cfg = small_run(tmp_path)
    folder = save_model(small_model(), {part: cfg[part].to_dict() for part in PART_REGISTRIES}, tmp_path / 'model')
    return folder, lambda: load_assistant(folder, device='cpu')


def test_a_server_answers_as_the_model_here_and_no_model_is_built(tmp_path, monkeypatch):
    folder, load = served(tmp_path)
    cfg = small_run(tmp_path, test_cfg={'batch_size': 2, 'comparisons': ['grey']})
    cfg.work_dir, cfg.load_from = str(tmp_path / 'here'), str(folder)
    start(cfg)
    with running_server(load) as server:
        monkeypatch.setattr(GeoChat, '__init__', lambda *_, **__: pytest.fail('a model was built'))
        backend = {'type': 'openai', 'base_url': f'{server.url}/v1'}
        cfg.work_dir, cfg.load_from, cfg.test_cfg.backend = str(tmp_path / 'there'), None, backend
        start(cfg)
        for name in ('predictions', 'predictions_grey'):
            there, here = rows(tmp_path / 'there', name), rows(tmp_path / 'here', name)
            assert [row.pop('log_prob') for row in there] == pytest.approx(
                [row.pop('log_prob') for row in here], abs=1e-3
            )
            assert [row.pop('box_scores', ()) for row in there] == [row.pop('box_scores', ()) for row in here]
            assert there == here
        card = json.loads((tmp_path / 'there' / 'run_card.json').read_text())
        assert card['weights'] == {'source': f'{server.url}/v1, model', 'sha256': None}
        start(cfg)  # all is there already
        assert not (tmp_path / 'there' / 'earlier').exists()
        cfg.benchmarks.scene.scoring = 'likelihood'
        with pytest.raises(ConfigError, match=r"scene\.scoring='likelihood' needs the model itself"):
            start(cfg)
    cfg.benchmarks.scene.scoring = 'answer'
    with pytest.raises(BackendError, match='cannot be reached'):
        start(cfg)
    cfg.test_cfg.backend.api_key = 'secret'
    with pytest.raises(ConfigError, match=r"test_cfg\.backend: .* has no setting 'api_key'"):
        start(cfg)
