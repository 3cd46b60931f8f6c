"""What is asked about a built-in scene, in the wordings of GeoChat_Instruct, and the true answers."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from geochat.datasets.scenes.layout import BACKGROUNDS, CATEGORIES, Scene, SceneObject

VQA_SUFFIX = 'Answer the question using a single word or phrase.'
"""What RSVQA's questions end with in GeoChat-Bench."""

SCENE_QUESTION = (
    f'Classify the given image in one of the following classes. Classes: {", ".join(BACKGROUNDS)}. \n'
    'Answer in one word or a short phrase.'
)

REFER_WORDINGS = (
    '[refer] Give me the location of <p> {phrase} </p>',
    '[refer] where is <p>{phrase}</p> ?',
    '[refer] where can I locate the <p>{phrase}</p> ?',
)
"""The first is GeoChat-Bench's, and that of half the turns; the others are GeoChat_Instruct's."""

_REFER_SHARES = (2, 1, 1)

IDENTIFY_WORDINGS = (
    '[identify] What is the object present at {box}',
    '[identify] what is this {box}',
)
"""GeoChat-Bench's, and GeoChat's demo's."""

SCENE_SHARE = 0.3
"""Share of the scenes whose class is asked for; it is learnt from a few."""

MOST_REFERRED, MOST_IDENTIFIED = 4, 2
"""How many objects of a scene are referred to and identified at most."""

PLACED_WEIGHT = 0.25
"""How often a phrase with a place is drawn to learn from, for each time that one without is: who is told the place need
not learn to look for class, colour and size."""

EDGE = 0.02
"""How near (fraction of the picture) to a line of the three-by-three grid an object's place is in doubt."""

_ROWS, _COLUMNS = ('top', '', 'bottom'), ('left', '', 'right')

PLACES = tuple(' '.join(filter(None, names)) or 'center' for names in itertools.product(_ROWS, _COLUMNS))
"""Names of the cells of the three-by-three grid, row by row."""

AT_PLACE = ' at the '
"""What stands between an object and its place in a phrase."""

BoxText = Callable[[int], str]
"""Gives the text of an object's box from its number in the scene."""


@dataclass(frozen=True)
class Turn:
    """One question about a scene and its answer.

    Attributes:
        task: 'scene', 'presence', 'count', 'refer' or 'identify'.
        question: The user's words, without the image placeholder.
        answer: The true answer.
    """

    task: str
    question: str
    answer: str


def describe(item: SceneObject) -> str:
    """Return what an object is, such as ``'red ship'``."""
    return f'{item.color} {item.category}'


def place(item: SceneObject) -> str:
    """Return where an object's centre lies on the three-by-three grid; empty if that is in doubt."""
    (row, last_row), (column, last_column) = _cells(item.cy), _cells(item.cx)
    return PLACES[3 * row + column] if (row, column) == (last_row, last_column) else ''


def _cells(value: float) -> tuple[int, int]:
    """First and last third that a coordinate may be said to lie in."""
    return min(2, int((value - EDGE) * 3)), min(2, int((value + EDGE) * 3))


def _may_be_at(item: SceneObject, other: SceneObject) -> bool:
    """Tell whether someone could say that ``other`` lies where ``item`` surely lies."""
    pairs = ((item.cy, other.cy), (item.cx, other.cx))
    return all(_cells(other_value)[0] <= _cells(value)[0] <= _cells(other_value)[1] for value, other_value in pairs)


def referring_phrases(scene: Scene, index: int) -> list[str]:
    """Return the phrases that fit one object of a scene and no other, from class, colour, size and place.

    Args:
        scene: The scene.
        index: Number of the object in the scene.

    Returns:
        Phrases such as ``'ship'``, ``'large red ship'`` or ``'ship at the top left'``; none if the object has a twin
        that nothing tells apart.
    """
    item = scene.objects[index]
    rivals = [
        other for number, other in enumerate(scene.objects) if number != index and other.category == item.category
    ]
    phrases = []
    for use_size, use_color, use_place in itertools.product((False, True), repeat=3):
        if (use_size and item.size == 'normal') or (use_place and not place(item)):
            continue
        if any(
            (not use_size or other.size == item.size)
            and (not use_color or other.color == item.color)
            and (not use_place or _may_be_at(item, other))
            for other in rivals
        ):
            continue
        words = [item.size] * use_size + [item.color] * use_color + [item.category]
        phrases.append(' '.join(words) + (AT_PLACE + place(item) if use_place else ''))
    return phrases


def scene_turn(scene: Scene) -> Turn:
    """Ask for the scene's class."""
    return Turn('scene', SCENE_QUESTION, scene.background)


def presence_turn(scene: Scene, category: str) -> Turn:
    """Ask whether there is an object of a class."""
    article = 'an' if category[0] in 'aeiou' else 'a'
    answer = 'yes' if count(scene, category) else 'no'
    return Turn('presence', f'Is there {article} {category} in the image? {VQA_SUFFIX}', answer)


def count_turn(scene: Scene, category: str) -> Turn:
    """Ask how many objects of a class there are."""
    return Turn('count', f'What is the number of {category}s in the image? {VQA_SUFFIX}', str(count(scene, category)))


def refer_turn(phrase: str, box: str, wording: str = REFER_WORDINGS[0]) -> Turn:
    """Ask where the object of a phrase is."""
    return Turn('refer', wording.format(phrase=phrase), box)


def identify_turn(item: SceneObject, box: str, wording: str = IDENTIFY_WORDINGS[0]) -> Turn:
    """Ask what stands in a box."""
    return Turn('identify', wording.format(box=box), f'<p>1 {describe(item)}</p>')


def count(scene: Scene, category: str) -> int:
    """Return how many objects of a class a scene has."""
    return sum(item.category == category for item in scene.objects)


def draw_presence_class(scene: Scene, rng: random.Random, candidates: Sequence[str] = tuple(CATEGORIES)) -> str:
    """Draw a class to ask the presence of, so that yes and no are equally likely where both can be had."""
    wanted = rng.random() < 0.5
    fitting = [name for name in candidates if (count(scene, name) > 0) is wanted]
    return rng.choice(fitting or list(candidates))


def draw_count_class(scene: Scene, rng: random.Random, candidates: Sequence[str] = tuple(CATEGORIES)) -> str:
    """Draw a class to count, the rarer large counts rather than the small ones."""
    counts = sorted({count(scene, name) for name in candidates})
    (wanted,) = rng.choices(counts, weights=[1 + number for number in counts])
    return rng.choice([name for name in candidates if count(scene, name) == wanted])


def independent_turns(scene: Scene, box_text: BoxText) -> list[Turn]:
    """Ask around ten questions about a scene, in any order; each is to be answered without regard to the others.

    Args:
        scene: The scene.
        box_text: Gives the text of an object's box.
    """
    rng = random.Random(f'questions about {scene.name}')
    turns = [scene_turn(scene)] if rng.random() < SCENE_SHARE else []
    free = list(CATEGORIES)
    for draw, ask in CLASS_QUESTIONS:
        free.remove(category := draw(scene, rng, free))
        turns.append(ask(scene, category))
    phrases = {number: referring_phrases(scene, number) for number in range(len(scene.objects))}
    for number in _some([number for number, fitting in phrases.items() if fitting], MOST_REFERRED, rng):
        (wording,) = rng.choices(REFER_WORDINGS, weights=_REFER_SHARES)
        turns.append(refer_turn(_draw_phrase(phrases[number], rng), box_text(number), wording))
    for number in _some(list(phrases), MOST_IDENTIFIED, rng):
        turns.append(identify_turn(scene.objects[number], box_text(number), rng.choice(IDENTIFY_WORDINGS)))
    rng.shuffle(turns)
    return turns


def _draw_phrase(phrases: Sequence[str], rng: random.Random) -> str:
    (phrase,) = rng.choices(phrases, weights=[PLACED_WEIGHT if AT_PLACE in phrase else 1 for phrase in phrases])
    return phrase


def _some(numbers: list[int], most: int, rng: random.Random) -> list[int]:
    return rng.sample(numbers, min(most, len(numbers)))


CLASS_QUESTIONS = 2 * ((draw_presence_class, presence_turn), (draw_count_class, count_turn)) + (
    (draw_presence_class, presence_turn),
)
"""The questions for classes about each scene, and how their classes are drawn."""
