"""``tools/train.py`` as a user starts it."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from small_parts import LLM_CONFIG, VISION_CONFIG, tokenizer_folder
from small_run import small_run, write_data

ROOT = Path(__file__).parents[2]


def run(*arguments):
    """Start ``python tools/train.py`` and return its exit code and output."""
    return start([sys.executable, str(ROOT / 'tools' / 'train.py'), *map(str, arguments)])


def start(command, **environment):
    variables = {
        **os.environ,
        'PATH': os.pathsep.join((str(Path(sys.executable).parent), os.environ['PATH'])),
        'PYTHONPATH': os.pathsep.join((str(ROOT), str(ROOT / 'tests'))),
        'OMP_NUM_THREADS': '1',
        **environment,
    }
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240, check=False)
    return result.returncode, result.stdout + result.stderr


def run_on_two(*arguments):
    """Start ``tools/dist_train.sh`` with two processes; further arguments are those of ``tools/train.py``."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    config, *others = map(str, arguments)
    return start(['bash', str(ROOT / 'tools' / 'dist_train.sh'), config, '2', *others], PORT=str(port))


@pytest.fixture
def config(tmp_path):
    """Write a small run's config and return its path."""
    path = tmp_path / 'small.py'
    small_run(tmp_path / 'data').dump(path)
    return path


CHILD_OF_7B = """
from mmengine.config import read_base

with read_base():
    from geochat.configs.geochat_7b import *

from mmengine.dataset import DefaultSampler

vision_encoder.update(pretrained=None, config={vision}, image_size=28)
llm.update(pretrained=None, config={llm}, tokenizer={tokenizer!r})
train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader['dataset'].update(data_file={data!r})
train_dataloader['dataset']['image_source'].update(root={images!r})
train_cfg.update(accumulation=2)
benchmarks = dict()
load_from = None
max_length = 96
"""


@pytest.fixture
def child_of_7b(tmp_path):
    """Write the tiny child's config and data, and return its path."""
    write_data(tmp_path)
    config = tmp_path / 'tiny_child.py'
    config.write_text(
        CHILD_OF_7B.format(
            vision=VISION_CONFIG,
            llm=LLM_CONFIG,
            tokenizer=tokenizer_folder(),
            data=str(tmp_path / 'train.jsonl'),
            images=str(tmp_path / 'images'),
        )
    )
    return config


@pytest.mark.slow
def test_a_tiny_child_of_the_7b_config_trains_with_deepspeed_and_no_launcher(child_of_7b, tmp_path):
    own_rate = ['--cfg-options', 'optim_wrapper.paramwise_cfg.projector.lr=1e-3']
    code, output = run(child_of_7b, '--work-dir', tmp_path / 'run', *own_rate)
    assert code == 0, output
    assert 'carry loss' in output  # the first sample is shown
    assert 'step 3/3 (100 %)' in output
    assert ' tokens/s | ' in output
    assert (tmp_path / 'run' / 'iter_3').is_dir()
    assert (tmp_path / 'run' / 'model' / 'model.safetensors').is_file()
    assert 'Failed to search registry' not in output


def check_whole(folder):
    from safetensors.torch import load_file

    assert all(weight.numel() for weight in load_file(folder / 'model.safetensors').values())


@pytest.mark.slow
def test_the_child_saves_and_resumes_on_two_processes(child_of_7b, tmp_path):
    work_dir = ['--work-dir', tmp_path / 'run', '--cfg-options']
    code, output = run_on_two(child_of_7b, *work_dir, 'train_cfg.max_epochs=1')
    assert code == 0, output
    assert 'step 2/2 (100 %)' in output  # twelve records, two in a micro-batch, two micro-batches, two processes
    code, output = run_on_two(child_of_7b, '--resume', *work_dir, 'train_cfg.max_epochs=2')
    assert code == 0, output
    assert 'Training from step 2 on to step 4' in output
    check_whole(tmp_path / 'run' / 'model')


@pytest.mark.slow
def test_zero_3_leaves_whole_weights_in_the_model_folder(child_of_7b, tmp_path):
    code, output = run_on_two(child_of_7b, '--work-dir', tmp_path / 'run', '--cfg-options', 'strategy.zero_stage=3')
    assert code == 0, output
    check_whole(tmp_path / 'run' / 'model')


@pytest.mark.slow
def test_train_resume_and_mixed_precision(config, tmp_path):
    options = ['--work-dir', tmp_path / 'run', '--amp', '--cfg-options']
    code, output = run(config, *options, 'train_cfg.max_iters=2')
    assert code == 0, output
    assert "type='AmpOptimWrapper'" in (tmp_path / 'run' / 'small.py').read_text()
    code, output = run(config, '--resume', *options, 'train_cfg.max_iters=4')
    assert code == 0, output
    assert 'Training from step 2 on to step 4' in output
    assert 'step 4/4 (100 %)' in output


@pytest.mark.slow
def test_test_after_training(config, tmp_path):
    code, output = run(config, '--work-dir', tmp_path / 'run', '--cfg-options', 'test_after_training=True')
    assert code == 0, output
    assert (tmp_path / 'run' / 'metrics.json').is_file()


def test_help_is_light():
    code = f'import sys; sys.argv = ["train.py", "--help"]; sys.path.insert(0, {str(ROOT / "tools")!r}); import train\n'
    code += 'try: train.main()\nexcept SystemExit: pass\n'
    code += 'print([m for m in ("torch", "transformers", "mmrotate", "mmengine", "deepspeed") if m in sys.modules])'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert '--cfg-options' in result.stdout
    assert result.stdout.splitlines()[-1] == '[]'


@pytest.fixture
def refused(monkeypatch):
    """Return a function that starts the program in this process: one line must say what is wrong, without a trace."""
    spec = importlib.util.spec_from_file_location('train_tool', ROOT / 'tools' / 'train.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def start(*arguments):
        monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            tool.main()
        return str(end.value.code)

    return start


def test_nothing_to_resume(refused, config, tmp_path):
    message = refused(config, '--resume', '--work-dir', tmp_path / 'new')
    assert 'no checkpoint' in message
    assert str(tmp_path / 'new') in message


def test_work_dir_that_cannot_be_written(refused, config, tmp_path):
    (tmp_path / 'file').touch()
    message = refused(config, '--work-dir', tmp_path / 'file' / 'run')
    assert f"'{tmp_path / 'file' / 'run'}' cannot be written" in message


def test_missing_config(refused, tmp_path):
    assert 'geochat_tny.py' in refused(tmp_path / 'geochat_tny.py')


def test_launcher_without_launched_processes(refused, config, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    message = refused(config, '--launcher', 'pytorch')
    assert 'start the processes with tools/dist_train.sh, torchrun or deepspeed; not set in the' in message


def test_misspelt_setting_of_the_training(refused, config):
    message = refused(config, '--cfg-options', 'train_cfg.acumulation=2')
    assert "'acumulation'" in message
    assert "'accumulation'" in message


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on(config, tmp_path):
    arguments = [config, '--work-dir', tmp_path / 'run', '--cfg-options', 'train_cfg.max_iters=2000']
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), *map(str, arguments)]
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join((str(ROOT), str(ROOT / 'tests'))),
        'OMP_NUM_THREADS': '1',
    }
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run_:
        for line in run_.stdout:
            if 'Saved' in line:
                break
        run_.send_signal(signal.SIGTERM)
        output = run_.stdout.read()
    assert run_.returncode == 143, output
    last = (tmp_path / 'run' / 'last_checkpoint').read_text()
    step = int(last.removeprefix('iter_'))
    expected = (
        f'SIGTERM ended the training after step {step} of 2000; all is saved in {tmp_path}/run/{last}. Go on with'
    )
    assert output.splitlines()[-1].startswith(expected)
    code, output = run(*arguments[:3], '--resume', '--cfg-options', f'train_cfg.max_iters={step + 2}')
    assert code == 0, output
    assert f'Training from step {step} on to step {step + 2}' in output
