"""The stages of GeoChat follow each other: projector, then adapters, then the same adapters for longer."""

import pytest
import torch
from safetensors.torch import load_file
from small_parts import LLM_CONFIG, VISION_CONFIG, small_model, tokenizer_folder
from small_run import small_run

from geochat.engine import build_runner
from geochat.models.weights import WeightsError


@pytest.fixture
def stage(tmp_path):
    """Return a function that builds the run of a stage whose LLM and encoder come pretrained."""
    pretrained = small_model(seed=1)
    pretrained.llm.model.save_pretrained(tmp_path / 'llm')
    pretrained.vision_encoder.model.save_pretrained(tmp_path / 'clip')

    def build(name, load_from=None, **llm):
        cfg = small_run(
            tmp_path,
            vision_encoder={
                'type': 'ClipVisionEncoder',
                'config': dict(VISION_CONFIG),
                'pretrained': str(tmp_path / 'clip'),
            },
            llm={
                'type': 'HFCausalLM',
                'config': dict(LLM_CONFIG),
                'pretrained': str(tmp_path / 'llm'),
                'tokenizer': tokenizer_folder(),
                'chat_template': {'type': 'vicuna_v1'},
                **llm,
            },
            custom_hooks=[{'type': 'ModelFolderHook'}],
        )
        cfg.train_cfg.max_iters = 1
        cfg.param_scheduler.warmup_ratio = 0.0
        return build_runner(cfg, work_dir=tmp_path / name, load_from=load_from)

    return build


def test_projector_then_adapters_then_more_of_them(stage, tmp_path):
    runner = stage('pretrain', frozen=True)
    runner.train()
    saved = load_file(tmp_path / 'pretrain' / 'model' / 'model.safetensors')
    assert all(name.startswith('projector.') for name in saved)

    lora = {'r': 2, 'dropout': 0.0}
    runner = stage('instruct', tmp_path / 'pretrain' / 'model', lora=lora)
    torch.testing.assert_close(runner.model.projector.state_dict()['0.weight'], saved['projector.0.weight'])
    base = small_model(seed=1).llm.model.model.layers[0].mlp.up_proj.weight
    torch.testing.assert_close(runner.model.llm.model.model.layers[0].mlp.up_proj.base_layer.weight, base)
    runner.train()
    trained = {name: weight.clone() for name, weight in runner.model.state_dict().items()}

    runner = stage('grounding', tmp_path / 'instruct' / 'model', lora=lora)
    for name, weight in runner.model.state_dict().items():
        torch.testing.assert_close(weight, trained[name])


def test_adapters_that_lack_one_are_refused(stage, tmp_path):
    from safetensors.torch import save_file

    stage('instruct', lora={'r': 2}).train()
    file = tmp_path / 'instruct' / 'model' / 'model.safetensors'
    weights = load_file(file)
    lost = next(name for name in weights if 'lora_A' in name)
    save_file({name: weight for name, weight in weights.items() if name != lost}, file, metadata={'format': 'pt'})
    with pytest.raises(WeightsError, match=f'missing .*{lost}'):
        stage('grounding', tmp_path / 'instruct' / 'model', lora={'r': 2})
