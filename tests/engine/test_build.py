"""From a config to a runner: what is asked on the command line arrives, and what cannot work is said at once."""

import copy
import logging

import pytest
from small_run import small_run

from geochat.engine import ConfigError, build_runner, load_config
from geochat.engine.build import prepare_config
from geochat.engine.checkpoint import save_model
from geochat.models.weights import WeightsError
from geochat.registry import PART_REGISTRIES


def weights(runner):
    return {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}


def test_a_run_trains_dumps_its_linked_config_and_the_dump_builds_the_same(tmp_path, caplog):
    small_run(tmp_path).dump(tmp_path / 'small.py')
    with caplog.at_level(logging.WARNING):
        runner = build_runner(tmp_path / 'small.py')
    assert 'Failed to search registry' not in caplog.text
    first = weights(runner)
    runner.train()
    assert any((first[name] != tensor).any() for name, tensor in runner.model.state_dict().items())
    dumped = tmp_path / 'run' / 'small.py'
    again = build_runner(dumped)
    assert again.cfg.to_dict() == runner.cfg.to_dict()
    assert {name: tensor.shape for name, tensor in weights(again).items()} == {n: t.shape for n, t in first.items()}
    assert all((first[name] == tensor).all() for name, tensor in weights(again).items())  # the seed is in the config


def test_nothing_fails_to_be_found_in_a_registry(tmp_path, capfd):
    runner = build_runner(small_run(tmp_path))
    runner.train()
    runner.test()
    output = capfd.readouterr()
    assert 'Failed to search registry' not in output.out + output.err


def test_options_reach_the_run(tmp_path):
    runner = build_runner(
        small_run(tmp_path),
        ['box_codec.sense=counter_clockwise', 'train_cfg.max_iters=1', 'vision_encoder.image_size=56'],
        work_dir=tmp_path / 'elsewhere',
    )
    assert runner.cfg.train_dataloader.dataset.box_codec.sense == 'counter_clockwise'
    assert runner.cfg.test_cfg.processor.image_transform['size'] == 56
    assert runner.model.vision_encoder.image_size == 56
    assert runner.work_dir == str(tmp_path / 'elsewhere')


def test_the_work_dir_is_named_after_the_config(tmp_path, monkeypatch):
    cfg = small_run(tmp_path)
    cfg.pop('work_dir')
    cfg.dump(tmp_path / 'small.py')
    monkeypatch.chdir(tmp_path)
    assert prepare_config(tmp_path / 'small.py').work_dir == 'work_dirs/small'


@pytest.mark.parametrize('key', ['model.llm.attention', 'train_dataloader.dataset.processor.max_length'])
def test_an_option_for_a_place_that_linking_fills(tmp_path, key):
    with pytest.raises(ConfigError, match=f'{key} is filled in from the five parts at the top'):
        prepare_config(small_run(tmp_path), {key: 3})


def test_an_option_for_a_batch_size_of_a_sampler(tmp_path):
    options = {'train_dataloader.sampler.type': 'LengthGroupedSampler', 'train_dataloader.sampler.batch_size': 3}
    with pytest.raises(ConfigError, match=r'sampler\.batch_size is filled in from the data loader: set it there'):
        prepare_config(small_run(tmp_path), options)


def test_a_misspelt_setting_is_found_before_anything_is_built(tmp_path):
    with pytest.raises(ConfigError, match=r"benchmarks\.refer\.reader: .*no setting 'typs': did you mean 'types'"):
        build_runner(small_run(tmp_path), {'benchmarks.refer.reader.typs': ['ref']})


def test_a_work_dir_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match=r"the work directory '.*file/run' cannot be written: Not a directory"):
        build_runner(small_run(tmp_path), work_dir=tmp_path / 'file' / 'run')


def test_nothing_to_resume(tmp_path):
    with pytest.raises(ConfigError, match=r'--resume: there is no checkpoint in .*run'):
        build_runner(small_run(tmp_path), resume=True)


def test_a_run_resumes_from_its_checkpoint(tmp_path):
    runner = build_runner(small_run(tmp_path))
    runner.train()
    resumed = build_runner(small_run(tmp_path), {'train_cfg.max_iters': 4}, resume=True)
    resumed.train()
    assert resumed.iter == 4


def test_amp(tmp_path):
    runner = build_runner(small_run(tmp_path), amp=True)
    runner.train()
    assert type(runner.optim_wrapper).__module__ == 'geochat.engine.optimization'
    with pytest.raises(ConfigError, match='--amp: an optim_wrapper of type ApexOptimWrapper'):
        build_runner(small_run(tmp_path), {'optim_wrapper.type': 'ApexOptimWrapper'}, amp=True)


class TestWeights:
    @pytest.fixture
    def folder(self, tmp_path):
        runner = build_runner(small_run(tmp_path), {'randomness.seed': 1})
        parts = {name: runner.cfg[name] for name in PART_REGISTRIES}
        return save_model(runner.model, parts, tmp_path / 'model')

    @pytest.mark.parametrize('training', [True, False])
    def test_load_from_a_model_folder(self, tmp_path, folder, training):
        runner = build_runner(small_run(tmp_path), {'randomness.seed': 2}, load_from=folder, training=training)
        expected = build_runner(small_run(tmp_path), {'randomness.seed': 1})
        assert all((tensor == expected.model.state_dict()[name]).all() for name, tensor in weights(runner).items())

    def test_loaded_weights_are_not_overwritten_when_training_starts(self, tmp_path, folder):
        runner = build_runner(
            small_run(tmp_path), {'optim_wrapper.optimizer.lr': 0.0, 'randomness.seed': 2}, load_from=folder
        )
        before = weights(runner)
        runner.train()
        assert all((tensor == before[name]).all() for name, tensor in weights(runner).items())

    def test_load_from_a_checkpoint_of_a_run(self, tmp_path):
        runner = build_runner(small_run(tmp_path))
        runner.train()
        (checkpoint,) = (tmp_path / 'run').glob('iter_*')
        tested = build_runner(small_run(tmp_path), load_from=checkpoint, training=False)
        assert all((tensor == runner.model.state_dict()[name]).all() for name, tensor in weights(tested).items())

    def test_weights_that_do_not_fit(self, tmp_path, folder):
        with pytest.raises(WeightsError, match='embed_tokens'):
            build_runner(small_run(tmp_path), {'llm.config.hidden_size': 48}, load_from=folder)

    def test_weights_that_are_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='nowhere'):
            build_runner(small_run(tmp_path), load_from=tmp_path / 'nowhere')


def test_testing_needs_nothing_of_training(tmp_path):
    cfg = small_run(tmp_path, strategy={'type': 'DeepSpeedStrategy'})
    (tmp_path / 'train.jsonl').unlink()
    runner = build_runner(cfg, training=False)
    assert type(runner).__name__ == 'GeoChatRunner'
    assert 'train_dataloader' not in runner.cfg


def test_a_benchmark_that_cannot_run_is_known_before_training(tmp_path):
    cfg = small_run(tmp_path, test_after_training=True)
    (tmp_path / 'refer.jsonl').unlink()
    with pytest.raises(FileNotFoundError, match=r'refer\.jsonl'):
        build_runner(cfg)


def test_no_benchmarks_to_test_with(tmp_path):
    with pytest.raises(ConfigError, match='the config has no benchmarks to test with'):
        build_runner(small_run(tmp_path, benchmarks={}), training=False)


def test_a_strategy_does_not_test(tmp_path):
    cfg = small_run(tmp_path, test_after_training=True, strategy={'type': 'DeepSpeedStrategy'})
    with pytest.raises(ConfigError, match='test_after_training does not work with a strategy'):
        build_runner(cfg)


def test_a_model_that_is_frozen_throughout_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='nothing is trained'):
        build_runner(small_run(tmp_path), {'llm.frozen': True, 'model.frozen_projector': True})


def test_a_strategy_needs_no_settings_of_the_environment(tmp_path):
    cfg = small_run(tmp_path, strategy={'type': 'DeepSpeedStrategy', 'zero_stage': 1})
    assert 'env_cfg' not in cfg
    assert prepare_config(cfg).env_cfg == {}


def test_data_is_prepared_before_anything_reads_it(tmp_path):
    cfg = small_run(tmp_path, data_preparation=[{'type': 'small_run.SmallData', 'folder': str(tmp_path)}])
    (tmp_path / 'train.jsonl').unlink()
    build_runner(cfg).train()


def test_a_config_that_was_loaded_is_not_changed(tmp_path):
    small_run(tmp_path).dump(tmp_path / 'small.py')
    cfg = load_config(tmp_path / 'small.py')
    before = copy.deepcopy(cfg.to_dict())
    build_runner(cfg, {'max_length': 32})
    assert cfg.to_dict() == before
