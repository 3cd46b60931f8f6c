import copy
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from geochat.models.weights import WeightsError, load_weights, stream_weights, weights_digest


class Bomb:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return (open, ('exploded.txt', 'w'))


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / 'pytorch_model.bin'
    torch.save({'weight': torch.zeros(2), 'more': Bomb()}, file)
    with pytest.raises(WeightsError, match='could run code'):
        dict(stream_weights(file))
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match=r'pytorch_model\.bin'):
        dict(stream_weights(tmp_path))
    assert not (tmp_path / 'exploded.txt').exists()


def test_a_checkpoint_with_arrays_and_numbers_beside_the_weights_is_read(tmp_path):
    log = {'values': np.ones(3), 'counts': np.arange(3), 'last': np.float64(0.5), 'on': np.bool_(True)}
    torch.save({'state_dict': {'weight': torch.ones(3)}, 'log': log, 'meta': {'iter': 3}}, tmp_path / 'iter_3.pth')
    assert dict(stream_weights(tmp_path / 'iter_3.pth'))['weight'].tolist() == [1, 1, 1]


def test_the_format_before_torch_1_6_is_read(tmp_path):
    torch.save({'weight': torch.ones(3)}, tmp_path / 'old.bin', _use_new_zipfile_serialization=False)
    assert dict(stream_weights(tmp_path / 'old.bin'))['weight'].tolist() == [1, 1, 1]


@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin'])
def test_a_file_that_is_cut_short_is_named(tmp_path, name):
    file = tmp_path / name
    weights = {'weight': torch.randn(1000)}
    save_file(weights, file) if name.endswith('safetensors') else torch.save(weights, file)
    file.write_bytes(file.read_bytes()[:1500])
    with pytest.raises(WeightsError, match=name):
        dict(stream_weights(file))


def test_a_shard_that_is_missing_is_named(tmp_path):
    index = {'weight_map': {'weight': 'model-00001-of-00002.safetensors'}}
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match='names model-00001-of-00002'):
        dict(stream_weights(tmp_path))


def test_an_index_cannot_lead_out_of_its_folder(tmp_path):
    folder = tmp_path / 'model'
    folder.mkdir()
    save_file({'weight': torch.ones(1)}, tmp_path / 'secret.safetensors')
    index = {'weight_map': {'weight': '../secret.safetensors'}}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match=r'secret\.safetensors, which is not there'):
        dict(stream_weights(folder))


@pytest.mark.parametrize('content', [[torch.zeros(1)], {'weight': 'text'}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(WeightsError, match='does not hold a dictionary of tensors'):
        dict(stream_weights(tmp_path / 'other.pth'))


def test_a_place_without_weights_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none of'):
        dict(stream_weights(tmp_path))
    with pytest.raises(FileNotFoundError, match='nowhere'):
        dict(stream_weights(tmp_path / 'nowhere'))


def test_the_report_names_what_is_missing_unexpected_and_misshapen():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    weights = {
        '0.weight': torch.ones(3, 2),
        '0.bias': torch.ones(4),
        '1.weight': torch.ones(4, 3),
        'head': torch.ones(1),
    }
    report = load_weights(module, weights.items(), source='a.pth')
    assert report.loaded == ['0.weight', '1.weight']
    assert report.missing == ['1.bias']
    assert report.unexpected == ['head']
    assert report.misshapen == {'0.bias': ((4,), (3,))}
    with pytest.raises(WeightsError) as error:
        report.check()
    for part in ('a.pth', '1.bias', 'head', '0.bias is (4,), the model has (3,)'):
        assert part in str(error.value)


def test_the_hash_of_weights_is_that_of_names_types_and_values():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))  # the latter has a count, no vector
    first = weights_digest(model)
    assert weights_digest(copy.deepcopy(model)) == first
    assert weights_digest(torch.nn.ModuleDict({'a': model})) != first
    assert weights_digest(copy.deepcopy(model).bfloat16()) != first
    with torch.no_grad():
        model[1].num_batches_tracked += 1
    assert weights_digest(model) != first
