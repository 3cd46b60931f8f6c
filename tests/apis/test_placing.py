"""Where a model computes and in how many bits: what it says stays the same, or nearly."""

import importlib.util
import json

import pytest
import torch
from PIL import Image
from small_parts import small_parts
from small_run import write_lines

from geochat.apis import GeoChatInferencer, load_assistant, load_conventions
from geochat.apis.batch import answer_file
from geochat.engine import ConfigError
from geochat.engine.checkpoint import save_model
from geochat.generation import GenerationSettings
from geochat.installation import InstallationError
from geochat.models import GeoChat
from geochat.models.weights import weights_digest

SETTINGS = GenerationSettings(max_new_tokens=12)

# There is no GPU here: layers wait on the disk, or elsewhere in memory, and are fetched by the same hooks.
MAPS = {
    'the pictures on the disk': {
        'vision_encoder': 'disk',
        'projector': 'disk',
        'llm.model.model': 'cpu',
        'llm.model.lm_head': 'disk',
    },
    'apart': {
        'vision_encoder': 'cpu',
        'projector': 'disk',
        'llm.model.model.embed_tokens': 'cpu',
        'llm.model.model.rotary_emb': 'cpu',
        'llm.model.model.layers.0': 'cpu',
        'llm.model.model.layers.1': 'disk',
        'llm.model.model.norm': 'disk',
        'llm.model.lm_head': 'disk',
    },
    'auto': 'auto',
}

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec('bitsandbytes') is None, reason='bitsandbytes is not installed'
)


def asked(inferencer):
    pictures = [Image.new('RGB', (40, 28), colour) for colour in ('red', 'blue')]
    words = ['Is a harbor present?', 'How many planes are there?', 'the red ship']
    return inferencer([picture for picture in pictures for _ in words], words * 2)


@pytest.mark.parametrize('name', MAPS)
def test_layers_on_several_devices_answer_as_on_one(inferencer, model_folder, name, tmp_path):
    spread = GeoChatInferencer(model_folder, device_map=MAPS[name], settings=SETTINGS)
    for first, second in zip(asked(spread), asked(inferencer), strict=True):
        assert first.answer == second.answer
        assert first.log_prob == pytest.approx(second.log_prob, abs=1e-4)
    model = spread.assistant.model
    assert (model.llm.model.lm_head.weight.device.type == 'meta') == (name != 'auto')
    # Weights that wait elsewhere are the same ones, so answers may be added to a file of the whole model's.
    assert weights_digest(model) == weights_digest(inferencer.assistant.model)
    path = write_lines(tmp_path / 'q.jsonl', [{'text': 'yes'}])
    answer_file(inferencer, path, tmp_path / 'a.jsonl', progress=False)
    assert answer_file(spread, path, tmp_path / 'a.jsonl', progress=False).taken_over == 1


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'device_map': {'llm': 'cpu'}}, 'device_map cannot be followed: .*vision_encoder'),
        ({'device_map': {'llm': 'cpu', 'eyes': 'cpu'}}, "no module 'eyes'"),
        ({'device_map': {'': 'disk'}}, "every one is named, and none is ''"),
        ({'device_map': {**MAPS['apart'], 'projector': 99}}, 'device_map cannot be followed'),
        (
            {'device_map': {'vision_encoder': 'cpu', 'projector': 'cpu', 'llm': 'disk'}},
            'embeddings have to be on a GPU',
        ),
        ({'device_map': 'balanced'}, "device_map is 'auto', or the device of each module, not 'balanced'"),
        ({'device_map': 'auto', 'device': 'cpu'}, 'leave device and quantization out'),
        ({'device_map': 'auto', 'quantization': '4bit'}, 'leave device and quantization out'),
        ({'quantization': '2bit'}, "quantization is one of 4bit, 8bit, not '2bit'"),
    ],
)
def test_what_cannot_be(model_folder, settings, message):
    with pytest.raises(ConfigError, match=message):
        GeoChatInferencer(model_folder, **settings)


def test_a_loaded_model_stays_where_it_is(inferencer):
    placing = {'device': 'cpu', 'dtype': 'bfloat16', 'quantization': '8bit', 'device_map': 'auto'}
    for name, value in {**placing, 'checkpoint': 'a.pth', 'cfg_options': ['llm.type=a']}.items():
        with pytest.raises(ConfigError, match=f'^{name}: the model is loaded already'):
            GeoChatInferencer(inferencer.assistant, **{name: value})
    with pytest.raises(ConfigError, match=r'^device, dtype, quantization, device_map: '):
        GeoChatInferencer(inferencer.assistant, **placing)
    with pytest.raises(ConfigError, match=r'^cfg_options: .* already'):
        GeoChatInferencer(load_conventions(), cfg_options={'a': 1}, backend=inferencer.backend)
    with pytest.raises(ConfigError, match='name a model, or a backend that has one'):
        GeoChatInferencer(load_conventions())


def test_a_missing_bitsandbytes_is_told(model_folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *more: None if name == 'bitsandbytes' else find(name, *more)
    )
    with pytest.raises(InstallationError, match='pip install bitsandbytes'):
        load_assistant(model_folder, device='cpu', quantization='8bit')


@pytest.fixture(scope='module')
def wide_folder(tmp_path_factory):
    """A model whose layers are wide enough for bitsandbytes."""
    parts = small_parts()
    config = {**parts['llm']['config'], 'hidden_size': 64, 'intermediate_size': 128, 'initializer_range': 0.05}
    parts['llm'] |= {'config': config, 'chat_template': {'type': 'vicuna_v1'}}
    torch.manual_seed(0)
    return save_model(GeoChat(**parts), parts, tmp_path_factory.mktemp('wide') / 'model')


@needs_bitsandbytes
@pytest.mark.parametrize(('quantization', 'bits', 'drift'), [('8bit', torch.int8, 0.05), ('4bit', torch.uint8, 0.3)])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_fewer_bits_change_the_logits_little(wide_folder, quantization, bits, drift, dtype, tmp_path):
    few = GeoChatInferencer(wide_folder, device='cpu', dtype=dtype, quantization=quantization, settings=SETTINGS)
    model, whole = few.assistant.model, load_assistant(wide_folder, device='cpu').model
    layer = model.llm.model.model.layers[0]
    assert layer.self_attn.q_proj.weight.dtype == layer.mlp.down_proj.weight.dtype == bits
    assert model.llm.model.lm_head.weight.dtype == getattr(torch, dtype)
    ids, mask = torch.arange(3, 43).view(2, 20), torch.ones(2, 20, dtype=torch.bool)
    with torch.no_grad():
        exact, rough = whole(ids, mask), model(ids, mask)
    assert 0 < (rough - exact).std() / exact.std() < drift + (0.02 if dtype == 'bfloat16' else 0)
    answers = asked(few)
    assert all(answer.tokens and answer.log_prob < 0 for answer in answers)
    path = write_lines(tmp_path / 'q.jsonl', [{'text': 'yes'}])
    answer_file(few, path, tmp_path / 'a.jsonl', progress=False)
    origin = json.loads((tmp_path / 'a.jsonl.run.json').read_text())
    assert origin['weights'] != weights_digest(whole)
