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

OBJECTS_SHARE, LONE_OBJECT_SHARE = 0.7, 0.3
"""Share of the dialogues that are about single objects, where there are several and where there is one."""

IDENTIFY_SHARE = 0.35
"""Share of the objects that are identified rather than referred to."""

EDGE = 0.02
"""How near (fraction of the picture) to a line of the three-by-three grid an object's place is in doubt."""

_ROWS, _COLUMNS = ('top', '', 'bottom'), ('left', '', 'right')

PLACES = tuple(' '.join(filter(None, names)) or 'center' for names in itertools.product(_ROWS, _COLUMNS))
"""Names of the cells of the three-by-three grid, row by row."""

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
        phrases.append(' '.join(words) + (f' at the {place(item)}' if use_place else ''))
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


def dialogue(scene: Scene, box_text: BoxText) -> list[Turn]:
    """Ask up to six questions about a scene, in any order: either about classes, or about single objects.

    No turn gives away another's answer: each is about another class or another object, and what names an object's class
    does not stand beside questions for classes.

    Args:
        scene: The scene.
        box_text: Gives the text of an object's box.
    """
    rng = random.Random(f'dialogue about {scene.name}')
    about_objects = rng.random() < (OBJECTS_SHARE if len(scene.objects) > 1 else LONE_OBJECT_SHARE)
    turns = _object_turns(scene, box_text, rng) if about_objects else _class_turns(scene, rng)
    rng.shuffle(turns)
    return turns


def _class_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Ask for the scene's class, three times whether there is an object of a class, and twice how many there are."""
    turns, free = [scene_turn(scene)], list(CATEGORIES)
    for draw, ask in ((draw_presence_class, presence_turn), (draw_count_class, count_turn)) * 2:
        free.remove(category := draw(scene, rng, free))
        turns.append(ask(scene, category))
    turns.append(presence_turn(scene, draw_presence_class(scene, rng, free)))
    return turns


def _object_turns(scene: Scene, box_text: BoxText, rng: random.Random) -> list[Turn]:
    """Refer to each object or have it identified."""
    turns = []
    for number, item in enumerate(scene.objects):
        phrases = referring_phrases(scene, number)
        if not phrases or rng.random() < IDENTIFY_SHARE:
            turns.append(identify_turn(item, box_text(number), rng.choice(IDENTIFY_WORDINGS)))
        else:
            (wording,) = rng.choices(REFER_WORDINGS, weights=_REFER_SHARES)
            turns.append(refer_turn(rng.choice(phrases), box_text(number), wording))
    return turns
