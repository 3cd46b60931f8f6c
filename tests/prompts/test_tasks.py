"""Task prompt templates: the words of GeoChat's data and benchmark, and how each task reads its answers."""

import numpy as np
import pytest

from geochat.box_codecs import GeoChatBoxCodec
from geochat.prompts import (
    CaptionPrompt,
    ChatPrompt,
    DetectionPrompt,
    GroundingPrompt,
    IdentifyPrompt,
    MultipleChoicePrompt,
    ReferPrompt,
    RegionCaptionPrompt,
    SceneClassificationPrompt,
    TaskPrompt,
    VQAPrompt,
)
from geochat.prompts.tasks import object_class
from geochat.registry import TASK_PROMPT_TEMPLATES

CODEC = GeoChatBoxCodec()
SIZE = (200, 100)
BOX = np.array([[40, 30, 40, 20, np.deg2rad(50)]])
EVERY = (
    SceneClassificationPrompt,
    VQAPrompt,
    ReferPrompt,
    IdentifyPrompt,
    GroundingPrompt,
    RegionCaptionPrompt,
    CaptionPrompt,
    ChatPrompt,
    DetectionPrompt,
    MultipleChoicePrompt,
)


@pytest.mark.parametrize(
    ('prompt', 'query', 'words'),
    [
        (
            SceneClassificationPrompt(),
            {'classes': ['railway station', 'harbor', 'basketball court']},
            'Classify the given image in one of the following classes. Classes: railway station, harbor, basketball '
            'court. \nAnswer in one word or a short phrase.',
        ),
        (
            VQAPrompt(),
            {'question': 'Is there a road?'},
            'Is there a road?\nAnswer the question using a single word or phrase.',
        ),
        (
            ReferPrompt(),
            {'phrase': 'silver boeing737 airplane'},
            '[refer] Give me the location of <p> silver boeing737 airplane </p>',
        ),
        (
            ReferPrompt(template='[refer] where is <p>{phrase}</p> ?'),
            {'phrase': 'the {red} ship'},
            '[refer] where is <p>the {red} ship</p> ?',
        ),
        (IdentifyPrompt(), {'boxes': BOX}, '[identify] what is this {<10><20><30><40>|<50>}'),
        (
            RegionCaptionPrompt(),
            {'boxes': BOX},
            '[identify] What is the object present at {<10><20><30><40>|<50>}',
        ),
        (GroundingPrompt(), {}, '[grounding] Describe the image in detail.'),
        (GroundingPrompt(), {'phrase': '2 ships at the left'}, '[grounding] 2 ships at the left'),
        (CaptionPrompt(), {}, 'Describe the image in detail.'),
        (
            DetectionPrompt(),
            {'classes': ('ship', 'tennis-court')},
            '[grounding] Locate every object of these classes: ship, tennis-court.',
        ),
        (
            MultipleChoicePrompt(),
            {'question': 'What is it?', 'options': ('a ship', 'a plane')},
            'What is it?\nA. a ship\nB. a plane\nAnswer with the letter of the right option.',
        ),
        (ChatPrompt(), {'text': 'Hello.'}, 'Hello.'),
    ],
)
def test_a_query_is_put_into_geochat_s_words(prompt, query, words):
    assert prompt.render(query, CODEC, SIZE) == words


@pytest.mark.parametrize('prompt', EVERY)
def test_words_of_a_benchmark_file_are_used_as_they_are(prompt):
    words = ' Is there a {road}?\nAnswer the question using a single word or phrase. '
    assert prompt().render({'text': words}, CODEC, None) == words
    assert prompt().render({'text': words, 'options': ('yes', 'no')}, CODEC, None) == words


def test_how_to_answer_is_not_said_twice():
    question = 'Is it rural?\nAnswer the question using a single word or phrase.'
    assert VQAPrompt().render({'question': question}, CODEC, None) == question
    assert VQAPrompt('{question}').render({'question': 'Is it rural?'}, CODEC, None) == 'Is it rural?'


@pytest.mark.parametrize(
    ('prompt', 'query'),
    [
        (ReferPrompt(), {}),
        (ReferPrompt(), {'phrases': 'a ship'}),
        (ReferPrompt(), {'phrase': 'a ship', 'text': 'where is a ship?'}),
        (CaptionPrompt(), {'phrase': 'a ship'}),
        (ChatPrompt(), {'question': 'where?'}),
    ],
)
def test_a_query_with_other_keys_is_an_error_that_names_them(prompt, query):
    with pytest.raises(ValueError, match=rf"{type(prompt).__name__}.*'text'.*not \[") as error:
        prompt.render(query, CODEC, SIZE)
    assert all(repr(key) in str(error.value) for key in query)


@pytest.mark.parametrize(
    ('prompt', 'template'),
    [
        (ReferPrompt, 'where is it?'),
        (ReferPrompt, 'where is {prase}?'),
        (SceneClassificationPrompt, '{classes} {classes}'),
        (CaptionPrompt, 'Describe {it}.'),
    ],
)
def test_a_template_with_other_fields_is_an_error(prompt, template):
    with pytest.raises(ValueError, match=r'template with the fields') as error:
        prompt(template=template)
    assert template in str(error.value)


@pytest.mark.parametrize('prompt', [SceneClassificationPrompt, VQAPrompt, CaptionPrompt, MultipleChoicePrompt])
def test_answers_in_words(prompt):
    answer = prompt().parse('  Storage Tank.\n', CODEC, None)
    assert (answer.text, answer.boxes, answer.malformed) == ('Storage Tank.', None, False)
    assert prompt().parse(' \n', CODEC, None).malformed


@pytest.mark.parametrize('prompt', [IdentifyPrompt, RegionCaptionPrompt])
def test_descriptions_lose_their_phrase_marks(prompt):
    answer = prompt().parse('<p>1 dump-truck at the center</p>', CODEC, SIZE)
    assert (answer.text, answer.boxes, answer.malformed) == ('1 dump-truck at the center', None, False)
    assert prompt().parse('<p></p>', CODEC, SIZE).malformed


@pytest.mark.parametrize('prompt', [ReferPrompt, GroundingPrompt])
def test_answers_in_boxes(prompt):
    answer = prompt().parse(' {<10><20><30><40>|<50>}', CODEC, SIZE)
    np.testing.assert_allclose(answer.boxes, BOX)
    assert not answer.malformed and answer.grounded.text == ' {<10><20><30><40>|<50>}'
    assert answer.text == ('' if prompt is GroundingPrompt else '{<10><20><30><40>|<50>}')


@pytest.mark.parametrize(
    ('text', 'boxes'),
    [
        ('', 0),
        ('at the left', 0),
        ('{<1><2><3>}', 0),
        ('{<10><20><30><40>|<50>}{<10><20>', 1),
        ('{<30><20><10><40>|<50>}', 1),
    ],
)
def test_an_answer_without_boxes_or_with_a_faulty_one_is_malformed_and_keeps_what_can_be_read(text, boxes):
    answer = ReferPrompt().parse(text, CODEC, SIZE)
    assert answer.malformed and len(answer.boxes) == boxes


def test_grounded_descriptions_keep_their_phrases():
    answer = GroundingPrompt().parse('<p>a ship</p> {<10><20><30><40>|<50>} at sea', CODEC, SIZE)
    assert [(phrase.text, phrase.box_indices) for phrase in answer.grounded.phrases] == [('a ship', (0,))]


def test_grounded_descriptions_have_words_without_boxes_and_marks():
    text = 'Two <p>ships</p> {<10><20><30><40>|<50>}{<1><2>} , and <p>a pier</p>{<0><0><9><9>|<0>}.'
    answer = GroundingPrompt().parse(text, CODEC, SIZE)
    assert answer.text == 'Two ships, and a pier.'
    assert len(answer.boxes) == 2 and answer.malformed


def test_detections_have_the_class_that_their_phrase_names():
    box = '{<10><20><30><40>|<50>}'
    text = f'{box} <p>2 Small-vehicles</p> {box}{box} and <p>the bus</p> {box} near <p>tennis courts</p>'
    answer = DetectionPrompt().parse(text, CODEC, SIZE)
    assert answer.labels == ('', 'small-vehicle', 'small-vehicle', 'bus')
    assert answer.boxes.shape == (4, 5) and not answer.malformed
    assert answer.text == '2 Small-vehicles and the bus near tennis courts'


@pytest.mark.parametrize(('text', 'malformed'), [('there are none', False), ('', True), ('<p>ship</p> {<1>}', True)])
def test_nothing_detected_is_an_answer_but_no_words_or_a_faulty_box_are_not(text, malformed):
    answer = DetectionPrompt().parse(text, CODEC, SIZE)
    assert (answer.malformed, answer.labels, answer.boxes.shape) == (malformed, (), (0, 5))


@pytest.mark.parametrize(
    ('phrase', 'expected'),
    [
        ('ship', 'ship'),
        ('3  Tennis courts', 'tennis court'),
        ('the overpass', 'overpass'),
        ('2 overpasses', 'overpass'),
        ('buses', 'bus'),
        ('12 bridges', 'bridge'),
        ('an Expressway-Service-areas', 'expressway-service-area'),
        ('747', '747'),
        ('', ''),
    ],
)
def test_the_class_of_a_phrase(phrase, expected):
    assert object_class(phrase) == expected


def test_a_chat_reads_boxes_where_there_is_a_picture():
    answer = ChatPrompt().parse('There: {<10><20><30><40>|<50>}', CODEC, SIZE)
    assert len(answer.boxes) == 1 and not answer.malformed
    assert ChatPrompt().parse('Hello.', CODEC, SIZE).boxes.shape == (0, 5)
    assert ChatPrompt().parse('{<1><2><3><4>}', CODEC, None).boxes is None
    assert ChatPrompt().parse('', CODEC, None).malformed


@pytest.mark.parametrize('prompt', EVERY)
def test_every_template_is_registered_under_its_class_name(prompt):
    assert isinstance(TASK_PROMPT_TEMPLATES.build({'type': prompt.__name__}), TaskPrompt)
