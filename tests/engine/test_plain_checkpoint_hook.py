import torch
from mmengine.logging import HistoryBuffer

from geochat.engine.hooks import PlainCheckpointHook
from geochat.models.weights import read_state_dict


def test_the_log_is_saved_as_arrays_and_comes_back(tmp_path):
    hook, buffer = PlainCheckpointHook(), HistoryBuffer()
    for value in (1.5, 2.5, 4.0):
        buffer.update(value)
    checkpoint = {'state_dict': {'weight': torch.ones(2)}, 'message_hub': {'log_scalars': {'train/loss': buffer}}}
    hook.before_save_checkpoint(None, checkpoint)
    torch.save(checkpoint, tmp_path / 'iter_3.pth')
    assert list(read_state_dict(tmp_path / 'iter_3.pth')) == ['weight']
    hook.after_load_checkpoint(None, checkpoint)
    restored = checkpoint['message_hub']['log_scalars']['train/loss']
    assert restored.data[0].tolist() == [1.5, 2.5, 4.0]
    assert restored.mean(2) == 3.25
