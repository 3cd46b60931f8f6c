"""The quick start: a small model learns from built-in scenes on a laptop, and is then tested on scenes it has not seen.

    python tools/train.py configs/geochat_tiny.py

It is put together like GeoChat-7B: a vision encoder that comes pretrained and stays frozen, a projector and an LLM that
starts from random weights. The encoder is made by ``tools/pretrain_tiny_encoder.py`` from other scenes.
"""

from importlib.util import find_spec

from mmengine.config import read_base

with read_base():
    from ._base_.benchmarks.scenes import *
    from ._base_.datasets.scenes import *
    from ._base_.models.geochat_tasks import *
    from ._base_.runtime.default import *

from geochat.engine.hooks import ModelFolderHook
from geochat.engine.loops import BenchmarkLoop, TrainLoop, ValLoop
from geochat.engine.muon import MuonAdamW, MuonConstructor
from geochat.engine.optimization import AmpOptimWrapper, CosineWithWarmupLR
from geochat.models import ClipVisionEncoder, GeoChat, HFCausalLM, MLPProjector
from geochat.prompts import VicunaV1

_package_data = find_spec('geochat').submodule_search_locations[0] + '/data/tiny'

vision_encoder = dict(type=ClipVisionEncoder, pretrained=f'{_package_data}/encoder', select_layer=-1, frozen=True)

projector = dict(type=MLPProjector, depth=2)

llm = dict(
    type=HFCausalLM,
    config=dict(
        model_type='llama',
        vocab_size=1031,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        rope_parameters=dict(rope_type='default', rope_theta=1e6),
        initializer_range=0.06,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
    start_values=dict(embedding_std=0.5, head_std=0.06),
    tokenizer=f'{_package_data}/tokenizer',
    chat_template=dict(type=VicunaV1, system=''),
    attention='eager',
)

model = dict(type=GeoChat)

max_length = 512

train_cfg = dict(type=TrainLoop, max_iters=3200, val_interval=1600)
val_cfg = dict(type=ValLoop)

optim_wrapper = dict(
    type=AmpOptimWrapper,
    dtype='bfloat16',
    constructor=MuonConstructor,
    optimizer=dict(type=MuonAdamW, lr=1.5e-3, muon_lr=0.01, betas=(0.9, 0.95)),
    clip_grad=dict(max_norm=0.3),
)

param_scheduler = dict(type=CosineWithWarmupLR, warmup_ratio=0.03, by_epoch=False)

# A second thread gives nothing at this size; where another program is busy, the threads wait for each other most of the
# time, and a step takes many times as long.
env_cfg.update(cpu_threads=1)

default_hooks.update(
    logger=dict(type=ProgressHook, interval=50),
    model_folder=dict(type=ModelFolderHook, whole=True),  # the encoder too: the folder is a model on its own
)

test_after_training = True
test_cfg = dict(
    type=BenchmarkLoop,
    batch_size=50,
    comparisons=('majority', 'grey', 'angle_0'),
)
