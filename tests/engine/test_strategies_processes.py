"""Trainings in processes of their own: every strategy does what one plain process does, loads what it loads, resumes.

One pair of processes makes all trainings on two processes, in turn, and one process those without a launcher: starts
take longer than these trainings.
"""

import json
import shutil

import pytest
import torch
from originals import save_original
from processes import train_in_processes
from safetensors.torch import load_file, save_file
from small_parts import small_model, small_parts
from toy_training import toy_config, toy_val_dataloader
from uneven_training import uneven_config

from geochat.engine.checkpoint import gather_tensors, save_model
from geochat.models import GeoChat

FEW = 4
"""Steps of a short training."""

SOURCES = ('checkpoint.pth', 'model', 'adapter', 'original')
"""Weights to start from: a file, a model folder, a folder of PEFT's adapter, a folder of the original."""


def zero(stage, **more):
    """Return a strategy; under ZeRO-3 it lets go of each weight after its use, as it does with large ones."""
    settings = {'zero_optimization': {'stage3_param_persistence_threshold': 0}} if stage == 3 else {}
    return {'strategy': {'type': 'DeepSpeedStrategy', 'zero_stage': stage, 'settings': settings, **more}}


def uneven_runs():
    """Return trainings of micro-batches of one record, two of them a step on each of two processes."""
    offload = {'offload_optimizer': True}
    micro = {'text_only': True, 'steps': FEW, 'reduction': 'micro'}
    changes = {
        'ddp_micro': micro,
        'zero1': zero(1),
        'zero2': zero(2),
        'zero2_offload': {**zero(2, **offload), 'steps': FEW},
        'zero2_micro': {**zero(2), **micro},
        'zero3': zero(3),
        'zero3_text': {**zero(3), 'text_only': True},
        'zero3_micro': {**zero(3), **micro},
        'zero3_offload': {**zero(3, **offload, offload_parameters=True), 'steps': FEW},
    }
    return {name: uneven_config(accumulation=2, **change) for name, change in changes.items()}


def loading_config(source, **changes):
    """Return a training of one step without effect from weights at ``source``, with adapters and larger pictures."""
    config = uneven_config(accumulation=2, steps=1, load_from=str(source), **changes)
    config['model']['vision_encoder']['image_size'] = 56
    for loader in ('train_dataloader', 'val_dataloader'):
        config[loader]['dataset']['image_size'] = 56
    config['model']['llm']['lora'] = {'r': 2, 'alpha': 4}
    config['optim_wrapper']['optimizer']['lr'] = 0.0
    return config


def write_sources(folder):
    """Write a model as a file and as a model folder, its adapters alone, and a folder of the original without any."""
    parts = small_parts()
    save_original(small_model(seed=1), folder / 'original')
    parts['llm']['lora'] = {'r': 2, 'alpha': 4}
    torch.manual_seed(1)
    model = GeoChat(**parts)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if 'lora_B' in name:
                weight.normal_()
    torch.save(gather_tensors(model.state_dict(keep_vars=True)), folder / 'checkpoint.pth')
    save_model(model, {**parts, 'task_prompts': {}, 'box_codec': {'type': 'geochat'}}, folder / 'model')
    (folder / 'adapter').mkdir()
    adapter = {name: weight for name, weight in model.llm.model.state_dict().items() if '.lora_' in name}
    named = {f'base_model.model.{name.replace(".default", "")}': weight for name, weight in adapter.items()}
    save_file(named, folder / 'adapter' / 'adapter_model.safetensors')
    settings = {'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4, 'use_dora': False, 'bias': 'none'}
    (folder / 'adapter' / 'adapter_config.json').write_text(json.dumps(settings))


def toy_settings(accumulation, max_iters=8, **more):
    return {
        'train_cfg': {'type': 'TrainLoop', 'max_iters': max_iters, 'accumulation': accumulation, 'val_interval': 4},
        'val_dataloader': toy_val_dataloader(),
        'val_cfg': {'type': 'ValLoop'},
        'val_evaluator': {},
        'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 1e-2}, 'clip_grad': {'max_norm': 0.4}},
        **more,
    }


def unequal_validation():
    """Return a training where rank 0 validates three records and rank 1 two, with a model that waits for all ranks."""
    sampler = {'type': 'DefaultSampler', 'shuffle': False, 'round_up': False}
    return {
        **toy_settings(accumulation=2, find_unused_parameters=False),
        'val_dataloader': {**toy_val_dataloader(), 'sampler': sampler, 'batch_size': 1},
        'model': {'type': 'toy_training.ToyModel', 'exchanges': True},
    }


def resumable_runs():
    """Return trainings that save; an epoch has four steps, the last of them a short one."""
    loader = {**toy_config()['train_dataloader'], 'dataset': {'type': 'toy_training.ToyData', 'size': 28}}
    return {f'saved_zero{n}': {**toy_settings(2), 'train_dataloader': loader, **zero(n)} for n in (2, 3)}


NO_ROOM = {'weights': 0, 'state': 1}
"""Trainings in which one rank cannot write: what, and which rank."""


def runs_without_room():
    """Return trainings whose second checkpoint fails on one rank."""
    hooks = {**toy_config()['default_hooks'], 'logger': None}
    return {
        f'no_room_{name}': {
            **toy_settings(2),
            **zero(2),
            'default_hooks': hooks,
            'custom_hooks': [{'type': 'toy_training.NoMoreRoom', 'room': 100, 'rank': rank}],
        }
        for name, rank in NO_ROOM.items()
    }


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """Return the folder of the trainings on two processes, and the losses of each."""
    folder = tmp_path_factory.mktemp('pair')
    write_sources(folder)
    runs = {'validation': unequal_validation(), **uneven_runs(), **resumable_runs()}
    runs.update({f'from_{name}': loading_config(folder / name, **zero(3)) for name in SOURCES})
    failing = runs_without_room()
    asked = [{**run, 'work_dir': str(folder / name)} for name, run in {**failing, **runs}.items()]
    losses, log = train_in_processes(asked, processes=2)
    losses = losses[len(failing) :]
    assert all(losses), log[-6000:]
    return folder, dict(zip(runs, losses, strict=True))


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """Return the losses of trainings in one process that finds no build tools."""
    folder = tmp_path_factory.mktemp('alone')
    amp = {**toy_settings(4)['optim_wrapper'], 'type': 'AmpOptimWrapper'}
    mixed = uneven_config(accumulation=4, steps=FEW, optim_wrapper=amp)
    mixed['model']['llm'].update(dtype='bfloat16', lora={'r': 2, 'alpha': 4})
    runs = {
        'plain': toy_settings(accumulation=4),
        'zero': {**toy_settings(accumulation=4), **zero(2)},
        'plain_bfloat16': {**toy_settings(accumulation=4), 'optim_wrapper': amp},
        'zero_bfloat16': {**toy_settings(accumulation=4), 'optim_wrapper': amp, **zero(2)},
        'zero2_mixed': {**mixed, **zero(2)},
        'zero3_mixed': {**mixed, **zero(3)},
    }
    asked = [{**run, 'work_dir': str(folder / name)} for name, run in runs.items()]
    losses, log = train_in_processes(asked, PATH='/nonexistent', TORCH_EXTENSIONS_DIR=str(folder / 'extensions'))
    assert all(losses), log[-6000:]
    return dict(zip(runs, losses, strict=True))


def scalars(runner):
    hub = runner.message_hub
    return {name: list(hub.get_scalar(name).data[0]) for name in ('train/loss', 'val/loss')}


@pytest.fixture
def one_process(toy_runner):
    """Return a function that trains without a strategy in this process; a step takes four micro-batches."""

    def train(**changes):
        runner = toy_runner(**uneven_config(accumulation=4, **changes))
        runner.train()
        return scalars(runner)

    return train


def check_equal(losses, expected, rel=1e-4):
    assert losses['train/loss'] == pytest.approx(expected['train/loss'], rel=rel)
    assert losses['val/loss'] == pytest.approx(expected['val/loss'], rel=rel)


@pytest.mark.slow
def test_every_stage_on_two_processes_is_one_process(pair, one_process):
    expected, (_, losses) = one_process(), pair
    assert len(expected['train/loss']) == 20
    assert expected['train/loss'][-1] < 0.75 * expected['train/loss'][0]  # it learns: a curve, not a line
    for name in ('zero1', 'zero2', 'zero3'):
        check_equal(losses[name], expected)
    for name in ('zero2_offload', 'zero3_offload'):
        assert losses[name]['train/loss'] == pytest.approx(expected['train/loss'][:FEW], rel=1e-4)


@pytest.mark.slow
def test_a_rank_without_pictures_stays_in_step(pair, one_process):
    check_equal(pair[1]['zero3_text'], one_process(text_only=True))


@pytest.mark.slow
def test_mean_of_micro_batches(pair, one_process):
    expected = one_process(text_only=True, steps=FEW, reduction='micro')
    for name in ('ddp_micro', 'zero2_micro', 'zero3_micro'):
        check_equal(pair[1][name], expected)


@pytest.mark.slow
@pytest.mark.parametrize('source', SOURCES)
def test_weights_are_loaded_into_a_spread_model(pair, toy_runner, source):
    folder, losses = pair
    plain = toy_runner(**loading_config(folder / source)).model
    expected = gather_tensors(plain.state_dict(keep_vars=True))
    found = load_file(folder / f'from_{source}' / 'weights.safetensors')
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in expected.items()}
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)
    adapter = next(tensor for name, tensor in found.items() if 'lora_B' in name)
    assert adapter.any() == (source != 'original')  # whose adapters are new, and change nothing yet
    assert 0.5 <= losses[f'from_{source}']['held'] < 0.62  # the projector and the adapters wait for the engine


@pytest.mark.slow
def test_validation_makes_as_many_forwards_on_every_rank(pair, alone):
    """Without a third forward on rank 1, rank 0 would wait for ever in the model."""
    assert pair[1]['validation']['val/loss'] == pytest.approx(alone['plain']['val/loss'], rel=1e-5)


@pytest.mark.slow
def test_deepspeed_without_a_launcher_and_without_build_tools(alone):
    check_equal(alone['zero'], alone['plain'], rel=1e-5)


@pytest.mark.slow
def test_bfloat16(alone):
    plain, zero_2 = alone['plain_bfloat16']['train/loss'], alone['zero_bfloat16']['train/loss']
    assert zero_2 == pytest.approx(plain, rel=1e-2)
    assert zero_2 != plain


@pytest.mark.slow
def test_parts_of_another_precision_are_trained_in_that_of_the_run(alone):
    assert alone['zero3_mixed']['train/loss'] == pytest.approx(alone['zero2_mixed']['train/loss'], rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'file'), [('weights', 'model.safetensors'), ('state', 'training_state')])
def test_a_disk_that_is_full_for_one_process_ends_both(pair, name, file):
    """One that went on would wait for the other, in DeepSpeed, for half an hour."""
    folder = pair[0] / f'no_room_{name}'
    for rank in (0, 1):
        error = (folder / f'error_{rank}.txt').read_text()
        assert f'iter_4.unfinished/{file} cannot be written' in error and '--resume' in error
    assert [path.name for path in folder.glob('iter_*')] == ['iter_2']


@pytest.mark.slow
def test_resuming_on_two_processes(pair, tmp_path):
    folder, losses = pair
    asked = []
    for name, run in resumable_runs().items():
        checkpoint = folder / name / 'iter_6'  # an epoch has four steps
        assert not list(checkpoint.parent.glob('*.unfinished'))
        assert (checkpoint.parent / 'last_checkpoint').read_text() == 'iter_8'
        shutil.copytree(checkpoint, tmp_path / name / 'iter_6')
        asked.append({**run, 'work_dir': str(tmp_path / name), 'resume': True})
    resumed, log = train_in_processes(asked, processes=2)
    assert all(resumed), log[-6000:]
    assert log.count('Training from step 6 on to step 8') >= len(asked)
    for name, found in zip(resumable_runs(), resumed, strict=True):
        check_equal(found, losses[name], rel=1e-6)
