"""Checkpoints of a run: which are kept, which one a run goes on from, and that it goes on exactly."""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from small_run import small_run
from toy_training import NoMoreRoom, ToyModel, toy_config, toy_val_dataloader

from geochat.apis import load_model
from geochat.engine import ConfigError, build_runner
from geochat.engine.checkpoint import load_checkpoint
from geochat.engine.files import WriteError
from geochat.engine.hooks import ModelFolderHook
from geochat.engine.interruption import TrainingInterrupted
from geochat.engine.run_checkpoint import find_checkpoint
from geochat.models.weights import WeightsError
from geochat.registry import HOOKS, MODELS

STEPS = 10


@MODELS.register_module()
class DropoutModel(ToyModel):
    """The toy with everything that draws: dropout, and a loss that hangs on Python's and NumPy's generators."""

    def forward(self, input_ids, labels, mode='tensor'):
        result = super().forward(input_ids, labels, mode)
        if mode == 'loss' and self.training:
            noise = nn_dropout(torch.ones(8)).mean() + random.random() + np.random.rand()
            result['loss'] = result['loss'] * (1 + 0.1 * noise)
        return result


def nn_dropout(tensor):
    return torch.nn.functional.dropout(tensor, 0.5)


@HOOKS.register_module()
class StopAt(Hook):
    """Sends a signal to the own process in the middle of a step."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number = step, number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.step:
            os.kill(os.getpid(), self.number)


def losses_of(runner):
    return list(runner.message_hub.get_scalar('train/loss').data[0])


def settings(**changes):
    return {
        'model': {'type': 'DropoutModel'},
        'train_cfg': {'type': 'TrainLoop', 'max_iters': STEPS, 'accumulation': 2, 'val_interval': 3},
        'val_dataloader': toy_val_dataloader(),
        'val_cfg': {'type': 'ValLoop'},
        'val_evaluator': {},
        **changes,
    }


def checkpoint_hook(**changes):
    return {'default_hooks': {**toy_config()['default_hooks'], 'checkpoint': {'type': 'CheckpointHook', **changes}}}


def folders(work_dir):
    return sorted(path.name for path in Path(work_dir).glob('iter_*'))


@pytest.mark.parametrize('stop_at', [3, 8])
@pytest.mark.parametrize('changes', [{}, {'custom_hooks': [{'type': 'EMAHook'}]}], ids=['plain', 'ema'])
def test_an_interrupted_run_goes_on_exactly(toy_runner, tmp_path, stop_at, changes):
    whole = toy_runner(**settings(**changes))
    whole.train()
    work_dir = str(tmp_path / 'run')
    stop = {'custom_hooks': [*changes.get('custom_hooks', ()), {'type': 'StopAt', 'step': stop_at}]}
    with pytest.raises(TrainingInterrupted, match=f'SIGTERM ended the training after step {stop_at} of 10; .*--resume'):
        toy_runner(**settings(**stop), work_dir=work_dir).train()
    assert (tmp_path / 'run' / 'last_checkpoint').read_text() == f'iter_{stop_at}'
    torch.manual_seed(99)
    resumed = toy_runner(**settings(**changes), work_dir=work_dir, resume=True)
    resumed.train()
    assert losses_of(resumed) == losses_of(whole)
    assert resumed.message_hub.get_scalar('val/loss').data[0].tolist() == (
        whole.message_hub.get_scalar('val/loss').data[0].tolist()
    )
    torch.testing.assert_close(resumed.model.head.weight, whole.model.head.weight, rtol=0, atol=0)


def test_a_seed_that_the_run_chose_itself_is_kept(toy_runner, tmp_path):
    changes = settings(randomness={'seed': None})
    first = toy_runner(**changes, work_dir=str(tmp_path / 'run'))
    first.train()
    shutil.rmtree(tmp_path / 'run' / 'iter_10')
    resumed = toy_runner(**changes, work_dir=str(tmp_path / 'run'), resume=True)
    resumed.train()
    assert losses_of(resumed) == losses_of(first)


def test_ctrl_c_without_checkpoints_says_that_nothing_was_saved(toy_runner, monkeypatch):
    hooks = {name: hook for name, hook in toy_config()['default_hooks'].items() if name != 'checkpoint'}
    stop = {'type': 'StopAt', 'step': 2, 'number': signal.SIGINT}
    monkeypatch.setattr(signal, 'getsignal', lambda number: signal.SIG_DFL)  # whoever started the tests
    runner = toy_runner(custom_hooks=[stop], default_hooks={**hooks, 'checkpoint': None})
    with pytest.raises(TrainingInterrupted, match='SIGINT ended the training after step 2 of 6; nothing saved it'):
        runner.train()


def test_the_newest_and_the_best_are_kept(toy_runner, tmp_path, monkeypatch):
    scores = iter([3.0, 1.0, 2.0, 2.5, 2.6])
    from geochat.engine.loops import val

    monkeypatch.setattr(val, '_weighted_means', lambda sums, weight: {'loss': next(scores)})
    changes = settings(**checkpoint_hook(interval=2, max_keep_ckpts=2, save_best='loss'))
    changes['train_cfg']['val_interval'] = 2
    toy_runner(**changes, work_dir=str(tmp_path)).train()
    assert folders(tmp_path) == ['iter_10', 'iter_4', 'iter_8']
    assert (tmp_path / 'best_checkpoint').read_text() == 'iter_4'
    assert json.loads((tmp_path / 'iter_4' / 'checkpoint.json').read_text())['metrics'] == {'loss': 1.0}


def test_a_validation_that_gives_no_number_is_never_the_best(toy_runner, tmp_path, monkeypatch):
    scores = iter([float('nan'), 3.0, float('nan'), 2.0, 2.5])
    from geochat.engine.loops import val

    monkeypatch.setattr(val, '_weighted_means', lambda sums, weight: {'loss': next(scores)})
    changes = settings(**checkpoint_hook(interval=2, max_keep_ckpts=1, save_best='loss'))
    changes['train_cfg']['val_interval'] = 2
    toy_runner(**changes, work_dir=str(tmp_path)).train()
    assert folders(tmp_path) == ['iter_10', 'iter_8']
    assert (tmp_path / 'best_checkpoint').read_text() == 'iter_8'


def test_the_best_is_saved_out_of_turn_and_known_again_after_resuming(toy_runner, tmp_path, monkeypatch):
    from geochat.engine.loops import val

    scores = iter([3.0, 1.0, 2.0, 0.5])
    monkeypatch.setattr(val, '_weighted_means', lambda sums, weight: {'loss': next(scores)})
    changes = settings(**checkpoint_hook(interval=4, max_keep_ckpts=1, save_best='loss'))
    with pytest.raises(TrainingInterrupted):
        toy_runner(**changes, custom_hooks=[{'type': 'StopAt', 'step': 7}], work_dir=str(tmp_path)).train()
    assert folders(tmp_path) == ['iter_6', 'iter_7']
    toy_runner(**changes, work_dir=str(tmp_path), resume=True).train()
    assert (tmp_path / 'best_checkpoint').read_text() == 'iter_10'
    assert folders(tmp_path) == ['iter_10']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'by_epoch': True}, 'by_epoch=False'),
        ({'interval': 0}, 'interval=0'),
        ({'max_keep_ckpts': 0}, 'max_keep_ckpts=0'),
        ({'save_best': 'acc'}, "'acc' is none of the metrics loss"),
    ],
)
def test_settings_that_make_no_sense(toy_runner, changes, message):
    with pytest.raises(ConfigError, match=message):
        toy_runner(**settings(**checkpoint_hook(**changes))).train()


def test_the_best_needs_a_validation(toy_runner):
    with pytest.raises(ConfigError, match='save_best needs a validation'):
        toy_runner(**checkpoint_hook(save_best='loss')).train()


def test_mmengines_hook_is_refused(toy_runner):
    with pytest.raises(ConfigError, match=r'take geochat\.engine\.hooks\.CheckpointHook'):
        hooks = {**toy_config()['default_hooks'], 'checkpoint': {'type': 'mmengine.CheckpointHook'}}
        toy_runner(default_hooks=hooks).train()


@pytest.fixture
def work_dir(toy_runner, tmp_path):
    """Four checkpoints of the toy."""
    toy_runner(**settings(**checkpoint_hook(interval=3, max_keep_ckpts=-1)), work_dir=str(tmp_path / 'run')).train()
    assert folders(tmp_path / 'run') == ['iter_10', 'iter_3', 'iter_6', 'iter_9']
    return tmp_path / 'run'


@pytest.fixture
def warnings(monkeypatch):
    said = []
    from geochat.engine import run_checkpoint

    monkeypatch.setattr(run_checkpoint, 'print_log', lambda text, **_: said.append(text))
    return said


def test_the_newest_that_is_whole_is_gone_on_from(work_dir, warnings):
    assert find_checkpoint(work_dir).name == 'iter_10' and not warnings
    (work_dir / 'iter_12.unfinished').mkdir()
    with (work_dir / 'iter_10' / 'model.safetensors').open('r+b') as file:
        file.truncate(100)
    (work_dir / 'iter_9' / 'training_state').unlink()
    assert find_checkpoint(work_dir).name == 'iter_6'
    assert 'iter_12.unfinished was being written when the run ended; passed over' in warnings[0]
    assert 'iter_10 is not a whole checkpoint' in warnings[1] and 'model.safetensors has 100 bytes of' in warnings[1]
    assert 'training_state is missing' in warnings[2]
    for step in (6, 3):
        (work_dir / f'iter_{step}' / 'checkpoint.json').write_text('{')
    with pytest.raises(
        ConfigError, match=r'(?s)no checkpoint in .* to go on from.*iter_3.*checkpoint\.json is damaged'
    ):
        find_checkpoint(work_dir)


def test_an_earlier_checkpoint_can_be_named(work_dir, warnings, toy_runner):
    (work_dir / 'last_checkpoint').write_text('iter_6')
    assert find_checkpoint(work_dir).name == 'iter_6'
    runner = toy_runner(
        **settings(**checkpoint_hook(interval=4, max_keep_ckpts=1)), work_dir=str(work_dir), resume=True
    )
    runner.train()
    assert folders(work_dir) == ['iter_10', 'iter_9']  # of another future: not ours to delete
    (work_dir / 'last_checkpoint').write_text('iter_7')
    assert find_checkpoint(work_dir).name == 'iter_10'
    assert warnings[-1].endswith('names iter_7, which is not there; passed over')


def test_a_run_begun_anew_warns_of_an_earlier_ones_checkpoints(work_dir, toy_runner, monkeypatch):
    runner, said = toy_runner(**settings(), work_dir=str(work_dir)), []
    monkeypatch.setattr(runner.logger, 'warning', said.append)
    runner.train()
    assert any(re.search('has checkpoints of an earlier run, up to iter_10. .*--resume goes on', text) for text in said)


def test_an_unfinished_checkpoint_is_cleared_away(work_dir, toy_runner):
    for name in ('iter_12.unfinished', 'iter_2.replaced'):
        (work_dir / name / 'inner').mkdir(parents=True)
    toy_runner(**settings(**checkpoint_hook(max_keep_ckpts=1)), work_dir=str(work_dir), resume=True).train()
    assert folders(work_dir) == ['iter_10', 'iter_3', 'iter_6', 'iter_9']


def test_a_damaged_file_of_the_right_size_is_named(work_dir, toy_runner):
    path = work_dir / 'iter_10' / 'training_state'
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(WeightsError, match='iter_10/training_state cannot be read, it is damaged'):
        toy_runner(**settings(), work_dir=str(work_dir), resume=True).train()
    path = work_dir / 'iter_10' / 'model.safetensors'
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(WeightsError, match=r'iter_10/model\.safetensors is not a whole safetensors file'):
        toy_runner(**settings(), work_dir=str(work_dir), resume=True)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (('train_cfg', 'accumulation', 3), r'train_cfg\.accumulation was 2 when the checkpoint was made and 3 now'),
        (('train_dataloader', 'batch_size', 4), r'train_dataloader\.batch_size was 2 .* 4 now'),
        (('train_dataloader', 'dataset', {'type': 'toy_training.ToyData', 'size': 30}), 'records was 24 .* 30 now'),
    ],
)
def test_a_position_that_means_another_record_is_refused(work_dir, toy_runner, change, message):
    changed = {**settings(), 'train_dataloader': dict(toy_config()['train_dataloader'])}
    changed[change[0]][change[1]] = change[2]
    with pytest.raises(ConfigError, match=message):
        toy_runner(**changed, work_dir=str(work_dir), resume=True).train()


@MODELS.register_module()
class Unfrozen(DropoutModel):
    def __init__(self):
        super().__init__()
        self.table.weight.requires_grad_(True)


@MODELS.register_module()
class Wider(DropoutModel):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(8, 20)


def test_a_checkpoint_of_another_model_is_refused(work_dir, toy_runner):
    with pytest.raises(WeightsError, match=r'head\.weight is \(16, 8\), the model has \(20, 8\)'):
        toy_runner(**settings(model={'type': 'Wider'}), work_dir=str(work_dir), resume=True)
    with pytest.raises(ConfigError, match=r'it trained 2 tensors and this config trains 3; 1 differ.*table\.weight'):
        toy_runner(**settings(model={'type': 'Unfrozen'}), work_dir=str(work_dir), resume=True).train()


def test_the_state_of_another_strategy_is_refused(work_dir, toy_runner):
    path = work_dir / 'iter_10' / 'checkpoint.json'
    path.write_text(path.read_text().replace('no strategy', 'DeepSpeed ZeRO-3'))
    with pytest.raises(ConfigError, match=r'is of a training with DeepSpeed ZeRO-3, and .* no strategy'):
        toy_runner(**settings(), work_dir=str(work_dir), resume=True).train()


class TestModelFolder:
    """A checkpoint of a GeoChat run is a model folder of what was trained."""

    @pytest.fixture
    def pretrained(self, tmp_path):
        """Folders of a vision encoder and an LLM to start from."""
        runner = build_runner(small_run(tmp_path / 'start'))
        runner.model.vision_encoder.model.save_pretrained(tmp_path / 'clip')
        runner.model.llm.model.save_pretrained(tmp_path / 'llama')
        return tmp_path

    def run(self, pretrained, resume=False, **changes):
        lora = {'r': 2, 'alpha': 4, 'dropout': 0.2}
        options = {
            'vision_encoder.pretrained': str(pretrained / 'clip'),
            'llm.pretrained': str(pretrained / 'llama'),
            'llm.lora': lora,
            **changes,
        }
        return build_runner(small_run(pretrained / 'data'), options, resume=resume)

    def test_it_has_what_was_trained_and_the_projector(self, pretrained):
        from safetensors.torch import load_file

        runner = self.run(pretrained, **{'custom_hooks': [{'type': 'ModelFolderHook'}], 'model.frozen_projector': True})
        runner.train()
        folder = pretrained / 'data' / 'run' / 'iter_2'
        names = load_file(folder / 'model.safetensors')
        assert {name.split('.')[0] for name in names} == {'projector', 'llm'}
        assert all('lora' in name for name in names if name.startswith('llm.'))
        expected = runner.model.state_dict()
        for place in (folder, folder.with_name('model')):
            weights = load_model(place).state_dict()
            assert all(torch.equal(weights[name], expected[name]) for name in expected)

    def test_its_start_is_named_where_it_was_not_the_pretrained_parts(self, pretrained):
        start = self.run(pretrained, **{'llm.lora': None})
        with torch.no_grad():
            start.model.llm.model.get_input_embeddings().weight.zero_()
        torch.save(start.model.state_dict(), pretrained / 'start.pth')
        runner = self.run(pretrained, load_from=str(pretrained / 'start.pth'))
        runner.train()
        folder = pretrained / 'data' / 'run' / 'iter_2'
        assert not load_model(folder).llm.model.get_input_embeddings().weight.any()
        other = self.run(pretrained).model
        load_checkpoint(other, folder)
        assert not other.llm.model.get_input_embeddings().weight.any()

    def test_weights_that_it_should_have_are_missed(self, pretrained):
        from safetensors.torch import load_file, save_file

        runner = self.run(pretrained)
        runner.train()
        path = pretrained / 'data' / 'run' / 'iter_2' / 'model.safetensors'
        weights = load_file(path)
        weights.pop(next(name for name in weights if 'lora_B' in name))
        save_file(weights, path)
        with pytest.raises(WeightsError, match=r'missing \(1\): .*lora_B'):
            load_model(path.parent)

    def test_adapters_of_another_scale_are_refused(self, pretrained):
        self.run(pretrained).train()
        folder = pretrained / 'data' / 'run' / 'iter_2'
        other = {'llm.lora': {'r': 2, 'alpha': 8}}
        with pytest.raises(WeightsError, match=r'rank 2, scale 2 .* the model has 2, 4 .* lora=dict\(r=2, alpha=4'):
            load_checkpoint(self.run(pretrained, **other).model, folder)
        with pytest.raises(WeightsError, match='rank 2, scale 2'):
            self.run(pretrained, **other, resume=True)

    def test_what_it_lies_over_must_be_there(self, pretrained):
        self.run(pretrained).train()
        model = self.run(pretrained).model
        (pretrained / 'clip').rename(pretrained / 'gone')
        with pytest.raises(FileNotFoundError, match=r'iter_2 has only what was trained, .* no weights at .*clip'):
            load_checkpoint(model, pretrained / 'data' / 'run' / 'iter_2')

    def test_weights_in_4_bits_are_not_written_whole(self, pretrained):
        hook = ModelFolderHook(whole=True)
        runner = self.run(pretrained)
        runner.cfg.llm.quantization = {'kind': 'nf4'}
        with pytest.raises(ConfigError, match=r'whole=True: weights in 4 bits .*merge_lora\.py'):
            hook.before_train(runner)

    def test_parts_that_start_at_random_are_saved_whole(self, tmp_path):
        runner = build_runner(small_run(tmp_path))
        runner.train()
        weights = load_model(tmp_path / 'run' / 'iter_2').state_dict()
        assert all(torch.equal(weights[name], tensor) for name, tensor in runner.model.state_dict().items())


def train_without_room(runner, room, pipe):
    """Train until it fails, and send the error; the log goes nowhere, since it needs room too."""
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    runner.register_hook(NoMoreRoom(room))
    try:
        runner.train()
    except WriteError as error:
        pipe.send(str(error))
    pipe.close()


@pytest.mark.parametrize(('room', 'name'), [(100, 'model.safetensors'), (4000, 'training_state')])
def test_a_full_disk_leaves_the_previous_checkpoint_whole(toy_runner, tmp_path, room, name):
    hooks = {**checkpoint_hook(interval=2)['default_hooks'], 'logger': None}
    runner = toy_runner(default_hooks=hooks, work_dir=str(tmp_path))
    received, sent = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context('fork').Process(target=train_without_room, args=(runner, room, sent))
    process.start()
    process.join(60)
    sent.close()
    assert re.search(rf'(?s)iter_4.unfinished/{name} cannot be written \(.* free .*--resume', received.recv())
    assert folders(tmp_path) == ['iter_2']
    resumed = toy_runner(work_dir=str(tmp_path), resume=True)
    resumed.train()
    assert resumed.iter == 6
