"""The console command as a user types it."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from small_parts import small_model, small_parts
from small_run import write_lines
from small_server import running_server

from geochat import __version__
from geochat.apis import Dialogue, load_assistant
from geochat.console import main
from geochat.engine.checkpoint import save_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A model folder, and a picture beside it."""
    folder = tmp_path_factory.mktemp('console')
    parts = small_parts()
    parts['llm']['chat_template'] = {'type': 'vicuna_v1'}
    Image.new('RGB', (40, 20), 'red').save(folder / 'red.png')
    return save_model(small_model(), parts, folder / 'm')


@pytest.fixture
def geochat(model, monkeypatch, capsys):
    """Return a function that runs the command and returns its exit code, what it printed, and its error."""
    monkeypatch.chdir(model.parent)
    monkeypatch.setenv('GEOCHAT_MODEL', str(model))

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['geochat', *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            out, err = capsys.readouterr()
            return end.code, out, err
        return 0, *capsys.readouterr()

    return run


def test_the_help_names_every_command(geochat):
    code, out, _ = geochat('--help')
    assert code == 0
    assert all(f'    {name} ' in out for name in ('train', 'test', 'chat', 'ask', 'batch', 'serve', 'demo'))
    assert geochat('--version')[1] == f'geochat {__version__}\n'
    assert geochat()[0] == 2


def test_an_answer_in_words(geochat):
    code, out, _ = geochat('ask', 'red.png', 'Is a harbor present?', '--max-new-tokens', 6, '--device', 'cpu')
    assert code == 0 and out.strip()


def test_options_may_stand_between_picture_and_question(geochat):
    options = ('--task', 'refer', '--max-new-tokens', 2, '--device', 'cpu', '--json')
    code, out, _ = geochat('ask', 'red.png', *options, 'the red ship')
    assert code == 0 and 'the red ship' in json.loads(out)['prompt']
    code, out, _ = geochat('ask', *options, 'red.png', '--', '-1 ship')
    assert code == 0 and '-1 ship' in json.loads(out)['prompt']


def test_an_unknown_option_is_told_with_the_usage_of_its_command(geochat):
    code, _, err = geochat('ask', 'red.png', 'a', '--tempreature', 1)
    assert code == 2 and err.endswith('geochat ask: error: unrecognized arguments: --tempreature 1\n')


def test_all_that_is_known_of_an_answer_and_its_drawing(geochat, tmp_path):
    settings = ('--max-new-tokens', 6, '--device', 'cpu', '--json')
    _, out, _ = geochat('ask', 'red.png', 'the red ship', '--task', 'refer', '--draw', tmp_path / 'o.png', *settings)
    answer = json.loads(out)
    assert (answer['task'], answer['tokens'], answer['image_size']) == ('refer', 6, [40, 20])
    assert Image.open(tmp_path / 'o.png').width >= 512
    _, out, _ = geochat('ask', 'red.png', '--box', 12, 5, 8, 6, 30, *settings)
    assert json.loads(out)['prompt'] == '[identify] what is this {<20><30><40><45>|<30>}'
    _, out, _ = geochat('ask', 'red.png', '--classes', 'port', 'farm', *settings)
    assert 'Classes: port, farm.' in json.loads(out)['prompt']


def test_what_cannot_work_is_told_before_a_model_is_loaded(geochat):
    for arguments, reason in (
        (('gone.png', 'a'), 'gone.png does not exist'),
        (('red.png', 'a', '--draw', 'no/where.png'), "there is no folder 'no'"),
        (('red.png',), 'a question'),
    ):
        code, *_ = geochat('ask', *arguments, '--model', 'no-such-model')
        assert reason in code


def test_a_server_answers_instead(geochat, model, tmp_path, monkeypatch):
    asked = ('red.png', 'the red ship', '--task', 'refer', '--max-new-tokens', 6)
    _, here, _ = geochat('ask', *asked, '--json', '--device', 'cpu')
    monkeypatch.delenv('GEOCHAT_MODEL')
    with running_server(lambda: load_assistant(model, device='cpu')) as server:
        there = ('--backend', 'openai', '--base-url', f'{server.url}/v1')
        code, out, _ = geochat('ask', *asked, '--json', *there)
        assert code == 0
        assert {**json.loads(out), 'log_prob': 0} == {**json.loads(here), 'log_prob': 0}
        path = write_lines(tmp_path / 'q.jsonl', [{'image': 'red.png', 'text': 'yes'}] * 5)
        code, out, _ = geochat('batch', path, '--out', tmp_path / 'a.jsonl', *there, '--max-new-tokens', 3)
        assert code == 0 and '5 answers' in out
        assert 'no setting num_beams' in geochat('ask', *asked, *there, '--num-beams', 2)[0]
        assert "has no model 'other'; it has m" in geochat('ask', *asked, *there, '--served-model', 'other')[0]
    assert 'is the server running?' in geochat('ask', *asked, *there)[0]
    assert '--backend openai and --base-url URL together' in geochat('ask', *asked, '--backend', 'openai')[0]
    assert '--served-model is the name' in geochat('ask', *asked, '--served-model', 'other')[0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('ask', 'red.png'), 'say what to ask'),
        (('ask', 'red.png', ''), 'the question is empty'),
        (('ask', 'red.png', 'a', '--task', 'reefer'), "there is no task 'reefer'"),
        (('ask', 'gone.png', 'a'), 'the picture gone.png does not exist'),
        (('ask', 'm/config.json', 'a'), 'not a picture of a known kind'),
        (('ask', 'http://127.0.0.1/a.png', 'a'), 'allow_urls'),
        (('ask', 'red.png', '--box', '1', '2'), '--box has 4 or 5 numbers'),
        (('ask', 'red.png', 'a', '--stretch', '1,b'), '--stretch has two numbers'),
        (('ask', 'red.png', 'a', '--temperature', '-1'), 'temperature is a number from 0'),
        (('ask', 'red.png', 'a', '--max-new-tokens', '0'), '--max-new-tokens is at least 1, not 0'),
        (('chat', 'red.png', '--stretch', '4000,0'), 'a stretch has two values, the smaller first'),
        (('ask', 'red.png', 'a', '--model', 'nothing'), "no model folder and no config 'nothing'"),
        (('ask', 'red.png', 'a', '--draw', 'no/where.png'), 'cannot be written'),
        (('ask', 'red.png', 'no ' * 600), "the LLM's context 512"),
        (('chat', 'gone.png'), 'does not exist'),
        (('batch', 'gone.jsonl', '--out', 'a.jsonl'), r'the data file gone.jsonl does not exist'),
        (('batch', 'm/config.json', '--out', 'a.jsonl'), 'not JSON'),
    ],
)
def test_slips_are_answered_with_one_line(geochat, arguments, message):
    command, *rest = arguments
    code, _, _ = geochat(command, '--device', 'cpu', '--max-new-tokens', 2, *rest)
    assert isinstance(code, str) and code.startswith('error: ') and message in code and '\n' not in code


def test_no_model_is_answered(geochat, monkeypatch):
    monkeypatch.delenv('GEOCHAT_MODEL')
    assert geochat('ask', 'red.png', 'a')[0].startswith('error: name the model by --model PATH')


def test_a_dialogue_goes_on_after_a_slip(geochat, monkeypatch, tmp_path):
    lines = iter(
        [
            *('/help', '', '/draw', 'Is a harbor present?', '/refer the red ship', '/reefer a ship', '/refer'),
            *(f'/draw {tmp_path / "o.png"}', '/draw /no/where.png', '/undo', '/clear', 'yes', '/quit', 'never said'),
        ]
    )
    monkeypatch.setattr('builtins.input', lambda prompt: next(lines))
    code, out, _ = geochat('chat', 'red.png', '--device', 'cpu', '--max-new-tokens', 5)
    assert code == 0 and next(lines) == 'never said'
    errors = [line for line in out.splitlines() if line.startswith('error: ')]
    assert len(errors) == 4 and 'no answer yet' in errors[0] and "no task 'reefer'" in errors[1]
    assert 'needs phrase' in errors[2] and 'cannot be written' in errors[3]
    assert Image.open(tmp_path / 'o.png').width >= 512


def test_tasks_of_a_dialogue_take_boxes_and_classes(geochat, monkeypatch):
    asked = []
    stream = Dialogue.stream
    monkeypatch.setattr(Dialogue, 'stream', lambda self, *question: asked.append(question) or stream(self, *question))
    turns = ('/identify 12 5 8 6 180', '/identify 1, 2, 9, 8', '/identify it', '/scene port, big farm', '/identify 1 2')
    lines = iter([*turns, '/quit'])
    monkeypatch.setattr('builtins.input', lambda prompt: next(lines))
    code, out, _ = geochat('chat', 'red.png', '--device', 'cpu', '--max-new-tokens', 2)
    assert code == 0 and out.count('error: ') == 1 and 'error: a box is' in out
    assert asked == [
        ({'boxes': [12, 5, 8, 6, math.pi]}, 'identify'),
        ({'boxes': [1, 2, 9, 8]}, 'identify'),
        ('it', 'identify'),
        ({'classes': ['port', 'big farm']}, 'scene'),
        ({'boxes': [1, 2]}, 'identify'),
    ]


def test_a_dialogue_ends_with_its_input(geochat, monkeypatch):
    def ended(prompt):
        raise EOFError

    monkeypatch.setattr('builtins.input', ended)
    assert geochat('chat', 'red.png', '--device', 'cpu')[0] == 0


def test_a_file_of_questions(geochat, tmp_path):
    path = write_lines(tmp_path / 'q.jsonl', [{'image': f'{number}.png', 'text': 'yes'} for number in range(8)])
    settings = ('--images', tmp_path, '--device', 'cpu', '--max-new-tokens', 3)
    command = ('batch', path, '--out', tmp_path / 'a.jsonl', *settings)
    Image.new('RGB', (4, 4)).save(tmp_path / '0.png')
    code, out, err = geochat(*command)
    assert '8/8' in err and '1 answers' in out and 'and 2 more' in out
    assert code.startswith('error: 7 of 8 questions could not be answered; "error" in their lines of ')
    # Those that failed are asked again, and they alone.
    for number in range(1, 7):
        Image.new('RGB', (4, 4)).save(tmp_path / f'{number}.png')
    code, out, _ = geochat(*command)
    assert code.startswith('error: 1 of 8 questions') and '1 of them of an earlier run' in out
    Image.new('RGB', (4, 4)).save(tmp_path / '7.png')
    code, out, _ = geochat(*command)
    assert code == 0 and '8 answers' in out and '7 of them of an earlier run' in out


def test_a_killed_run_goes_on(model, tmp_path):
    path = write_lines(tmp_path / 'q.jsonl', [{'image': 'red.png', 'text': f'yes {n}'} for n in range(40)])
    command = [
        *(sys.executable, '-c', 'from geochat.console import main; main()', 'batch', path, '--model', str(model)),
        *('--out', str(tmp_path / 'a.jsonl'), '--device', 'cpu', '--max-new-tokens', '20', '--batch-size', '2'),
    ]
    variables = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    answers = tmp_path / 'a.jsonl'
    with subprocess.Popen(command, cwd=model.parent, env=variables, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 120
        while not (answers.is_file() and answers.stat().st_size) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    before = len(answers.read_bytes().splitlines())
    assert 0 < before < 40
    done = subprocess.run(command, cwd=model.parent, env=variables, capture_output=True, text=True, check=True)
    assert '40 answers' in done.stdout and ' 0 of them' not in done.stdout
    assert [json.loads(line)['id'] for line in answers.read_text().splitlines()] == [str(n) for n in range(1, 41)]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('serve', 'm', '--port', 70000), '--port is 0 to 65535, not 70000'),
        (('serve', 'm', '--batch-size', 0), '--batch-size is at least 1, not 0'),
        (('demo', 'm', '--max-picture-side', -1), '--max-picture-side is at least 1, not -1'),
        (('serve', 'm', '--max-tokens', 0), 'max_tokens is a positive number, not 0'),
        (
            ('demo', '.', '--host-name', 'a.example', '--host-name', 'http://b.example'),
            "'http://b.example' is no host's name: one is such as 'demo.example.org', without http://, port and path",
        ),
        (('serve', 'm', '--prefix-memory-mb', 'nan'), '--prefix-memory-mb is a number from 0, not nan'),
        (('demo', 'm', '--prefix-memory-mb', -1), '--prefix-memory-mb is a number from 0, not -1.0'),
        (('serve', 'm', '--max-body-mb', 'nan'), 'max_body_mb is a positive number, not nan'),
        (('serve', 'm', '--answer-seconds', 'inf'), 'answer_seconds is a positive number, not inf'),
    ],
)
def test_a_server_with_settings_that_cannot_be_does_not_start(geochat, arguments, message):
    assert geochat(*arguments)[0] == f'error: {message}'
