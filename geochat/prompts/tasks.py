"""Task prompt templates: each puts a task's questions into words, and is the only place that reads its answers.

The words are those of GeoChat's training data and benchmark. Where the two differ the class says which it follows; its
``template`` setting takes the other.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from string import Formatter
from typing import Any, ClassVar

from geochat.box_codecs import BoxCodec
from geochat.registry import TASK_PROMPT_TEMPLATES
from geochat.structures import ParsedAnswer

ImageSize = tuple[int, int] | None
"""Width and height of the original image in pixels; None for a question about text only."""


class TaskPrompt(ABC):
    """Puts a task's questions into words and reads its answers.

    A query is a mapping with the task's own keys, or with the key ``text``: the words as a benchmark file gives them,
    which are used as they are. Beside these words it may have the ``classes`` or ``options`` that they offer.

    Attributes:
        forms: The sets of keys that a query may have, beside ``text`` alone.
    """

    forms: ClassVar[tuple[frozenset[str], ...]] = ()

    def render(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Put a query into the user's words, without the image placeholder.

        Args:
            query: The task's query.
            codec: Writes the query's boxes.
            image_size: Width and height of the original image in pixels; None for a question about text only.

        Raises:
            ValueError: If the query's keys are not the task's; the message names both.
        """
        if {'text'} <= set(query) <= {'text', 'classes', 'options'}:
            return query['text']
        if set(query) not in self.forms:
            forms = ' or '.join(str(sorted(form)) for form in (*self.forms, {'text'}))
            raise ValueError(f'a query of {type(self).__name__} has the keys {forms}, not {sorted(query)}')
        return self.words(query, codec, image_size)

    @abstractmethod
    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Put a query of one of :attr:`forms` into words."""

    @abstractmethod
    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read a model's answer; no text makes it raise.

        Args:
            answer: The model's words.
            codec: Reads the answer's boxes.
            image_size: Width and height of the original image in pixels; None for a question about text only.
        """


def read_words(answer: str) -> ParsedAnswer:
    """Read an answer in words; it is malformed if there are none."""
    return ParsedAnswer(answer.strip(), malformed=not answer.strip())


def read_description(answer: str) -> ParsedAnswer:
    """Read the description of an object, which GeoChat writes in phrase marks, without them."""
    return read_words(re.sub(r'</?p>', '', answer))


def read_boxes(answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
    """Read an answer in boxes; it is malformed if there are none, or if the codec has anything to complain of."""
    grounded = codec.decode(answer, image_size)
    malformed = len(grounded.boxes) == 0 or len(grounded.diagnostics) > 0
    return ParsedAnswer(answer.strip(), grounded.boxes, grounded, malformed)


def read_grounded_words(answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
    """Read words whose phrases have boxes; it is malformed as an answer in boxes is. The text is the words alone."""
    parsed = read_boxes(answer, codec, image_size)
    return replace(parsed, text=parsed.grounded.words)


def object_class(phrase: str) -> str:
    """Return the class that a phrase names: in lower case, without a number or article before it, in the singular.

    ``'3 Tennis courts'`` is ``'tennis court'``. An ``s`` at the end is taken off unless it follows ``i``, ``s`` or
    ``u``, as in ``bus``; of an ``es`` after ``ss``, ``us``, ``ch`` or ``sh`` both letters go, as in ``overpasses``.
    """
    words = re.sub(r'^(?:(?:an?|the|[0-9]+)\s+)+', '', ' '.join(phrase.lower().split()))
    return re.sub(r'(?<=ss|us|ch|sh)es$|(?<=[^isu])s$', '', words)


def check_template(template: str, *fields: str) -> str:
    """Return a template that has exactly the given fields.

    Raises:
        ValueError: If it has others; the message quotes it.
    """
    found = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    if sorted(found) != sorted(fields):
        raise ValueError(f'a template with the fields {list(fields)} is needed, not {template!r}')
    return template


@TASK_PROMPT_TEMPLATES.register_module()
class SceneClassificationPrompt(TaskPrompt):
    """Which of the given classes a picture shows; query ``{'classes': [str, ...]}``, the answer is a class.

    Args:
        template: Words with the field ``{classes}``; by default those of GeoChat_Instruct. GeoChat-Bench says "Classify
            the image from the following classes." and brings its words as ``text``.
    """

    forms = (frozenset({'classes'}),)

    def __init__(
        self,
        template: str = 'Classify the given image in one of the following classes. Classes: {classes}. \n'
        'Answer in one word or a short phrase.',
    ):
        self.template = check_template(template, 'classes')

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Name the classes, separated by commas, in their order."""
        return self.template.format(classes=', '.join(query['classes']))

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the class."""
        return read_words(answer)


@TASK_PROMPT_TEMPLATES.register_module()
class VQAPrompt(TaskPrompt):
    """A question with a short answer; query ``{'question': str}``.

    Args:
        template: Words with the field ``{question}``; by default those of GeoChat-Bench. GeoChat_Instruct says "Answer
            in one word or a short phrase."
    """

    forms = (frozenset({'question'}),)

    def __init__(self, template: str = '{question}\nAnswer the question using a single word or phrase.'):
        self.template = check_template(template, 'question')

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Add how to answer, unless the question says so itself, as benchmark files often do."""
        question = query['question']
        how_to_answer = self.template.partition('{question}')[2].strip()
        if how_to_answer and question.rstrip().endswith(how_to_answer):
            return question
        return self.template.format(question=question)

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the word or phrase."""
        return read_words(answer)


@TASK_PROMPT_TEMPLATES.register_module()
class ReferPrompt(TaskPrompt):
    """Where a described object is; query ``{'phrase': str}``, the answer is its box or boxes.

    Args:
        template: Words with the field ``{phrase}``; by default those of GeoChat-Bench. GeoChat_Instruct also says
            "[refer] where is <p>{phrase}</p> ?" and "[refer] where can I locate the <p>{phrase}</p> ?".
    """

    forms = (frozenset({'phrase'}),)

    def __init__(self, template: str = '[refer] Give me the location of <p> {phrase} </p>'):
        self.template = check_template(template, 'phrase')

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Ask for the phrase."""
        return self.template.format(phrase=query['phrase'])

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the boxes."""
        return read_boxes(answer, codec, image_size)


@TASK_PROMPT_TEMPLATES.register_module()
class IdentifyPrompt(TaskPrompt):
    """What stands in a box; query ``{'boxes': (N, 5) array}``, the answer names it.

    Args:
        template: Words with the field ``{boxes}``; by default those of GeoChat's demo.
    """

    forms = (frozenset({'boxes'}),)

    def __init__(self, template: str = '[identify] what is this {boxes}'):
        self.template = check_template(template, 'boxes')

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Write the boxes into the question."""
        return self.template.format(boxes=codec.encode(query['boxes'], image_size))

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the name, without phrase marks."""
        return read_description(answer)


@TASK_PROMPT_TEMPLATES.register_module()
class RegionCaptionPrompt(IdentifyPrompt):
    """A sentence about what stands in a box; query ``{'boxes': (N, 5) array}``.

    Args:
        template: Words with the field ``{boxes}``; by default those of GeoChat-Bench's region captions.
    """

    def __init__(self, template: str = '[identify] What is the object present at {boxes}'):
        super().__init__(template)


@TASK_PROMPT_TEMPLATES.register_module()
class GroundingPrompt(TaskPrompt):
    """A description whose phrases have boxes, or all boxes of a phrase; query ``{}`` or ``{'phrase': str}``.

    Args:
        template: Words with the field ``{phrase}``; by default those of GeoChat_Instruct. GeoChat's evaluation of
            GeoChat-Bench leaves out the space.
        description: What takes the phrase's place in a query without one.
    """

    forms = (frozenset(), frozenset({'phrase'}))

    def __init__(self, template: str = '[grounding] {phrase}', description: str = 'Describe the image in detail.'):
        self.template = check_template(template, 'phrase')
        self.description = description

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Ask for the phrase, or for a description."""
        return self.template.format(phrase=query.get('phrase', self.description))

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the boxes, and the words without them; the phrases they belong to are in the codec's reading."""
        return read_grounded_words(answer, codec, image_size)


@TASK_PROMPT_TEMPLATES.register_module()
class DetectionPrompt(TaskPrompt):
    """All objects of some classes; query ``{'classes': [str, ...]}``, the answer names each class and its boxes.

    Args:
        template: Words with the field ``{classes}``. GeoChat was trained on no such question; these are this project's.
    """

    forms = (frozenset({'classes'}),)

    def __init__(self, template: str = '[grounding] Locate every object of these classes: {classes}.'):
        self.template = check_template(template, 'classes')

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Name the classes, separated by commas, in their order."""
        return self.template.format(classes=', '.join(query['classes']))

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the boxes, and as the class of each what the phrase it belongs to names (:func:`object_class`).

        A box without a phrase has the class ``''``. The answer is malformed if there is nothing in it, or if the codec
        has anything to complain of; one without boxes is not, for there may be nothing to find.
        """
        grounded = codec.decode(answer, image_size)
        labels = tuple(map(object_class, grounded.box_labels))
        malformed = not answer.strip() or len(grounded.diagnostics) > 0
        return ParsedAnswer(grounded.words, grounded.boxes, grounded, malformed, labels)


@TASK_PROMPT_TEMPLATES.register_module()
class MultipleChoicePrompt(TaskPrompt):
    """A question with options to choose from; query ``{'question': str, 'options': [str, ...]}``.

    Args:
        template: Words with the fields ``{question}`` and ``{options}``, a line each. GeoChat was trained on no such
            question; these are this project's.
    """

    forms = (frozenset({'question', 'options'}),)

    def __init__(self, template: str = '{question}\n{options}\nAnswer with the letter of the right option.'):
        self.template = check_template(template, 'question', 'options')

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Put the options below the question, each after its letter."""
        options = '\n'.join(f'{chr(ord("A") + place)}. {words}' for place, words in enumerate(query['options']))
        return self.template.format(question=query['question'], options=options)

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the answer's words; which option they mean is for the metric to say, for protocols differ in it."""
        return read_words(answer)


@TASK_PROMPT_TEMPLATES.register_module()
class CaptionPrompt(TaskPrompt):
    """A description of the whole picture; query ``{}``.

    Args:
        template: The words; by default those of GeoChat_Instruct.
    """

    forms = (frozenset(),)

    def __init__(self, template: str = 'Describe the image in detail.'):
        self.template = check_template(template)

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Ask for a description."""
        return self.template.format()

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the description."""
        return read_words(answer)


@TASK_PROMPT_TEMPLATES.register_module()
class ChatPrompt(TaskPrompt):
    """Anything a user says, in the user's words: the only query is ``{'text': str}``. The answer may have boxes."""

    def words(self, query: Mapping[str, Any], codec: BoxCodec, image_size: ImageSize) -> str:
        """Use the user's words as they are."""
        return query['text']

    def parse(self, answer: str, codec: BoxCodec, image_size: ImageSize) -> ParsedAnswer:
        """Read the words, and the boxes in them if there is a picture that they can lie on."""
        if image_size is None:
            return read_words(answer)
        grounded = codec.decode(answer, image_size)
        return ParsedAnswer(answer.strip(), grounded.boxes, grounded, malformed=not answer.strip())
