"""The line a run prints, the first sample it shows, and the model folder it leaves."""

import json

import pytest
import torch
from mmengine.logging import MMLogger
from small_parts import small_model, small_parts, tokenizer_folder

from geochat.engine.hooks import FirstSampleHook, ModelFolderHook
from geochat.engine.hooks.first_sample import marked_text
from geochat.structures import IGNORE_INDEX, IMAGE_TOKEN_INDEX


@pytest.fixture(scope='module')
def tokenizer():
    from geochat.prompts.tokenization import load_tokenizer

    return load_tokenizer(tokenizer_folder())


@pytest.fixture
def lines(monkeypatch):
    """Return the messages that runners log."""
    messages = []
    monkeypatch.setattr(MMLogger, 'info', lambda self, message, *args: messages.append(str(message)))
    return messages


def test_supervised_text_is_marked(tokenizer):
    prompt = tokenizer.encode('USER: where is the red ship?  ASSISTANT:')
    answer = tokenizer.encode(' {<12><34>}\nyes', add_special_tokens=False)
    ids = [*prompt[:4], IMAGE_TOKEN_INDEX, *prompt[4:], *answer, tokenizer.eos_token_id]
    labels = [IGNORE_INDEX] * (len(prompt) + 1) + [*answer, tokenizer.eos_token_id]
    text = marked_text(ids, labels, tokenizer)
    before, _, rest = text.partition('>>>')
    supervised, _, after = rest.partition('<<<')
    assert before.replace('<image>', '') == tokenizer.decode(prompt)
    assert before.count('<image>') == 1
    assert supervised == tokenizer.decode([*prompt, *answer, tokenizer.eos_token_id])[len(tokenizer.decode(prompt)) :]
    assert '{<12><34>}\nyes' in supervised
    assert after == ''


def test_several_answers_are_marked_apart(tokenizer):
    ids = tokenizer.encode('one two three', add_special_tokens=False)
    labels = [IGNORE_INDEX, *ids[1:2], IGNORE_INDEX, *ids[3:]]
    assert marked_text(ids, labels, tokenizer).count('>>>') == 2


class DatasetWithProcessor:
    def __init__(self, tokenizer):
        self.processor = type('Processor', (), {'tokenizer': tokenizer})()


def test_first_sample_is_shown_once_and_without_padding(toy_runner, tokenizer, lines):
    runner = toy_runner(custom_hooks=[{'type': 'FirstSampleHook'}])
    wrapped = type('Wrapper', (), {'datasets': [DatasetWithProcessor(tokenizer)]})()
    runner.train_loop.dataloader = type('Loader', (), {'dataset': wrapped})()
    hook = next(hook for hook in runner.hooks if isinstance(hook, FirstSampleHook))
    ids = tokenizer.encode('How many planes are there?')
    batch = {
        'input_ids': torch.tensor([[*ids, 0, 0]]),
        'labels': torch.tensor([[IGNORE_INDEX] * (len(ids) - 1) + [ids[-1], IGNORE_INDEX, IGNORE_INDEX]]),
        'attention_mask': torch.tensor([[True] * len(ids) + [False] * 2]),
    }
    lines.clear()
    hook.before_train_iter(runner, 5, [batch, batch])
    hook.before_train_iter(runner, 6, [batch, batch])
    assert len(lines) == 1
    assert f'{len(ids)} tokens, of which 1 between >>> and <<< carry loss' in lines[0]
    assert 'How many planes are there>>>?<<<' in lines[0]


def test_data_without_a_tokenizer_only_warns(toy_runner, lines):
    toy_runner(custom_hooks=[{'type': 'FirstSampleHook'}]).train()
    assert not any('carry loss' in line for line in lines)


def test_progress_lines(toy_runner, lines):
    toy_runner(train_cfg={'type': 'TrainLoop', 'max_iters': 5, 'accumulation': 2}).train()
    steps = [line for line in lines if line.startswith('step ')]
    assert [line.split(' | ')[0] for line in steps] == [
        'step 1/5 ( 20 %)',
        'step 2/5 ( 40 %)',
        'step 4/5 ( 80 %)',
        'step 5/5 (100 %)',
    ]
    fields = steps[-1].split(' | ')
    assert fields[1] == '0:00:00 left'
    assert fields[2].startswith('loss ')
    assert fields[-2].startswith('lr ')
    assert fields[-1].endswith('waiting for data)')


def test_time_left_is_the_mean_step_times_the_steps_to_come(toy_runner, lines, monkeypatch):
    from mmengine.hooks import iter_timer_hook

    clock = iter(range(0, 10_000, 5))  # each look at the clock is 5 s later: two looks, 10 s, between steps
    monkeypatch.setattr(iter_timer_hook.time, 'time', lambda: next(clock))
    runner = toy_runner(train_cfg={'type': 'TrainLoop', 'max_iters': 40, 'accumulation': 2})
    runner.train()
    tenth = next(line for line in lines if line.startswith('step 10/40'))
    seconds = runner.message_hub.get_scalar('train/time').data[0][:10].mean() * 30
    hours, minutes, rest = tenth.split(' | ')[1].split()[0].split(':')
    assert int(hours) * 3600 + int(minutes) * 60 + int(rest) == pytest.approx(seconds, abs=1)


def test_model_folder(toy_runner, tmp_path):
    from geochat.engine.checkpoint import load_checkpoint

    runner = toy_runner(work_dir=str(tmp_path))
    parts = {
        **small_parts(),
        'box_codec': {'type': 'geochat'},
        'task_prompts': {'scene': {'type': 'SceneClassificationPrompt'}},
    }
    parts['llm']['chat_template'] = {'type': 'vicuna_v1'}
    runner.cfg.update(parts)
    runner.model = small_model(seed=1)
    ModelFolderHook().after_train(runner)
    other = small_model(seed=2)
    load_checkpoint(other, tmp_path / 'model')
    for name, weight in other.state_dict().items():
        assert torch.equal(weight, runner.model.state_dict()[name]), name
    assert json.loads((tmp_path / 'model' / 'config.json').read_text())['llm']['type'] == 'HFCausalLM'
