"""A minute GeoChat and records whose answers have 1 to 60 tokens, however these fall on ranks and micro-batches."""

import numpy as np
from small_parts import VISION_CONFIG, small_parts
from torch.utils.data import Dataset

from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX

LONGEST = 60
PROMPT = 3


class UnevenData(Dataset):
    """Records of a question, a picture and an answer; each is a function of its number.

    With two ranks and no shuffling the records of even numbers are rank 0's, and the long answers are among them.

    Args:
        size: Number of records.
        text_only: True leaves the pictures out of the odd records, so that rank 1 has none.
        image_size: Side of the pictures in pixels.
    """

    def __init__(self, size: int = 80, text_only: bool = False, image_size: int = VISION_CONFIG['image_size']):
        self.size = size
        self.text_only = text_only
        self.image_size = image_size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        is_long = index % 2 == 0
        answer = int(random.integers(20, LONGEST + 1)) if is_long else int(random.integers(1, 6))
        words = (3, 20) if is_long else (20, 40)  # few, so that a few steps teach much, and not the same to both ranks
        ids = random.integers(*words, PROMPT + answer)
        labels = np.where(np.arange(len(ids)) < PROMPT, IGNORE_INDEX, ids)
        pixels, keys = [], []
        if is_long or not self.text_only:
            ids[1] = IMAGE_TOKEN_INDEX
            pixels = [random.standard_normal((3, self.image_size, self.image_size)).astype(np.float32)]
            keys = [f'picture {index}']
        return {'input_ids': ids, 'labels': labels, 'pixels': pixels, 'image_keys': keys}


def uneven_config(
    accumulation: int, steps: int = 20, text_only: bool = False, reduction: str = 'token', **changes
) -> dict:
    """Return settings that differ from the toy's: micro-batches of one record, a step takes four on all ranks."""
    parts = small_parts()
    parts['vision_encoder']['frozen'] = False
    loader = {
        'batch_size': 1,
        'num_workers': 0,
        'dataset': {'type': 'uneven_training.UnevenData', 'text_only': text_only},
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'collate_fn': {'type': 'geochat.datasets.collate_samples'},
    }
    return {
        'model': {'type': 'GeoChat', **parts},
        'train_dataloader': loader,
        'train_cfg': {
            'type': 'TrainLoop',
            'max_iters': steps,
            'accumulation': accumulation,
            'loss_reduction': reduction,
            'val_interval': steps,
        },
        'val_dataloader': {**loader, 'dataset': {**loader['dataset'], 'size': 6}},
        'val_cfg': {'type': 'ValLoop', 'loss_reduction': reduction},
        'val_evaluator': [],
        'param_scheduler': None,
        'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 1e-2}, 'clip_grad': {'max_norm': 1.0}},
        'default_hooks': {'sampler_seed': None, 'logger': {'type': 'ProgressHook'}, 'checkpoint': None},
        **changes,
    }
