"""A language model of two layers and its data: enough to drive the loops, nothing of GeoChat in it."""

import resource

import torch
from mmengine.dist import barrier, get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from geochat.structures import IGNORE_INDEX

VOCABULARY = 16


class ToyModel(BaseModel):
    """Predicts each token from the one before it; a frozen table beside a trained head.

    Args:
        exchanges: True lets each forward wait for all ranks, as ZeRO-3's does.
    """

    def __init__(self, exchanges: bool = False):
        super().__init__()
        self.exchanges = exchanges
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Embedding.from_pretrained(torch.randn(VOCABULARY, 8, generator=generator), freeze=True)
        self.head = nn.Linear(8, VOCABULARY)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(VOCABULARY, 8, generator=generator) * 0.3)
            self.head.bias.zero_()

    def forward(self, input_ids, labels, mode='tensor'):
        if self.exchanges:
            barrier()
        logits = self.head(self.table(input_ids)).float()
        if mode != 'loss':
            return logits
        targets = labels[:, 1:]
        supervised = targets != IGNORE_INDEX
        total = nn.functional.cross_entropy(logits[:, :-1][supervised], targets[supervised], reduction='sum')
        return {'loss': total / supervised.sum().clamp(min=1), 'num_supervised': supervised.sum().float()}


class ToyData(Dataset):
    """Records of 1 to 12 supervised tokens, unevenly long; each is a function of its number."""

    def __init__(self, size: int = 24):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        length = int(torch.randint(2, 14, (1,), generator=generator))
        ids = torch.randint(0, VOCABULARY, (length,), generator=generator)
        labels = ids.clone()
        labels[0] = IGNORE_INDEX
        return {'input_ids': ids, 'labels': labels}


class NoMoreRoom(Hook):
    """Allows no file above some size from step 4 on, which fails as a full disk does: while a file is being written.

    Args:
        room: Bytes.
        rank: Only there.
    """

    def __init__(self, room: int, rank: int = 0):
        self.room, self.rank = room, rank

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 4 and get_rank() == self.rank:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, resource.RLIM_INFINITY))


def toy_collate(samples):
    pad = nn.utils.rnn.pad_sequence
    return {
        'input_ids': pad([sample['input_ids'] for sample in samples], batch_first=True),
        'labels': pad([sample['labels'] for sample in samples], batch_first=True, padding_value=IGNORE_INDEX),
    }


def toy_config() -> dict:
    """Return a config for MMEngine's runners; 24 records in micro-batches of 2, two of them a step."""
    loader = {'batch_size': 2, 'num_workers': 0, 'collate_fn': {'type': 'toy_training.toy_collate'}}
    return {
        'model': {'type': 'toy_training.ToyModel'},
        'train_dataloader': {
            **loader,
            'dataset': {'type': 'toy_training.ToyData'},
            'sampler': {'type': 'DefaultSampler', 'shuffle': True},
        },
        'train_cfg': {'type': 'TrainLoop', 'max_epochs': 1, 'accumulation': 2},
        'optim_wrapper': {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 1e-2}},
        'param_scheduler': {'type': 'CosineWithWarmupLR', 'warmup_ratio': 0.1, 'by_epoch': False},
        'default_hooks': {
            'sampler_seed': None,
            'logger': {'type': 'ProgressHook', 'interval': 2},
            'checkpoint': {'type': 'CheckpointHook', 'interval': 2, 'max_keep_ckpts': 2},
        },
        'log_processor': {'type': 'ProgressLine'},
        'env_cfg': {},
        'default_scope': 'geochat',
        'randomness': {'seed': 3},
    }


def toy_val_dataloader(size: int = 5) -> dict:
    """Return the settings of a validation loader."""
    return {
        **toy_config()['train_dataloader'],
        'dataset': {'type': 'toy_training.ToyData', 'size': size},
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    }
