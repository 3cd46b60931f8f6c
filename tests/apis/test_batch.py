"""Files of questions: what a row may be, and that answers survive an interruption."""

import json
from itertools import count

import pytest
from PIL import Image
from small_run import write_lines
from small_server import running_server

from geochat.apis import GeoChatInferencer, InputError, PictureSettings
from geochat.apis.batch import answer_file, read_questions
from geochat.generation import BackendError, GenerationSettings

ROWS = [
    {'id': 'a', 'image': 'one.png', 'text': 'Is a harbor present?'},
    {'question_id': 7, 'image': 'two.png', 'question': 'How many planes are there?', 'ground_truth': '3'},
    {'image': 'one.png', 'phrase': 'the red ship'},
    {'id': 'd', 'image': 'one.png', 'task': 'grounding'},
    {'id': 'e', 'image': 'one.png', 'boxes': [1, 2, 9, 9]},
    {'id': 'f', 'images': ['two.png', 'one.png'], 'classes': ['port', 'farm']},
    {'id': 'g', 'question': 'Which?', 'options': ['a ship', 'a plane']},
    {'id': 'h', 'image': 'gone.png', 'text': 'yes'},
    {'id': 'i', 'image': 'one.png', 'query': {'phrase': 'a ship'}, 'task': 'vqa'},
]


@pytest.fixture
def folder(tmp_path):
    Image.new('RGB', (20, 10), 'red').save(tmp_path / 'one.png')
    Image.new('RGB', (10, 20), 'blue').save(tmp_path / 'two.png')
    write_lines(tmp_path / 'questions.jsonl', ROWS)
    return tmp_path


def answers(folder):
    return [json.loads(line) for line in (folder / 'answers.jsonl').read_text().splitlines()]


def ask(inferencer, folder):
    return answer_file(inferencer, folder / 'questions.jsonl', folder / 'answers.jsonl', folder, progress=False)


def test_the_keys_of_a_row_tell_its_task(folder):
    rows = read_questions(folder / 'questions.jsonl')
    assert [row.id for row in rows] == ['a', '7', '3', 'd', 'e', 'f', 'g', 'h', 'i']
    assert [row.task for row in rows] == [
        *('chat', 'vqa', 'refer', 'grounding', 'identify', 'scene', 'multiple_choice', 'chat', 'vqa')
    ]
    assert rows[1].query == {'question': 'How many planes are there?'}
    assert rows[5].images == ('two.png', 'one.png')


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ([1], r'line 2: a question is a JSON object, not \[1\]'),
        ({'image': 'one.png'}, 'line 2: it needs one of the keys text, question'),
        ({'image': 3, 'text': 'yes'}, 'line 2: "image" is the name'),
        ({'images': [3], 'text': 'yes'}, 'line 2: "image" is the name'),
        ({'query': 3, 'task': 'vqa'}, 'line 2: "query" is a JSON object'),
        ({'text': 'yes', 'task': 3}, 'line 2: it needs one of the keys'),
        ({'id': 'a', 'text': 'yes'}, "line 2: the id 'a' is that of line 1 too"),
    ],
)
def test_a_row_that_is_no_question_is_answered_with_its_place(tmp_path, row, message):
    path = write_lines(tmp_path / 'q.jsonl', [ROWS[0], row])
    with pytest.raises(InputError, match=message):
        read_questions(path)


def test_a_file_that_is_not_json_is_answered_with_its_line(tmp_path):
    (tmp_path / 'q.jsonl').write_text('{"text": "yes"}\n{"text": \n')
    with pytest.raises(InputError, match='line 2: not JSON'):
        read_questions(tmp_path / 'q.jsonl')
    with pytest.raises(FileNotFoundError, match=r'none\.jsonl does not exist'):
        read_questions(tmp_path / 'none.jsonl')


def test_all_that_can_be_asked_is_answered_in_the_order_of_the_questions(inferencer, folder):
    summary = ask(inferencer, folder)
    rows = answers(folder)
    assert [row['id'] for row in rows] == ['a', '7', '3', 'd', 'e', 'f', 'g', 'h', 'i']
    assert (summary.answered, summary.taken_over) == (7, 0)
    assert 'gone.png does not exist' in summary.errors['h'] and 'VQAPrompt' in summary.errors['i']
    assert rows[0]['answer'] == inferencer(folder / 'one.png', 'Is a harbor present?')[0].answer
    assert rows[4]['prompt'] == '[identify] what is this {<5><20><45><90>|<0>}'
    assert rows[5]['image_size'] == [10, 20] and rows[6]['image_size'] is None
    assert rows[7] == {
        'id': 'h',
        'images': ['gone.png'],
        'task': 'chat',
        'query': {'text': 'yes'},
        'error': rows[7]['error'],
    }


def test_an_interrupted_file_goes_on_and_ends_as_it_would_have(inferencer, folder):
    ask(inferencer, folder)
    whole = (folder / 'answers.jsonl').read_text()
    lines = whole.splitlines(keepends=True)
    # As a kill leaves it: some answers in any order, the last one cut short.
    (folder / 'answers.jsonl').write_text(lines[4] + lines[0] + lines[2][:30])
    assert ask(inferencer, folder).taken_over == 2
    assert (folder / 'answers.jsonl').read_text() == whole


def test_a_question_that_has_changed_is_asked_again(inferencer, folder):
    ask(inferencer, folder)
    changed = [{**ROWS[0], 'text': 'How many planes are there?'}, *ROWS[2:]]
    write_lines(folder / 'questions.jsonl', changed)
    # The row without an id is now the second.
    assert ask(inferencer, folder).taken_over == 4
    assert answers(folder)[0]['prompt'] == 'How many planes are there?'
    Image.new('RGB', (4, 4)).save(folder / 'gone.png')
    assert list(ask(inferencer, folder).errors) == ['i']


def test_answers_of_others_are_not_written_over(inferencer, model_folder, folder):
    with pytest.raises(InputError, match='over the questions'):
        answer_file(inferencer, folder / 'questions.jsonl', folder / 'questions.jsonl')
    (folder / 'answers.jsonl').write_text('mine\n')
    with pytest.raises(InputError, match='is there already'):
        ask(inferencer, folder)
    assert (folder / 'answers.jsonl').read_text() == 'mine\n'
    (folder / 'answers.jsonl').unlink()
    ask(inferencer, folder)
    other = GeoChatInferencer(inferencer.assistant, settings=GenerationSettings(max_new_tokens=3))
    with pytest.raises(InputError, match='answers of other settings: name another file'):
        ask(other, folder)
    stretched = GeoChatInferencer(
        inferencer.assistant, settings=inferencer.settings, pictures=PictureSettings(stretch=(0, 4000))
    )
    with pytest.raises(InputError, match='answers of other stretch: name another file'):
        ask(stretched, folder)
    with pytest.raises(InputError, match='answers of other images: name another file'):
        answer_file(inferencer, folder / 'questions.jsonl', folder / 'answers.jsonl', folder.parent)
    (folder / 'answers.jsonl').unlink()
    ask(stretched, folder)
    assert ask(stretched, folder).taken_over


def test_a_server_that_ends_early_loses_no_answer(inferencer, folder, monkeypatch):
    with running_server() as server:
        remote = GeoChatInferencer(
            backend={'type': 'openai', 'base_url': f'{server.url}/v1', 'batch_size': 1, 'max_retries': 0},
            settings=GenerationSettings(max_new_tokens=6),
        )
        write_lines(folder / 'questions.jsonl', [{'id': str(n), 'text': f'two {"three " * n}'} for n in range(6)])
        answered = count()

        def dying(self, answer):
            if next(answered) == 2:
                server.server.force_exit = server.server.should_exit = True
                server.thread.join()
            return result(self, answer)

        result = GeoChatInferencer.result
        with monkeypatch.context() as patched:
            patched.setattr(GeoChatInferencer, 'result', dying)
            with pytest.raises(BackendError, match='cannot be reached'):
                ask(remote, folder)
    kept = [row['id'] for row in answers(folder)]
    assert 3 <= len(kept) < 6
    origin = json.loads((folder / 'answers.jsonl.run.json').read_text())
    assert (origin['server'], origin['model']) == (f'{server.url}/v1', 'small')
    with pytest.raises(InputError, match='answers of other weights'):
        ask(GeoChatInferencer(inferencer.assistant, settings=remote.settings), folder)
