"""Every shipped config loads, names parts that exist with settings they take, and reloads as it was dumped."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from geochat.engine import link_parts, load_config
from geochat.engine.config import check_parts
from geochat.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
RECIPES = sorted(CONFIGS.glob('*.py'))


def linked(name: str) -> Config:
    return link_parts(load_config(CONFIGS / name))


@pytest.fixture
def in_root(monkeypatch):
    """Configs name package data relative to the root of the checkout."""
    monkeypatch.chdir(CONFIGS.parent)


@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.stem)
class TestEveryConfig:
    def test_its_header_has_the_command_that_runs_it(self, recipe):
        header = recipe.read_text(encoding='utf-8').split('"""')[1]
        assert f'configs/{recipe.name}' in header

    def test_it_links_and_its_parts_take_their_settings(self, recipe, in_root):
        check_parts(link_parts(load_config(recipe)))

    def test_its_dump_reloads_and_links_to_the_same(self, recipe, in_root, tmp_path):
        cfg = link_parts(load_config(recipe))
        cfg.dump(tmp_path / recipe.name)
        assert link_parts(load_config(tmp_path / recipe.name)).to_dict() == cfg.to_dict()

    def test_its_model_builds_on_the_meta_device(self, recipe, in_root):
        with torch.device('meta'):
            model = MODELS.build(link_parts(load_config(recipe)).model)
        assert any(parameter.requires_grad for parameter in model.parameters())
        assert not any(parameter.requires_grad for parameter in model.vision_encoder.parameters())


def test_bases_have_no_bases():
    for base in CONFIGS.glob('_base_/**/*.py'):
        assert 'read_base' not in base.read_text(encoding='utf-8'), base


class TestGeoChat7B:
    """The original's hyperparameters, as issue point 3 and the reference specification (section 4) have them."""

    def test_parameter_counts(self):
        cfg = linked('geochat_7b.py')
        cfg.model.llm.lora = None
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        counts = [
            sum(parameter.numel() for parameter in part.parameters())
            for part in (model.llm, model.vision_encoder, model.projector)
        ]
        # The tensors of the original's checkpoint, which has 1,297 rows of positions (reference specification, 8).
        assert counts == [6_738_415_616, 304_244_736, 20_979_712]
        weights = model.vision_encoder.state_dict()
        assert weights['model.embeddings.position_embedding.weight'].shape == (1297, 1024)
        assert sum(name.endswith('layer_norm1.weight') for name in weights) == 24

    def test_adapters_are_on_every_linear_layer_but_the_head(self):
        with torch.device('meta'):
            model = MODELS.build(linked('geochat_7b.py').model)
        names = [name for name, _ in model.named_parameters() if name.endswith('lora_A.default.weight')]
        assert len(names) == 32 * 7
        assert all(name.startswith('llm.') for name in names)
        shapes = {tuple(parameter.shape) for name, parameter in model.named_parameters() if 'lora_A' in name}
        assert shapes == {(64, 4096), (64, 11008)}

    def test_training_settings(self):
        cfg = linked('geochat_7b.py')
        assert (cfg.llm.lora.r, cfg.llm.lora.alpha, cfg.llm.lora.dropout) == (64, 16, 0.05)
        assert (cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay) == (2e-4, 0)
        assert (cfg.param_scheduler.warmup_ratio, cfg.train_cfg.max_epochs) == (0.03, 1)
        assert cfg.train_dataloader.batch_size * cfg.train_cfg.accumulation * 3 == 144
        assert cfg.strategy.zero_stage == 2
        assert (cfg.optim_wrapper.dtype, cfg.llm.dtype) == ('bfloat16', 'bfloat16')

    def test_pictures_and_texts(self):
        dataset = linked('geochat_7b.py').train_dataloader.dataset
        assert dataset.processor.image_transform.size == 504
        assert dataset.processor.max_length == 2048
        assert dataset.processor.tokenizer == 'checkpoints/vicuna-7b-v1.5'
        assert dataset.processor.chat_template.type == 'geochat.prompts.VicunaV1'


class TestGeoChatTiny:
    def test_the_llm_has_a_row_for_every_token(self):
        from geochat.datasets.scenes.vocabulary import build_tokenizer

        assert linked('geochat_tiny.py').llm.config.vocab_size == build_tokenizer().get_vocab_size()

    def test_it_is_tested_on_what_issue_2_asks_for(self):
        cfg = linked('geochat_tiny.py')
        assert list(cfg.benchmarks) == ['scene', 'presence', 'counting', 'refer', 'identify']
        assert cfg.test_after_training is True
        assert cfg.test_cfg.comparisons == ('majority', 'grey', 'angle_0')
        assert cfg.data_preparation[0].num_test >= 500
