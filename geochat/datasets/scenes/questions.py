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
"""The first is GeoChat-Bench's; the others are GeoChat_Instruct's."""

IDENTIFY_WORDINGS = (
    '[identify] What is the object present at {box}',
    '[identify] what is this {box}',
)
"""GeoChat-Bench's, and GeoChat's demo's."""

MAX_TURNS = 6
"""Most turns of a dialogue."""

SCENE_SHARE = 0.5
"""Share of the dialogues that ask for the scene's class."""

IDENTIFY_SHARE = 0.6
"""Share of the objects that are identified rather than referred to, among those that may be either."""

EDGE = 0.02
"""How near (fraction of the picture) to a line of the three-by-three grid an object's place is in doubt."""

_ROWS, _COLUMNS = ('top', '', 'bottom'), ('left', '', 'right')

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
    names = []
    for value, words in ((item.cy, _ROWS), (item.cx, _COLUMNS)):
        low, high = _cells(value)
        if low != high:
            return ''
        names.append(words[low])
    return ' '.join(filter(None, names)) or 'center'


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
    """Draw a class to count, so that each count that can be had is equally likely."""
    wanted = rng.choice(sorted({count(scene, name) for name in candidates}))
    return rng.choice([name for name in candidates if count(scene, name) == wanted])


def dialogue(scene: Scene, box_text: BoxText) -> list[Turn]:
    """Ask up to six questions about a scene, in any order.

    No turn gives away a later one's answer: no object is asked about twice; presence and count are asked of two
    classes, before any turn that names them; and what is to be identified is of neither.

    Args:
        scene: The scene.
        box_text: Gives the text of an object's box.
    """
    rng = random.Random(f'dialogue about {scene.name}')
    sought = draw_presence_class(scene, rng)
    counted = draw_count_class(scene, rng, [name for name in CATEGORIES if name != sought])
    turns = [_Draft(presence_turn(scene, sought)), _Draft(count_turn(scene, counted))]
    if rng.random() < SCENE_SHARE:
        turns.append(_Draft(scene_turn(scene)))
    numbers = rng.sample(range(len(scene.objects)), k=min(len(scene.objects), MAX_TURNS - len(turns)))
    turns += filter(None, (_object_turn(scene, number, (sought, counted), box_text, rng) for number in numbers))
    rng.shuffle(turns)
    for position, category in enumerate((sought, counted)):
        task = ('presence', 'count')[position]
        first = next((place for place, draft in enumerate(turns) if draft.names == category), len(turns))
        asked = next(place for place, draft in enumerate(turns) if draft.turn.task == task)
        if first < asked:
            turns.insert(first, turns.pop(asked))
    return [draft.turn for draft in turns]


@dataclass(frozen=True)
class _Draft:
    """A turn and the class that its words or its answer name, if they name an object's."""

    turn: Turn
    names: str = ''


def _object_turn(
    scene: Scene, number: int, set_classes: tuple[str, str], box_text: BoxText, rng: random.Random
) -> _Draft | None:
    """Refer to an object or have it identified; None if neither is possible."""
    item = scene.objects[number]
    phrases = referring_phrases(scene, number)
    may_identify = item.category not in set_classes
    if may_identify and (not phrases or rng.random() < IDENTIFY_SHARE):
        turn = identify_turn(item, box_text(number), rng.choice(IDENTIFY_WORDINGS))
    elif phrases:
        turn = refer_turn(rng.choice(phrases), box_text(number), rng.choice(REFER_WORDINGS))
    else:
        return None
    return _Draft(turn, item.category)
