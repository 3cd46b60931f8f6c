"""Models travel: original, ours and Hugging Face's LLaVA in any direction, and transformers alone gives our answers."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from originals import ORIGINAL_CONFIG, save_original
from PIL import Image
from safetensors.torch import load_file, save_file
from small_adapters import LORA, lora_model, save_adapter
from small_parts import small_model, small_parts, tokenizer_folder

from geochat.apis import load_model
from geochat.converters.convert import convert
from geochat.converters.huggingface import extend_vocabulary
from geochat.converters.shards import _put, write_shards
from geochat.datasets.collate import collate_samples
from geochat.datasets.processor import SampleProcessor
from geochat.engine.checkpoint import load_checkpoint, save_model
from geochat.generation import generate
from geochat.models import GeoChat
from geochat.models.vision_encoders.clip import interpolate_position_table
from geochat.models.weights import WeightsError, stream_weights
from geochat.structures import Message

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[3] / 'shared' / 'parity'))

needs_recordings = pytest.mark.skipif(
    not PARITY.is_dir(), reason=f'no recordings of the original GeoChat at {PARITY} (set GEOCHAT_PARITY)'
)

QUESTIONS = [
    '[refer] where is <p>the  red ship</p> ?',
    'How many planes   are there?  Is a harbor present?',
    '{<12><34><56><78>|<90>}\n\n  two\tno',
]


def picture(width, height):
    return Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8))


PICTURES = [picture(60, 60), picture(90, 41)]


def assert_identical(found: Path, wanted: Path, constants=False):
    """The same names, dtypes and bits."""
    found, wanted = (dict(stream_weights(folder, constants)) for folder in (found, wanted))
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8)), name


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    """A folder in the layout of GeoChat-7B: half precision, shards, constants of float32 among the weights."""
    folder = tmp_path_factory.mktemp('original') / 'model'
    save_original(small_model().half(), folder, 'sharded bin')
    config = {**ORIGINAL_CONFIG, 'torch_dtype': 'float16', 'a field of its own': 1}
    (folder / 'config.json').write_text(json.dumps(config))
    (folder / 'tokenizer_config.json').write_text(json.dumps({'tokenizer_class': 'LlamaTokenizer', 'mine': True}))
    return folder


@pytest.fixture(scope='module')
def ours(tmp_path_factory):
    """A model folder of float32."""
    parts = {**small_parts(), 'box_codec': {'type': 'GeoChatBoxCodec'}}
    parts['llm']['chat_template'] = {'type': 'llava_v1'}
    return save_model(small_model(), parts, tmp_path_factory.mktemp('ours') / 'model')


@pytest.fixture(scope='module')
def hf(ours, tmp_path_factory):
    return convert(ours, tmp_path_factory.mktemp('hf') / 'model', 'hf', shard_bytes=100_000)


def test_original_to_ours_to_original_is_bit_identical(original, tmp_path):
    convert(original, tmp_path / 'ours', 'geochat')
    convert(tmp_path / 'ours', tmp_path / 'back', 'original', shard_bytes=50_000)
    assert len(list((tmp_path / 'back').glob('*.safetensors'))) > 2
    assert_identical(tmp_path / 'back', original, constants=True)
    for name in ('tokenizer.model', 'tokenizer_config.json'):
        assert (tmp_path / 'back' / name).read_bytes() == (original / name).read_bytes()
    assert json.loads((tmp_path / 'back' / 'config.json').read_text()) == json.loads(
        (original / 'config.json').read_text()
    )
    loaded = load_model(tmp_path / 'ours')
    torch.testing.assert_close(loaded.projector[0].weight, load_model(original).projector[0].weight, rtol=0, atol=0)
    load_model(tmp_path / 'back')


def test_original_to_hugging_face_and_all_the_way_back(original, tmp_path):
    convert(original, tmp_path / 'hf', 'hf')
    convert(tmp_path / 'hf', tmp_path / 'ours', 'geochat')
    convert(tmp_path / 'ours', tmp_path / 'back', 'original')
    assert_identical(tmp_path / 'back', original)
    config = json.loads((tmp_path / 'back' / 'config.json').read_text())
    ours = {
        key: value for key, value in ORIGINAL_CONFIG.items() if key not in ('mm_vision_tower', 'transformers_version')
    }
    assert {key: config[key] for key in ours} == {**ours, 'torch_dtype': 'float16'}


def test_ours_to_hugging_face_and_back_is_bit_identical(ours, hf, tmp_path):
    convert(hf, tmp_path / 'back', 'geochat')
    assert_identical(tmp_path / 'back', ours)
    text = 'where is  the red ship </s> <image>'
    back, model = load_model(tmp_path / 'back'), load_model(ours)
    assert back.llm.tokenizer.encode(text) == model.llm.tokenizer.encode(text)


def test_what_transformers_saves_itself_is_read_back(ours, hf, tmp_path):
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    LlavaForConditionalGeneration.from_pretrained(hf).save_pretrained(tmp_path / 'saved')
    processor = AutoProcessor.from_pretrained(hf)
    processor.save_pretrained(tmp_path / 'saved')  # without the SentencePiece model
    convert(tmp_path / 'saved', tmp_path / 'back', 'geochat')
    assert_identical(tmp_path / 'back', ours)
    tokens = load_model(tmp_path / 'back').llm.tokenizer
    assert len(tokens) == 460
    assert tokens.encode(QUESTIONS[0]) == load_model(ours).llm.tokenizer.encode(QUESTIONS[0])


def hugging_face_answers(folder, asked):
    """What transformers alone makes of texts and pictures: inputs, and greedy tokens of up to 12."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not info['missing_keys'] and not info['unexpected_keys']
    processor = AutoProcessor.from_pretrained(folder)
    for text, image, most in asked:
        inputs = processor(images=image, text=text, return_tensors='pt')
        answer = model.generate(**inputs, max_new_tokens=most, do_sample=False)
        yield inputs, answer[0, inputs['input_ids'].shape[1] :].tolist()


def test_transformers_alone_gives_our_tokens_from_picture_and_text(ours, hf):
    model = load_model(ours)
    transform = {'type': 'PadResizeNormalize', **type(model.vision_encoder).image_transform({'image_size': 28})}
    processor = SampleProcessor(str(ours), {'type': 'llava_v1'}, transform)
    cases = [([Message('user', f'<image>\n{question}')], image) for question in QUESTIONS for image in PICTURES]
    asked = [(model.llm.chat_template.prompt(messages), image, 12) for messages, image in cases]
    for (messages, image), (inputs, answer) in zip(cases, hugging_face_answers(hf, asked), strict=True):
        sample = processor.prompt_sample(messages, [image])
        np.testing.assert_allclose(inputs['pixel_values'][0].numpy(), sample['pixels'][0], rtol=0, atol=1e-6)
        pictures = inputs['input_ids'][0] == 460
        assert pictures.sum() == 4
        assert inputs['input_ids'][0][~pictures].tolist() == [index for index in sample['input_ids'] if index >= 0]
        wanted = generate(model, collate_samples([sample], 'left'), 12)[0].ids
        assert answer[: len(wanted)] == wanted
        assert answer[len(wanted) :] in ([], [2])


def test_the_chat_template_is_ours(ours, hf):
    from transformers import AutoProcessor

    messages = [
        {'role': 'user', 'content': [{'type': 'image'}, {'type': 'text', 'text': QUESTIONS[0]}]},
        {'role': 'assistant', 'content': [{'type': 'text', 'text': 'yes'}]},
        {'role': 'user', 'content': 'no?'},
    ]
    said = [Message('user', f'<image>\n{QUESTIONS[0]}'), Message('assistant', 'yes'), Message('user', 'no?')]
    prompt = load_model(ours).llm.chat_template.prompt(said)
    assert AutoProcessor.from_pretrained(hf).apply_chat_template(messages) == prompt


def test_the_row_of_the_picture_never_wins():
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        head = torch.randn(460, 24).to(dtype)
        rows = extend_vocabulary(head)
        assert torch.equal(rows[:-1], head)
        assert (torch.randn(1000, 24) @ rows.float().T).argmax(1).max() < 460


def test_the_position_table_is_stored_at_the_size_of_the_pictures(ours, tmp_path):
    folder = tmp_path / 'larger'
    folder.mkdir()
    for file in ours.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / 'config.json').read_text())
    config['vision_encoder']['image_size'] = 56
    (folder / 'config.json').write_text(json.dumps(config))
    convert(folder, tmp_path / 'hf', 'hf')
    name = 'vision_tower.vision_model.embeddings.position_embedding.weight'
    table = dict(stream_weights(ours))['vision_encoder.model.embeddings.position_embedding.weight']
    found = dict(stream_weights(tmp_path / 'hf'))[name]
    assert torch.equal(found, interpolate_position_table(table, 4))
    assert found.shape == (17, 16)


@pytest.mark.parametrize('dora', [False, True])
def test_merging_is_what_peft_does(tmp_path, dora):
    parts = small_parts()
    parts['llm']['lora'] = {**LORA, 'dora': dora}
    model = lora_model(seed=1, dora=dora)
    for name, weight in model.named_parameters():
        if 'magnitude' in name:
            weight.data.mul_(1.1)
    convert(save_model(model, parts, tmp_path / 'tuned'), tmp_path / 'merged', 'geochat')
    merged = load_model(tmp_path / 'merged')
    assert not any('.lora_' in name for name in merged.state_dict())
    batch = {'input_ids': torch.arange(3, 9)[None], 'attention_mask': torch.ones(1, 6, dtype=torch.bool)}
    torch.testing.assert_close(merged(**batch), model(**batch), rtol=1e-4, atol=1e-5)
    for layer in model.modules():
        if hasattr(layer, 'lora_A'):
            layer.merge()
    wanted = model.state_dict()
    for name, tensor in merged.state_dict().items():
        found = wanted.get(name, wanted.get(name.replace('.weight', '.base_layer.weight')))
        torch.testing.assert_close(tensor, found, rtol=0, atol=0)


def test_a_checkpoint_of_what_was_trained_is_made_whole(tmp_path):
    """Its other weights are in the folders that its parts name, and in 4 bits on the GPU that trained it."""
    small_model(seed=3).vision_encoder.model.save_pretrained(tmp_path / 'clip')
    small_model(seed=3).llm.model.save_pretrained(tmp_path / 'llama')
    parts = small_parts()
    parts['vision_encoder'] = {'type': 'ClipVisionEncoder', 'pretrained': str(tmp_path / 'clip')}
    parts['llm'].update(pretrained=str(tmp_path / 'llama'), lora=LORA)
    model = GeoChat(**parts)
    model.init_weights()
    folder = save_model(model, parts, tmp_path / 'trained', whole=False)
    assert 'llm.model.lm_head.weight' not in dict(stream_weights(folder))
    config = json.loads((folder / 'config.json').read_text())
    config['llm'].update(quantization={'kind': 'nf4'}, liger=True, compile=True)
    (folder / 'config.json').write_text(json.dumps(config))
    convert(folder, tmp_path / 'hf', 'hf')
    weights = dict(stream_weights(tmp_path / 'hf'))
    assert torch.equal(weights['language_model.lm_head.weight'][:-1], model.llm.model.lm_head.weight)
    assert torch.equal(weights['multi_modal_projector.linear_1.weight'], model.projector[0].weight)


def test_what_a_training_started_from_may_be_a_projector_alone(tmp_path):
    small_model(seed=3).vision_encoder.model.save_pretrained(tmp_path / 'clip')
    small_model(seed=3).llm.model.save_pretrained(tmp_path / 'llama')
    projector = {f'model.mm_projector.{name}': t for name, t in small_model(seed=4).projector.state_dict().items()}
    torch.save(projector, tmp_path / 'mm_projector.bin')
    parts = small_parts()
    parts['vision_encoder'] = {'type': 'ClipVisionEncoder', 'pretrained': str(tmp_path / 'clip')}
    parts['llm'].update(pretrained=str(tmp_path / 'llama'), frozen=True)
    model = GeoChat(**parts)
    load_checkpoint(model, tmp_path / 'mm_projector.bin')
    model.projector.requires_grad_(False)
    base = str(tmp_path / 'mm_projector.bin')
    convert(save_model(model, parts, tmp_path / 'trained', whole=False, base=base), tmp_path / 'ours', 'geochat')
    for name, tensor in load_model(tmp_path / 'ours').state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_an_adapter_of_peft_is_merged_into_its_base(original, tmp_path):
    save_adapter(lora_model(seed=1), tmp_path / 'adapter')
    with pytest.raises(ValueError, match='name the model that it was trained over as its base'):
        convert(tmp_path / 'adapter', tmp_path / 'merged', 'geochat')
    convert(tmp_path / 'adapter', tmp_path / 'merged', 'geochat', base=original)
    merged, base = dict(stream_weights(tmp_path / 'merged')), load_model(original).state_dict()
    changed = {name for name in base if not torch.equal(merged[name], base[name])}
    assert changed == {f'llm.model.model.layers.{n}.self_attn.{part}_proj.weight' for n in (0, 1) for part in 'qv'}


def test_an_adapter_of_another_model_is_refused(ours, tmp_path):
    save_adapter(lora_model(), tmp_path / 'adapter', lambda name: name.replace('layers.1', 'layers.7'))
    with pytest.raises(WeightsError, match=r'no weight to be merged into: .*layers\.7'):
        convert(tmp_path / 'adapter', tmp_path / 'merged', 'geochat', base=ours)


@pytest.mark.parametrize('to', ['original', 'hf'])
def test_a_model_without_a_counterpart_is_refused_and_nothing_is_left(tmp_path, to):
    parts = small_parts()
    parts['projector'] = {'type': 'linear'}
    folder = save_model(GeoChat(**parts), parts, tmp_path / 'model')
    if to == 'hf':
        with pytest.raises(ValueError, match="mlp2x_gelu only, not 'LinearProjector'"):
            convert(folder, tmp_path / 'target', to)
    else:
        (folder / 'tokenizer.model').unlink()
        with pytest.raises(FileNotFoundError, match=r'needs the SentencePiece file tokenizer\.model'):
            convert(folder, tmp_path / 'target', to)
    assert [path.name for path in tmp_path.iterdir()] == ['model']


def test_a_file_that_is_cut_short_is_named_and_nothing_is_left(ours, tmp_path):
    folder = tmp_path / 'cut'
    folder.mkdir()
    for file in ours.iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: -1000 if file.suffix == '.safetensors' else None])
    with pytest.raises(WeightsError, match=r'model\.safetensors is not a whole safetensors file'):
        convert(folder, tmp_path / 'target', 'hf')
    assert [path.name for path in tmp_path.iterdir()] == ['cut']


def test_a_tensor_that_is_missing_is_named(original, tmp_path):
    weights = {name: tensor for name, tensor in stream_weights(original) if name != 'lm_head.weight'}
    folder = tmp_path / 'model'
    save_original(small_model(), folder)
    (folder / 'pytorch_model.bin').unlink()
    save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / 'model.safetensors')
    with pytest.raises(WeightsError, match=r'missing \(1\): llm\.model\.lm_head\.weight'):
        convert(folder, tmp_path / 'target', 'geochat')


def test_nothing_is_overwritten(ours, tmp_path):
    (tmp_path / 'target').mkdir()
    with pytest.raises(FileExistsError, match='is there already'):
        convert(ours, tmp_path / 'target', 'hf')
    with pytest.raises(ValueError, match='one of geochat, original, hf'):
        convert(ours, tmp_path / 'other', 'onnx')


def test_shards_hold_every_dtype_and_keep_to_their_size(tmp_path):
    weights = {
        'a': torch.randn(3).bfloat16(),
        'b': torch.randn(3, 5),
        'c': torch.arange(4),
        'd': torch.tensor(True),
        'e': torch.zeros(0, 4),
        'f': torch.randn(6, 4).half().T,
    }
    plan = [(name, torch.empty_like(tensor, device='meta')) for name, tensor in weights.items()]
    write_shards(plan, weights.items(), tmp_path, shard_bytes=70)
    index = json.loads((tmp_path / 'model.safetensors.index.json').read_text())
    assert len(set(index['weight_map'].values())) == 3
    found = {}
    for file in set(index['weight_map'].values()):
        found.update(load_file(tmp_path / file))
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with pytest.raises(ValueError, match='did the source change'):
        write_shards(plan, list(weights.items())[1:], tmp_path)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full on this system')
def test_a_full_disk_is_told_with_the_file():
    with (
        pytest.raises(OSError, match=r"No space left on device: '/dev/full'"),
        Path('/dev/full').open('wb', buffering=0) as file,
    ):
        _put(file, b'weights')


@needs_recordings
def test_geochat_travels_and_answers_as_recorded(tmp_path):
    """Original to ours to Hugging Face, and transformers alone gives the ids and tokens of the original GeoChat."""
    source = tmp_path / 'in' / 'geochat-tiny'
    source.mkdir(parents=True)
    for file in (PARITY / 'geochat-tiny').iterdir():
        (source / file.name).symlink_to(file)
    (source / 'clip-tiny-336').symlink_to(PARITY / 'clip-tiny-336')
    convert(source, tmp_path / 'ours', 'geochat')
    convert(tmp_path / 'ours', tmp_path / 'back', 'original')
    assert_identical(tmp_path / 'back', source, constants=True)
    convert(tmp_path / 'ours', tmp_path / 'hf', 'hf')
    recorded = json.loads((PARITY / 'forward_expected.json').read_text())['single']
    asked = [
        (single['prompt'], Image.open(PARITY / 'images' / single['image']).convert('RGB'), 24) for single in recorded
    ]
    for single, (inputs, answer) in zip(recorded, hugging_face_answers(tmp_path / 'hf', asked), strict=True):
        ids = inputs['input_ids'][0].tolist()
        assert len(ids) == single['sequence_length']
        assert [index for index in ids if index != 32000] == [index for index in single['input_ids'] if index >= 0]
        assert answer == single['greedy']


def test_the_tokenizer_of_the_folder_is_the_sentencepiece_model(hf):
    import sentencepiece
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(hf)
    reference = sentencepiece.SentencePieceProcessor(model_file=f'{tokenizer_folder()}/tokenizer.model')
    for text in (*QUESTIONS, 'a  b   c    d', ' lead', 'trail  ', 'é漢\u2581x'):
        assert tokenizer(text)['input_ids'] == [1, *reference.encode(text)]
    assert tokenizer('<image>')['input_ids'] == [1, 460]
