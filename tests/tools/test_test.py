"""``tools/test.py`` as a user starts it: with a model, on several processes, without a model, and with slips."""

import json
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripted_server import completion, scripted
from small_parts import small_model
from small_run import small_run, write_lines

from geochat.engine import link_parts, load_config
from geochat.engine.checkpoint import save_model
from geochat.registry import PART_REGISTRIES

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'test.py'
PARITY = Path(os.environ.get('GEOCHAT_PARITY', ROOT.parent / 'shared' / 'parity'))
SAMPLES = PARITY.parent / 'samples'


def started(*command):
    """Start a Python process in the tests' environment."""
    variables = {**os.environ, 'PYTHONPATH': os.pathsep.join((str(ROOT), str(ROOT / 'tests'))), 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*command, timeout=180):
    """Run a Python process and return its exit code and output."""
    with started(*command) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return process.returncode, output


def run_here(monkeypatch, *arguments):
    """Run the tool in this process."""
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config ``small.py``, its data, and a model folder with the small model's random weights."""
    folder = tmp_path_factory.mktemp('test')
    cfg = small_run(folder, test_cfg={'batch_size': 2, 'comparisons': ['majority', 'grey', 'angle_0']})
    cfg.benchmarks.refer.metrics = [{'type': 'RotatedGrounding'}]
    cfg.dump(folder / 'small.py')
    save_model(small_model(), {part: cfg[part].to_dict() for part in PART_REGISTRIES}, folder / 'model')
    return folder


@pytest.fixture(scope='module')
def tested(folder):
    """The work directory of a test of that model, and what the test printed."""
    code, output = run(TOOL, folder / 'small.py', folder / 'model', '--work-dir', folder / 'alone')
    assert code == 0, output
    return folder / 'alone', output


def test_a_model_is_tested(tested):
    work_dir, output = tested
    assert re.search(r'\| benchmark \| questions \| malformed \| metric +\|', output)
    assert 'Failed to search registry' not in output
    assert {'predictions.jsonl', 'metrics.json', 'pictures', 'small.py'} <= {path.name for path in work_dir.iterdir()}


def test_the_dumped_config_tests_the_same(tested, folder):
    work_dir, _ = tested
    code, output = run(TOOL, work_dir / 'small.py', folder / 'model', '--work-dir', folder / 'again')
    assert code == 0, output
    assert (folder / 'again' / 'predictions.jsonl').read_text() == (work_dir / 'predictions.jsonl').read_text()


@pytest.mark.slow
def test_two_processes_answer_101_questions_as_one(folder):
    first, *others = (json.loads(line) for line in (folder / 'refer.jsonl').read_text().splitlines())
    rows = [{**row, 'question_id': f'q{n}'} for n in range(34) for row in (first, *others)][:101]
    for n, row in enumerate(rows):
        row['question'] = 'the red ship ' * (n % 7)
        row['size_group'] = ('small', 'large')[n % 2]
        row['question_id'] = f'q{n}'
    (folder / 'many.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    command = (TOOL, folder / 'small.py', folder / 'model', '--benchmarks', 'refer')
    settings = ('--cfg-options', f'benchmarks.refer.reader.data_file={folder}/many.jsonl', 'test_cfg.batch_size=8')
    launch = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
    for name, start in (('one', ()), ('two', launch)):
        launcher = ('--launcher', 'pytorch') if start else ()
        code, output = run(*start, *command, '--work-dir', folder / name, *launcher, *settings)
        assert code == 0, output
    one, two = ((folder / name / 'predictions.jsonl').read_text() for name in ('one', 'two'))
    assert one.count('\n') == 101
    assert one == two
    one, two = (json.loads((folder / name / 'metrics.json').read_text()) for name in ('one', 'two'))
    assert one == {**two, 'source': one['source']}
    assert one['results']['refer']['score']['questions'] == 101
    assert not list((folder / 'two').glob('*.rank*'))


@pytest.mark.slow
def test_a_server_that_fails_one_process_ends_all(folder):
    refused = (401, {}, {'error': {'message': 'not you'}})
    with scripted(refused, completion()) as server:
        code, output = run(
            *('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'),
            *(TOOL, folder / 'small.py', '--launcher', 'pytorch', '--work-dir', folder / 'refused'),
            *('--backend', 'openai', '--base-url', f'{server.url}/v1', '--benchmarks', 'refer'),
            *('--cfg-options', 'test_cfg.comparisons=[]'),
        )
    assert code == 1
    assert output.count('refuses the API key (401)') == 2, output
    # What the other process was told is not lost.
    assert sum(len(path.read_text().splitlines()) for path in (folder / 'refused').glob('predictions*.jsonl'))


def test_answers_are_scored_again_without_a_model(tested, folder, monkeypatch, capsys):
    work_dir, _ = tested
    again = (folder / 'small.py', '--predictions', work_dir / 'predictions.jsonl')
    run_here(monkeypatch, *again, '--benchmarks', 'refer')
    table = capsys.readouterr().out
    assert '| refer ' in table
    assert '| scene ' not in table
    run_here(monkeypatch, *again, '--work-dir', folder / 'scored')
    places = (work_dir, folder / 'scored')
    first, second = (json.loads((place / 'metrics.json').read_text())['results'] for place in places)
    for name in first:
        first[name].pop('grey')  # takes a model
    assert first == second


def test_the_benchmarks_are_listed(folder, monkeypatch, capsys):
    options = (
        '--cfg-options',
        f'benchmarks.refer.reader.data_file={folder}/none.jsonl',
        'benchmarks.scene.source=home',
    )
    run_here(monkeypatch, folder / 'small.py', '--list-benchmarks', *options)
    rows = [
        [cell.strip() for cell in line.split('|')[1:-1]] for line in capsys.readouterr().out.splitlines() if '|' in line
    ]
    assert rows == [
        ['benchmark', 'task', 'files', 'version', 'source'],
        ['refer', 'refer', 'missing:', '1', ''],
        ['', '', f'{folder}/none.jsonl', '', ''],
        ['scene', 'scene', 'here', '1', 'home'],
    ]


IMPORTS = """
import runpy, sys
sys.argv = {argv!r}
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
except SystemExit as stop:
    assert not stop.code, stop.code
print('imported:', *(name for name in ('torch', 'transformers', 'mmrotate', 'mmdet', 'mmcv') if name in sys.modules))
"""


def imported(*argv):
    code, output = run('-c', IMPORTS.format(argv=[str(value) for value in argv]))
    assert code == 0, output
    return output.rpartition('imported:')[2].split()


def test_help_imports_nothing_heavy():
    assert imported(TOOL, '--help') == []


def test_scoring_without_a_model_imports_neither_transformers_nor_mmrotate(tested, folder):
    arguments = (TOOL, folder / 'small.py', '--predictions', tested[0] / 'predictions.jsonl')
    assert imported(*arguments) in ([], ['torch'])


SMALL, MODEL = '{folder}/small.py', '{folder}/model'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('{folder}/smal.py', MODEL), r'error: there is no config file .*did you mean .*small\.py?'),
        ((SMALL, '{folder}/modell'), r'error: there are no weights at .*modell'),
        ((SMALL, '--launcher', 'none', '{folder}/modell'), r'error: there are no weights at .*modell'),
        ((SMALL, MODEL, '--benchmarks', 'refr'), r"error: there is no .*'refr'; did you mean refer"),
        ((SMALL, '--list-benchmarks', '--benchmarks', 'refr'), r"error: there is no .*'refr'; did you mean refer"),
        ((SMALL, MODEL, '--cfg-options', 'box_codec'), r'error: --cfg-options takes KEY=VALUE'),
        ((SMALL, MODEL, '--cfg-options', 'box_codec.type=geocat'), r"error: 'geocat' is not a registered box codec"),
        ((SMALL, '--predictions', '{folder}/none.jsonl'), r'error: the file of predictions .*none\.jsonl'),
        ((SMALL, MODEL, '--work-dir', '{folder}/small.py/x'), r'error: the work directory .*cannot be written'),
    ],
)
def test_slips_are_answered_in_one_line(folder, monkeypatch, arguments, message):
    with pytest.raises(SystemExit, match=message) as stop:
        run_here(monkeypatch, *(argument.format(folder=folder) for argument in arguments))
    assert '\n' not in str(stop.value)


def test_weights_that_do_not_fit_are_named(folder, monkeypatch):
    with pytest.raises(SystemExit, match=r'(?s)error: the weights do not fit the model: .*misshapen.*embed_tokens'):
        run_here(monkeypatch, folder / 'small.py', folder / 'model', '--cfg-options', 'llm.config.hidden_size=48')


@pytest.mark.parametrize('arguments', [(), (MODEL, '--predictions', 'file')])
def test_either_a_checkpoint_or_predictions(monkeypatch, arguments):
    with pytest.raises(SystemExit, match='error: name one of: a checkpoint, --predictions'):
        run_here(monkeypatch, SMALL, *arguments)


SEVEN = ('aid', 'ucmerced', 'rsvqa_lrben', 'rsvqa_hrben', 'referring', 'region_caption', 'grounding_description')
"""GeoChat's benchmarks."""


def write_geochat_bench(folder):
    """Write small files of GeoChat-Bench's seven benchmarks on the sample pictures, where the configs look for them."""
    pictures = sorted((SAMPLES / 'images').glob('*.png'))
    stems = [path.stem for path in pictures]
    places = ('AID/church', 'UCMerced/church', 'RSVQA-LR/Images_LR', 'RSVQA-HR/Data', 'GeoChat_Instruct/images')
    for place in places:
        (folder / 'data' / place).mkdir(parents=True)
        for path in pictures:
            (folder / 'data' / place / f'{path.stem}.png').symlink_to(path)
    bench = folder / 'data' / 'GeoChat-Bench'
    bench.mkdir()
    scene = {
        'text': 'Classify the image from the following classes. Classes: church, harbor.',
        'ground_truth': 'Church',
    }
    scenes = [{'question_id': f'church/{stem}.png', 'image': f'church/{stem}.png', **scene} for stem in stems]
    write_lines(bench / 'aid.jsonl', scenes)
    write_lines(bench / 'UCmerced.jsonl', scenes)
    questions = [
        {'question_id': number, 'image': f'{stem}.png', 'text': f'Is there a {kind}?', 'category': kind}
        for number, (stem, kind) in enumerate(zip(stems, ('presence', 'comp', 'rural_urban', 'presence'), strict=True))
    ]
    answers = {'answers': [{'question_id': row['question_id'], 'answer': 'yes', 'active': True} for row in questions]}
    for name, file in (('lrben', 'RSVQA-LR/all_answers.json'), ('hrben', 'RSVQA-HR/USGSanswers.json')):
        write_lines(bench / f'{name}.jsonl', questions)
        (folder / 'data' / file).write_text(json.dumps(answers))
    expressions = [
        {
            'question_id': number,
            'image_id': stem,
            'question': 'the building',
            'ground_truth': [[[10, 10], [60, 10], [60, 40], [10, 40]]] * (1 + number % 2),
            'type': ('ref', 'grounding')[number % 2],
            'size_group': ('small', 'medium', 'large')[number % 3],
        }
        for number, stem in enumerate(stems)
    ]
    write_lines(bench / 'referring.jsonl', expressions)
    regions = [
        {**row, 'question': '{<10><20><30><40>|<30>}', 'ground_truth': '<p>1 building</p>'} for row in expressions
    ]
    write_lines(bench / 'region_captioning.jsonl', regions)
    described = [{'image_id': stem, 'description': 'There are two buildings.'} for stem in stems]
    write_lines(bench / 'grounding_description.jsonl', described)


def write_config_of_seven(folder):
    """Write a config of the original's small checkpoint and the benchmarks of GeoChat-7B."""
    config = json.loads((PARITY / 'geochat-tiny' / 'config.json').read_text())
    shape = {key: config[key] for key in ('hidden_size', 'intermediate_size', 'num_hidden_layers', 'vocab_size')}
    heads = {key: config[key] for key in ('num_attention_heads', 'num_key_value_heads')}
    real = load_config(ROOT / 'configs' / 'geochat_7b.py')
    benchmarks = {name: real.benchmarks[name].to_dict() for name in SEVEN}
    for settings in benchmarks.values():
        settings['max_new_tokens'] = 10
        if settings['metrics'][0]['type'].endswith('Captions'):  # METEOR takes Java, and seconds
            settings['metrics'] = [{'type': 'Captions', 'measures': ['rouge']}]
    cfg = small_run(
        folder,
        vision_encoder={'type': 'ClipVisionEncoder', 'pretrained': str(PARITY / 'clip-tiny-336'), 'image_size': 504},
        llm={
            'type': 'HFCausalLM',
            'config': {'model_type': 'llama', **shape, **heads, 'rms_norm_eps': 1e-5, 'max_position_embeddings': 4096},
            'tokenizer': str(PARITY / 'geochat-tiny'),
            'chat_template': {'type': 'llava_v1'},
        },
        max_length=2048,
        benchmarks=benchmarks,
        task_prompts=real.task_prompts.to_dict(),
        test_cfg={'batch_size': 2},
    )
    link_parts(cfg).dump(folder / 'seven.py')


@pytest.mark.slow
@pytest.mark.skipif(not PARITY.is_dir(), reason=f'the recordings of the original are not at {PARITY} ($GEOCHAT_PARITY)')
@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f'the sample pictures are not at {SAMPLES}')
def test_a_checkpoint_of_the_original_runs_all_seven_and_goes_on_after_a_kill(tmp_path, monkeypatch):
    """GeoChat-Bench's format, real pictures of several sizes, and a model as the original saves it."""
    monkeypatch.chdir(tmp_path)
    write_geochat_bench(tmp_path)
    write_config_of_seven(tmp_path)
    command = (TOOL, 'seven.py', PARITY / 'geochat-tiny', '--benchmarks', *SEVEN)
    code, output = run(*command, '--work-dir', 'whole')
    assert code == 0, output
    for name in SEVEN:
        assert re.search(rf'\| {name} +\|', output), name
    assert '| published |' in output
    assert len(list(Path('whole/pictures').iterdir())) == 8  # of referring and of grounded descriptions
    with started(*command, '--work-dir', 'again') as process:
        answers = Path('again/predictions.jsonl')
        while process.poll() is None and (not answers.is_file() or answers.read_text().count('\n') < 14):
            time.sleep(0.02)
        process.kill()
    assert 14 <= answers.read_text().count('\n') < 27, 'it was not killed half way'
    code, output = run(*command, '--work-dir', 'again')
    assert code == 0, output
    assert 'are taken over from an interrupted or earlier run' in output
    assert answers.read_text() == Path('whole/predictions.jsonl').read_text()
    assert answers.read_text().count('\n') == 27  # RSVQA-HRBEN leaves a category out
    whole, again = (json.loads(Path(name, 'metrics.json').read_text()) for name in ('whole', 'again'))
    assert again == whole
