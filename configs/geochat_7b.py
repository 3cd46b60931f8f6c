"""GeoChat-7B, trained as the original was.

    tools/dist_train.sh configs/geochat_7b.py 3                                 # three GPUs, as in the paper
    python tools/test.py configs/geochat_7b.py work_dirs/geochat_7b/model       # the benchmarks

Before that, put the two pretrained parts into ``checkpoints/``, and the data where
``_base_/datasets/geochat_instruct.py`` and ``_base_/benchmarks/geochat_bench.py`` say:

    hf download lmsys/vicuna-7b-v1.5 --local-dir checkpoints/vicuna-7b-v1.5
    hf download openai/clip-vit-large-patch14-336 --local-dir checkpoints/clip-vit-large-patch14-336

Where the original's paper (arXiv 2311.15826) and its files disagree, a comment says which of them is followed.
"""

from mmengine.config import read_base

with read_base():
    from ._base_.benchmarks.geochat_bench import *
    from ._base_.datasets.geochat_instruct import *
    from ._base_.models.geochat_tasks import *
    from ._base_.runtime.default import *
    from ._base_.schedules.geochat_one_epoch import *
    from ._base_.strategies.zero2 import *

from geochat.models import ClipVisionEncoder, GeoChat, HFCausalLM, MLPProjector
from geochat.prompts import VicunaV1

vision_encoder = dict(
    type=ClipVisionEncoder,
    pretrained='checkpoints/clip-vit-large-patch14-336',
    config=dict(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    ),
    image_size=504,
    select_layer=-2,
    frozen=True,
    dtype='bfloat16',
)

projector = dict(type=MLPProjector, depth=2)  # LLaVA's name for it: mlp2x_gelu

llm = dict(
    type=HFCausalLM,
    pretrained='checkpoints/vicuna-7b-v1.5',
    config=dict(
        model_type='llama',
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
    chat_template=dict(type=VicunaV1),
    # All linear layers but the head, as in the original's files. The paper names W_q and W_v only: for these, set
    # targets=r'layers\.\d+\.self_attn\.[qv]_proj'.
    lora=dict(r=64, alpha=16, dropout=0.05),
    gradient_checkpointing=True,
    dtype='bfloat16',
)

# Trained, as the original's files do when they start from Vicuna. In the paper it comes from LLaVA-1.5's pretraining
# and is frozen: for that, set load_from to a folder of LLaVA-1.5-7B, and frozen_projector=True.
model = dict(type=GeoChat, frozen_projector=False)

max_length = 2048  # tokens of text, a picture counting as one; with 1,296 image tokens that stays below 4,096
