"""Questions asked from Python: every task, every kind of folder, and what is answered with a clear error."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from originals import save_original
from PIL import Image
from small_parts import small_model
from small_run import small_run

from geochat.apis import GeoChatInferencer, InputError, PictureError, PictureSettings
from geochat.apis.interpreter import as_boxes
from geochat.converters.convert import convert
from geochat.engine import ConfigError
from geochat.generation import BackendError, GenerationSettings, Written, token_ends
from geochat.structures import Message
from geochat.visualization import draw_boxes

PARITY = Path(os.environ.get('GEOCHAT_PARITY', Path(__file__).parents[3] / 'shared' / 'parity'))


def read(inferencer, asked_picture, question, task, text):
    """Return what is read of a given answer, one token a character."""
    from geochat.apis import Asked

    prepared = inferencer.prepare(Asked((asked_picture,), question, task))
    tokenizer = inferencer.assistant.processor.tokenizer
    ids = tokenizer.encode(text)
    return inferencer.read(
        prepared, Written(text, 'end', len(ids), [-0.125] * len(ids), lambda: token_ends(ids, tokenizer))
    )


def test_boxes_as_geojson_in_pixels(inferencer):
    """The codec's turned box on a picture of 60 x 30 pixels: its corners go round once, clockwise on screen."""
    found = read(inferencer, Image.new('RGB', (60, 30)), 'the red ship', 'refer', '{<10><20><50><60>|<90>}')
    content = json.loads(json.dumps(found.to_geojson()))
    assert content['type'] == 'FeatureCollection'
    assert content['image_size'] == [60, 30]
    assert content['coordinate_system'] == {'unit': 'pixel', 'origin': 'top left', 'x': 'right', 'y': 'down'}
    (feature,) = content['features']
    (ring,) = feature['geometry']['coordinates']
    assert ring[0] == ring[-1]
    assert np.allclose(ring[:4], found.polygons[0], atol=1e-3)
    x, y = np.array(ring).T
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0
    assert feature['properties'] == {
        'phrase': 'the red ship',
        'score': pytest.approx(found.box_scores[0], abs=1e-6),
        'confidence': pytest.approx(found.box_confidences[0], abs=1e-6),
        'angle': pytest.approx(90),
    }
    empty = read(inferencer, Image.new('RGB', (60, 30)), 'the red ship', 'refer', 'nothing')
    assert empty.to_geojson()['features'] == []
    with pytest.raises(ValueError, match='no picture'):
        inferencer(None, 'yes')[0].to_geojson()


def test_one_question_and_many_give_the_same_answers(inferencer, picture):
    words = ['Is a harbor present?', 'How many planes are there?', 'where is the red ship ?']
    together = inferencer(picture, words)
    alone = [inferencer(picture, word)[0] for word in words]
    assert [one.answer for one in together] == [one.answer for one in alone]
    assert [one.prompt for one in together] == words
    assert len({one.answer for one in together}) > 1
    assert all(0 < one.tokens <= 12 and one.log_prob < 0 and 0 < one.confidence < 1 for one in together)


def test_pictures_and_questions_pair_up(inferencer, picture):
    other = Image.new('RGB', (28, 28), 'blue')
    pairs = inferencer([picture, other, None, (picture, other)], 'Is a harbor present?')
    assert [one.image and one.image.size for one in pairs] == [(60, 30), (28, 28), None, (60, 30)]
    assert pairs[1].answer == inferencer(other, 'Is a harbor present?')[0].answer
    with pytest.raises(InputError, match='2 pictures and 3 questions do not pair up'):
        inferencer([picture, other], ['a', 'b', 'c'])
    assert inferencer([], []) == []


def test_each_task_asks_in_its_own_words(inferencer, picture):
    prompts = [
        inferencer.ask(picture, 'How many ships?'),
        inferencer.refer(picture, 'the red ship'),
        inferencer.ground(picture),
        inferencer.ground(picture, 'red ships'),
        inferencer.describe(picture),
        inferencer.identify(picture, (15, 15, 12, 6, 0)),
        inferencer.identify(picture, (9, 12, 21, 18)),
        inferencer.classify(picture, ['port', 'farm']),
    ]
    assert [(one.task, one.prompt) for one in prompts] == [
        ('vqa', 'How many ships?\nAnswer the question using a single word or phrase.'),
        ('refer', '[refer] Give me the location of <p> the red ship </p>'),
        ('grounding', '[grounding] Describe the image in detail.'),
        ('grounding', '[grounding] red ships'),
        ('caption', 'Describe the image in detail.'),
        ('identify', '[identify] what is this {<15><40><35><60>|<0>}'),
        ('identify', '[identify] what is this {<15><40><35><60>|<0>}'),
        (
            'scene',
            'Classify the given image in one of the following classes. Classes: port, farm. \n'
            'Answer in one word or a short phrase.',
        ),
    ]


def test_what_is_named_stands_at_the_box_of_the_question(inferencer, picture):
    asked = (15, 15, 12, 6, 0.5)
    named = inferencer.identify(picture, asked)
    assert named.boxes.tolist() == [list(asked)] and named.labels == (named.text,)
    assert named.box_scores == pytest.approx((np.exp(named.log_prob),))
    assert named.box_confidences == (named.confidence,)
    plain = draw_boxes(named.image, np.zeros((0, 5)), ())
    assert named.draw().tobytes() != plain.tobytes()
    assert named.to_dict()['boxes'] == [list(asked)] and 'diagnostics' not in named.to_dict()
    assert named.to_geojson()['features'][0]['properties']['phrase'] == named.text


def test_boxes_are_in_pixels_of_the_picture_given_and_scored_by_their_tokens(inferencer, picture):
    text = 'It is {<10><20><30><60>|<30>} there'
    found = read(inferencer, picture, 'the red ship', 'refer', text)
    np.testing.assert_allclose(found.boxes, [[12, 12, 12, 12, np.pi / 6]])  # per cent of 60 x 30 pixels
    assert found.labels == ('the red ship',)
    assert found.box_scores[0] < 1 and found.box_scores[0] > found.confidence**found.tokens
    assert found.confidence == pytest.approx(np.exp(-0.125))
    assert found.draw().size == (540, 270)
    content = json.loads(json.dumps(found.to_dict()))
    assert content['boxes'] == [[12, 12, 12, 12, 0.5236]] and content['labels'] == ['the red ship']
    assert np.mean(content['polygons'][0], axis=0) == pytest.approx([12, 12])
    assert (content['image_size'], content['malformed'], content['diagnostics']) == ([60, 30], False, [])


def test_phrases_in_the_answer_label_their_boxes(inferencer, picture):
    text = '<p>two ships</p> {<0><0><10><10>|<0>}<delim>{<50><50><60><60>|<0>} at <p>a pier</p> {<1><1><9><9>|<0>}'
    found = read(inferencer, picture, {}, 'grounding', text)
    assert found.labels == ('two ships', 'two ships', 'a pier')
    assert found.text == 'two ships at a pier'


def test_an_answer_in_words_has_no_boxes(inferencer, picture):
    found = read(inferencer, picture, 'Is a harbor present?', 'vqa', 'yes')
    assert (found.text, len(found.boxes), found.malformed) == ('yes', 0, False)
    assert 'boxes' not in found.to_dict()
    with pytest.raises(ValueError, match='no picture'):
        inferencer(None, 'Is a harbor present?')[0].draw()


def test_questions_about_one_picture_hold_it_once(inferencer, picture, monkeypatch):
    submitted, submit = [], inferencer.submit
    monkeypatch.setattr(inferencer, 'submit', lambda prepared: submitted.append(prepared) or submit(prepared))
    answers = inferencer(picture, ['yes', 'no', 'two'])
    assert len({id(answer.image) for answer in answers}) == 1
    assert len({id(prepared.sample['pixels'][0]) for prepared in submitted}) == 1
    assert [answer.answer for answer in answers] == [
        inferencer(picture, word)[0].answer for word in ('yes', 'no', 'two')
    ]


def test_a_dialogue_remembers_both_sides(inferencer, picture):
    chat = inferencer.chat(picture)
    first = chat.say('Is a harbor present?')
    second = chat.say('the red ship', task='refer')
    assert chat.messages == (
        Message('user', 'Is a harbor present?'),
        Message('assistant', first.answer),
        Message('user', '[refer] Give me the location of <p> the red ship </p>'),
        Message('assistant', second.answer),
    )
    assert first.answer == inferencer(picture, 'Is a harbor present?')[0].answer
    assert second.prompt == inferencer.refer(picture, 'the red ship').prompt
    chat.undo()
    assert len(chat.messages) == 2
    assert ''.join(chat.stream('the red ship', task='refer')) == second.answer
    chat.clear()
    chat.undo()
    assert chat.messages == () and chat.say('Is a harbor present?').answer == first.answer


def test_the_turns_of_a_dialogue_share_the_work_on_the_picture(inferencer):
    computed = inferencer.backend.engine.prefixes.computed
    chat = inferencer.chat(Image.new('RGB', (28, 28), (1, 2, 3)))
    for _ in range(3):
        chat.say('yes')
    assert inferencer.backend.engine.prefixes.computed == computed + 1


def test_a_turn_that_is_given_up_is_forgotten(inferencer, picture):
    chat = inferencer.chat(picture)
    pieces = chat.stream('Is a harbor present?', settings=GenerationSettings(max_new_tokens=100))
    next(pieces)
    pieces.close()
    assert chat.messages == ()
    inferencer.backend.step()
    assert inferencer.backend.engine.idle


def test_a_dialogue_holds_its_picture_once(inferencer, picture):
    chat = inferencer.chat(picture)
    first, second = chat.prepare('yes'), chat.prepare('no')
    assert first.sample['pixels'][0] is second.sample['pixels'][0]
    assert chat.say('yes').image is chat.say('no').image is chat.images[0]


def test_the_mark_of_a_picture_in_an_answer_is_no_picture(inferencer, picture):
    chat = inferencer.chat(picture)
    chat.predictions = [read(inferencer, picture, 'Is a harbor present?', 'chat', 'an <image> of it')]
    assert chat.messages[1].text == 'an  of it'
    assert chat.say('yes').tokens


def test_dialogues_in_turn_lose_nothing_and_each_is_told_of_a_failure(inferencer, picture, monkeypatch):
    first, second = inferencer.chat(picture), inferencer.chat(picture)
    pieces = first.stream('Is a harbor present?')
    begin = next(pieces)
    second.say('How many planes are there?')
    assert begin + ''.join(pieces) == first.predictions[-1].answer != begin

    pieces = first.stream('Is a harbor present?')
    next(pieces)
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(inferencer.backend.engine.model.llm, 'logits', lambda states: 1 / 0)
        second.say('How many planes are there?')
    with pytest.raises(BackendError, match='the model failed'):
        list(pieces)
    assert (len(first.predictions), len(second.predictions)) == (1, 1)
    assert second.say('yes').tokens


def test_a_dialogue_longer_than_the_context_is_answered_and_keeps_what_was_said(inferencer, picture):
    chat = inferencer.chat(picture)
    chat.say('yes')
    with pytest.raises(InputError, match='context 512: nothing is left'):
        chat.say('no ' * 600)
    assert len(chat.messages) == 2 and chat.say('yes').tokens


@pytest.mark.parametrize(
    ('question', 'task', 'message'),
    [
        ('', 'chat', 'the question is empty'),
        (' \n', 'refer', 'the question is empty'),
        ('a ship', 'reefer', "no task 'reefer'; did you mean refer"),
        ('<image> a ship', 'chat', '<image>'),
        ({'phrase': 'a ship'}, 'vqa', r"VQAPrompt has the keys \['question'\]"),
        ({'phrase': 'a ship', 'x': 1}, 'refer', 'ReferPrompt'),
        ({'phrase': 3}, 'refer', 'phrase is words, not 3'),
        ({}, 'refer', "the task 'refer' needs phrase"),
        ({}, 'multiple_choice', "the task 'multiple_choice' needs options and question"),
        ({}, 'chat', "the task 'chat' needs text"),
        (7, 'refer', 'a question is words, or a dict'),
        ({'classes': []}, 'scene', 'classes is a list of names'),
        ({'classes': 'port'}, 'scene', 'classes is a list of names'),
        ({'classes': ['port', '']}, 'scene', 'classes is a list of names'),
        ({'boxes': (1, 2, 3)}, 'identify', 'a box is cx, cy, w, h'),
        ({'boxes': 'all'}, 'identify', 'a box is cx, cy, w, h'),
        ({'boxes': (float('nan'), 2, 3, 4, 0)}, 'identify', 'a box is cx, cy, w, h'),
        ({'boxes': (100, 10, 5, 5, 0)}, 'identify', 'outside the picture of 60 x 30 pixels'),
        ({'boxes': (20, 10, 5, 30)}, 'identify', 'a width and a height above 0, not -15 x 20'),
    ],
)
def test_a_question_that_cannot_be_asked_is_answered(inferencer, picture, question, task, message):
    with pytest.raises(InputError, match=message):
        inferencer(picture, [question], task)


@pytest.mark.parametrize('words', [None, 5])
def test_what_is_no_words_is_answered(inferencer, picture, words):
    with pytest.raises(InputError, match=f'a question is words, or a dict .*, not {words}'):
        inferencer.ask(picture, words)


def test_a_task_that_needs_a_picture_says_so(inferencer):
    for task, question in (('refer', 'a ship'), ('grounding', {}), ('identify', {'boxes': (1, 1, 1, 1, 0)})):
        with pytest.raises(InputError, match=f"the task '{task}' needs a picture"):
            inferencer(None, [question], task)


@pytest.mark.parametrize('size', [(1, 1), (1, 300), (300, 1)])
def test_pictures_of_extreme_shapes_are_asked_about(inferencer, size):
    found = inferencer.refer(Image.new('RGB', size), 'the red ship')
    assert found.tokens and min(found.draw().size) >= 1


def test_with_the_grammar_of_boxes_none_is_malformed(inferencer, picture):
    settings = GenerationSettings(max_new_tokens=60, box_grammar=True, temperature=3.0)
    for seed in range(3):
        found = inferencer.refer(picture, 'the red ship', dataclasses.replace(settings, seed=seed))
        assert all(diagnostic.code.startswith('unclosed') for diagnostic in found.grounded.diagnostics)


def test_a_box_over_the_edge_is_a_box():
    np.testing.assert_allclose(as_boxes([[-4, 10, 10, 20], [0, 0, 8, 8]], (60, 30))[0], [3, 15, 14, 10, 0])


def test_a_question_too_long_takes_no_other_with_it(inferencer, picture):
    from geochat.apis import Asked

    asked = [Asked((picture,), words) for words in ('yes', 'no ' * 600, 'two')]
    done = dict(inferencer.predict(map(inferencer.prepare, asked)))
    assert isinstance(done[1], InputError)
    assert done[0].tokens and done[2].tokens
    with pytest.raises(InputError, match='context'):
        inferencer(picture, ['yes', 'no ' * 600])
    assert inferencer(picture, 'yes')[0].answer == done[0].answer


def test_many_questions_are_prepared_only_as_far_as_there_is_work(inferencer, picture):
    from geochat.apis import Asked

    prepared = []

    def questions():
        for number in range(500):
            prepared.append(number)
            yield inferencer.prepare(Asked((picture,), 'yes'), GenerationSettings(max_new_tokens=1))

    answers = inferencer.predict(questions())
    next(answers)
    assert len(prepared) <= 2 * inferencer.backend.batch_size
    answers.close()


def test_settings_in_a_plain_dict_are_refused(inferencer, picture):
    with pytest.raises(TypeError, match=r'settings is GenerationSettings\(...\), not a dict'):
        GeoChatInferencer('no-such-model', settings={'max_new_tokens': 6})
    with pytest.raises(TypeError, match=r'pictures is PictureSettings\(...\), not a dict'):
        GeoChatInferencer('no-such-model', pictures={'stretch': 'full'})
    with pytest.raises(TypeError, match='settings is GenerationSettings'):
        inferencer.ask(picture, 'yes', {'max_new_tokens': 6})
    with pytest.raises(TypeError, match='settings is GenerationSettings'):
        inferencer.chat(picture, {'max_new_tokens': 6}).say('yes')


def test_pictures_are_read_as_the_settings_say(model_folder, picture):
    pixels = np.asarray(picture)
    named = GeoChatInferencer(model_folder, device='cpu', pictures=PictureSettings(channels='bgr'))
    settings = GenerationSettings(max_new_tokens=6)
    by_array = named(pixels[..., ::-1], 'Is a harbor present?', settings=settings)[0]
    assert by_array.answer == named(picture, 'Is a harbor present?', settings=settings)[0].answer
    with pytest.raises(PictureError, match='does not exist'):
        named('gone.png', 'yes')


@pytest.fixture(scope='module')
def folders(tmp_path_factory, model_folder):
    """The model in the layouts of others, in folders whose names tell nothing; a run's work directory; a config."""
    folder = tmp_path_factory.mktemp('layouts')
    save_original(small_model(), folder / 'a')
    convert(model_folder, folder / 'b', 'hf')
    shutil.copytree(model_folder, folder / 'run' / 'model')
    small_run(folder / 'data').dump(folder / 'small.py')
    return folder


def test_every_layout_gives_the_same_answers(inferencer, folders, picture):
    settings = GenerationSettings(max_new_tokens=8)
    answers = {
        name: GeoChatInferencer(*arguments, device='cpu')(picture, ['Is a harbor present?'], settings=settings)[0]
        for name, arguments in {
            'original': (folders / 'a',),
            'Hugging Face': (folders / 'b',),
            'run': (folders / 'run',),
            'config': (folders / 'small.py', folders / 'run'),
            'file': (str(folders / 'small.py'), folders / 'run' / 'model' / 'model.safetensors'),
        }.items()
    }
    own = inferencer(picture, 'Is a harbor present?', settings=settings)[0].answer
    # The first two have LLaVA's system sentence, the others Vicuna's.
    assert answers['original'].answer == answers['Hugging Face'].answer
    assert {answers[name].answer for name in ('run', 'config', 'file')} == {own}


def test_the_dtype_can_be_chosen(model_folder, picture):
    half = GeoChatInferencer(model_folder, device='cpu', dtype='bfloat16')
    assert {weight.dtype.itemsize for weight in half.assistant.model.parameters()} == {2}
    assert half(picture, 'yes', settings=GenerationSettings(max_new_tokens=2))[0].tokens


def test_what_cannot_be_loaded_is_answered(folders, model_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no model folder and no config 'nothing'"):
        GeoChatInferencer('nothing')
    with pytest.raises(FileNotFoundError, match='small2'):
        GeoChatInferencer(folders / 'small2.py', model_folder)
    with pytest.raises(ConfigError, match='name a model, or a backend'):
        GeoChatInferencer()
    with pytest.raises(ConfigError, match='name its weights'):
        GeoChatInferencer(folders / 'small.py')
    with pytest.raises(ConfigError, match='belong to a config'):
        GeoChatInferencer(model_folder, model_folder)
    (tmp_path / 'config.json').write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match='neither a model folder of this project'):
        GeoChatInferencer(tmp_path)
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(ConfigError, match='is not JSON'):
        GeoChatInferencer(tmp_path)
    with pytest.raises(ConfigError, match="the device 'abacus' cannot be used"):
        GeoChatInferencer(model_folder, device='abacus')
    with pytest.raises(ConfigError, match="dtype is one of float32, bfloat16, float16, not 'int8'"):
        GeoChatInferencer(model_folder, device='cpu', dtype='int8')
    shutil.copytree(model_folder, tmp_path / 'mute')
    for path in (tmp_path / 'mute').glob('tokenizer*'):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r'no tokenizer\.model or tokenizer\.json in .*mute'):
        GeoChatInferencer(tmp_path / 'mute')


@pytest.fixture(scope='module')
def geochat():
    """An original GeoChat with random weights, as its authors' code saves one."""
    if not (PARITY / 'geochat-tiny').is_dir():
        pytest.skip('GEOCHAT_PARITY names no folder with geochat-tiny')
    return GeoChatInferencer(PARITY / 'geochat-tiny', device='cpu', dtype='float32')


def test_an_original_checkpoint_answers_as_its_authors_code_does(geochat):
    """Greedy tokens of the original code, from pictures and words alone."""
    tokenizer = geochat.assistant.processor.tokenizer
    cases = json.loads((PARITY / 'forward_expected.json').read_text())['single']
    images = [PARITY / 'images' / case['image'] for case in cases]
    settings = GenerationSettings(max_new_tokens=24)
    answers = geochat(images, [case['question'] for case in cases], settings=settings)
    expected = [tokenizer.decode(case['greedy'], skip_special_tokens=True).strip() for case in cases]
    assert [one.answer for one in answers] == expected


def test_an_original_checkpoint_has_geochats_tasks(geochat):
    image = next((PARITY / 'images').iterdir())
    settings = GenerationSettings(max_new_tokens=4)
    assert geochat.refer(image, 'the red ship', settings).tokens <= 4
    assert geochat.assistant.name == 'geochat-tiny'


def test_compiled_steps_answer_the_same(inferencer, model_folder, picture, monkeypatch):
    unpatched = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda function: unpatched(function, backend='eager'))  # writes no program
    compiled = GeoChatInferencer(model_folder, device='cpu', compile=True, settings=inferencer.settings)
    words = ['Is a harbor present?', 'How many planes are there?']
    assert [one.answer for one in compiled(picture, words)] == [one.answer for one in inferencer(picture, words)]
    with pytest.raises(InputError, match='2 beams do not fit into a batch of 1'):
        compiled(picture, 'yes', settings=GenerationSettings(num_beams=2))
