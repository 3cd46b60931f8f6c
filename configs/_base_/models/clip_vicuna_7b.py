"""GeoChat-7B's three trained parts, as they come before instruction tuning: CLIP at 504 px, a new projector, Vicuna-7B.

hf download openai/clip-vit-large-patch14-336 --local-dir checkpoints/clip-vit-large-patch14-336
hf download lmsys/vicuna-7b-v1.5 --local-dir checkpoints/vicuna-7b-v1.5
"""

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
    gradient_checkpointing=True,
    dtype='bfloat16',
)

model = dict(type=GeoChat)

max_length = 2048  # tokens of text, a picture counting as one; with 1,296 image tokens that stays below 4,096
