"""Every shipped config loads, names parts that exist with settings they take, and reloads as it was dumped."""

import importlib.util
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


def buildable(cfg: Config) -> Config:
    """Leave weights in 4 bits out where bitsandbytes is not installed."""
    if importlib.util.find_spec('bitsandbytes') is None:
        cfg.model.llm.pop('quantization', None)
    return cfg


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
            model = MODELS.build(buildable(link_parts(load_config(recipe))).model)
        assert any(parameter.requires_grad for parameter in model.parameters())
        assert not any(parameter.requires_grad for parameter in model.vision_encoder.parameters())


def test_bases_have_no_bases_but_the_list_of_all_benchmarks():
    found = [base for base in CONFIGS.glob('_base_/**/*.py') if 'read_base' in base.read_text(encoding='utf-8')]
    assert found == [CONFIGS / '_base_' / 'benchmarks' / 'all.py']


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


def global_batch(cfg: Config, gpus: int) -> int:
    return cfg.train_dataloader.batch_size * cfg.train_cfg.get('accumulation', 1) * gpus


def trained_parts(cfg: Config) -> dict[str, int]:
    """Build a config's model on the meta device and return the number of trained weights of each part."""
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    return {
        name: sum(weight.numel() for weight in part.parameters() if weight.requires_grad)
        for name, part in model.named_children()
        if name in ('vision_encoder', 'projector', 'llm')
    }


class TestProjectorPretraining:
    """LLaVA-1.5's first stage (arXiv 2310.03744, table 9 and section A), as the issue has it."""

    def test_only_the_projector_is_trained(self):
        assert trained_parts(linked('geochat_7b_pretrain.py')) == {
            'vision_encoder': 0,
            'projector': 1024 * 4096 + 4096 + 4096 * 4096 + 4096,
            'llm': 0,
        }

    def test_training_settings(self):
        cfg = linked('geochat_7b_pretrain.py')
        assert (cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay) == (2e-3, 0)
        assert (cfg.param_scheduler.warmup_ratio, cfg.train_cfg.max_epochs) == (0.03, 1)
        assert global_batch(cfg, 8) == 256
        processor = cfg.train_dataloader.dataset.processor
        assert processor.chat_template.type == 'geochat.prompts.Plain'
        assert processor.image_transform.size == 336
        assert 'source_codec' not in cfg.train_dataloader.dataset


class TestGroundingStage:
    """The paper's second stage (arXiv 2311.15826, section 5.1); which records is said by its author."""

    def test_it_goes_on_from_the_first_with_the_records_that_point(self):
        cfg, first = linked('geochat_7b_grounding.py'), linked('geochat_7b.py')
        assert tuple(cfg.train_dataloader.dataset.tasks) == ('[refer]', '[grounding]')
        assert (cfg.train_cfg.max_iters, cfg.train_cfg.get('max_epochs')) == (1600, None)
        assert cfg.load_from == 'work_dirs/geochat_7b/model'
        assert global_batch(cfg, 3) == 144
        assert cfg.model.llm.to_dict() == first.model.llm.to_dict()


class TestFullFineTuning:
    def test_every_weight_of_the_llm_is_trained_under_zero_3(self):
        cfg = linked('geochat_7b_full.py')
        assert trained_parts(cfg) == {'vision_encoder': 0, 'projector': 20_979_712, 'llm': 6_738_415_616}
        assert cfg.strategy.zero_stage == 3
        assert cfg.optim_wrapper.optimizer.lr == 2e-5
        assert global_batch(cfg, 8) == 144


class TestQLoRA:
    def test_it_is_the_7b_recipe_over_weights_in_4_bits(self):
        cfg, whole = linked('geochat_7b_qlora.py'), linked('geochat_7b.py')
        assert cfg.llm.pop('quantization') == {'kind': 'nf4', 'double_quantization': True}
        assert cfg.llm == whole.llm
        assert cfg.optim_wrapper == whole.optim_wrapper
        assert cfg.load_from == whole.load_from
        assert global_batch(cfg, 1) == 144


class TestGeoChat13B:
    def test_parameter_counts(self):
        cfg = linked('geochat_13b.py')
        cfg.model.llm.lora = None
        # Llama-13B's published number of weights (arXiv 2302.13971: 13.0 B; exactly, of its 32,000 token checkpoint).
        assert trained_parts(cfg)['llm'] == 13_015_864_320
        assert global_batch(cfg, 8) == 144


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
