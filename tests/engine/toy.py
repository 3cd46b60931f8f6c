"""A language model of two layers and its data: enough to drive the loops, nothing of GeoChat in it."""

import torch
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from geochat.structures import IGNORE_INDEX

VOCABULARY = 16


class ToyModel(BaseModel):
    """Predicts each token from the one before it; a frozen table beside a trained head."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Embedding.from_pretrained(torch.randn(VOCABULARY, 8, generator=generator), freeze=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, VOCABULARY)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(VOCABULARY, 8, generator=generator) * 0.3)
            self.head.bias.zero_()

    def forward(self, input_ids, labels, mode='tensor'):
        logits = self.head(self.dropout(self.table(input_ids).to(self.head.weight.dtype))).float()
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


def toy_collate(samples):
    pad = nn.utils.rnn.pad_sequence
    return {
        'input_ids': pad([sample['input_ids'] for sample in samples], batch_first=True),
        'labels': pad([sample['labels'] for sample in samples], batch_first=True, padding_value=IGNORE_INDEX),
    }
