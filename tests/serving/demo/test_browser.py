"""The demo as people use it, in a browser."""

import io
import json
import math

import numpy as np
import pytest
from PIL import Image
from small_demo import small_demo_model

from geochat.apis import GeoChatInferencer
from geochat.generation import GenerationSettings
from geochat.structures.polygons import box_corners

pytestmark = pytest.mark.browser

BOX = '{<10><35><50><55>|<30>}'
"""A box of GeoChat's language."""


def picture(size=(200, 100), color=(30, 90, 40)):
    image = Image.new('RGB', size, color)
    image.paste((200, 30, 30), (20, 20, 60, 40))
    return image


@pytest.fixture
def file(tmp_path):
    """Return a function that saves a picture and returns its path."""

    def save(image=None, name='scene.png', **settings):
        (image or picture()).save(tmp_path / name, **settings)
        return tmp_path / name

    return save


def alone(words, settings=None, image=None):
    """Return what the model says to each of some turns, without a page."""
    dialogue = GeoChatInferencer(small_demo_model()).chat(image or picture())
    settings = settings or GenerationSettings(64)
    return [dialogue.say(one, settings=settings).answer for one in words]


def test_where_something_is(user, demo, file):
    """Upload, refer, boxes on the picture and in the text in one colour, and the files to keep."""
    someone = user()
    someone.open(file())
    someone.choose('Refer')
    demo.prompter.say(BOX)
    answer = someone.ask('the red ship')
    assert someone.questions() == ['[refer] Give me the location of <p> the red ship </p>']
    assert 'the red ship' in answer
    assert '30°' in answer

    assistant = demo.prompter.assistant
    box = assistant.box_codec.decode(BOX, (200, 100)).boxes
    content, name = someone.download('geojson')
    (feature,) = json.loads(content)['features']
    assert name == 'geochat.geojson'
    assert json.loads(content)['coordinate_system']['unit'] == 'pixel'
    assert np.allclose(feature['geometry']['coordinates'][0][:4], box_corners(box)[0], atol=1e-3)
    assert feature['properties']['phrase'] == 'the red ship'
    assert feature['properties']['angle'] == pytest.approx(math.degrees(box[0, 4]), abs=1e-3)
    content = json.loads(someone.download('json')[0])
    assert content['answer'] == BOX
    assert np.allclose(content['boxes'], box, atol=1e-3)

    color = someone.page.locator('.gc-boxes mark').evaluate('mark => getComputedStyle(mark).backgroundColor')
    color = tuple(int(value) for value in color.strip('rgb()').split(','))
    drawing = Image.open(io.BytesIO(someone.download('png')[0])).convert('RGB')
    scale = drawing.width / 200
    corner = box_corners(box)[0, 0] * scale
    near = np.asarray(drawing.crop((*(corner - 6), *(corner + 6)))).reshape(-1, 3)
    assert (np.abs(near.astype(int) - color).max(axis=1) < 8).any()
    assert someone.page.locator('.gc-picture').evaluate('picture => picture.naturalWidth') == drawing.width


def test_phrases_of_an_answer_have_the_colours_of_their_boxes(user, demo, file):
    someone = user()
    someone.open(file())
    someone.choose('Describe with boxes')
    demo.prompter.say(f'<p>a ship</p> {BOX} and <p>two planes</p> {{<1><32><9><39>|<0>}}')
    assert someone.ask('').startswith('a ship and two planes')
    assert someone.questions() == ['[grounding] Describe the image in detail.']
    colors = someone.page.locator('.gc-model mark').evaluate_all('all => all.map((one) => one.style.background)')
    assert colors[:2] == colors[2:]  # in the words, and in the list of boxes
    assert len(set(colors)) == 2


def test_an_earlier_answer_is_put_on_the_picture_again(user, demo, file):
    someone = user()
    someone.open(file())
    someone.choose('Refer')
    for phrase, box in (('the red ship', BOX), ('the dock', '{<1><32><9><39>|<0>}')):
        demo.prompter.say(box)
        someone.ask(phrase)
    assert json.loads(someone.download('json')[0])['labels'] == ['the dock']
    someone.page.get_by_role('button', name='Show on the picture').click()
    someone.page.wait_for_function("document.querySelector('.gc-picture').alt.endsWith('the red ship')")
    assert json.loads(someone.download('json')[0])['answer'] == BOX
    demo.prompter.say('{<1><32><9><39>|<0>}')
    someone.ask('a car')
    assert someone.page.get_attribute('.gc-picture', 'alt').endswith('a car')


def test_a_box_that_is_drawn_is_asked_about(user, demo, file):
    someone = user()
    someone.open(file())
    someone.draw(0.1, 0.2, 0.3, 0.4)
    someone.page.get_by_role('radio', name='Identify', exact=True, checked=True).wait_for()
    demo.prompter.say('<p>a red ship</p>')
    answer = someone.answer_after(lambda: someone.page.get_by_role('button', name='What is this?').click())
    assert answer.startswith('a red ship')
    (question,) = someone.questions()
    boxes = demo.prompter.assistant.box_codec.decode(question, (200, 100)).boxes
    assert np.allclose(boxes, [[40, 30, 40, 20, 0]], atol=2.5)
    (feature,) = json.loads(someone.download('geojson')[0])['features']
    assert feature['properties']['phrase'] == 'a red ship'
    assert someone.page.locator('.gc-remove').is_disabled()  # the box is a part of the answer now


def test_a_box_is_turned_by_its_handle_and_by_keys(user, demo, file):
    someone = user()
    someone.open(file())
    someone.draw(0.3, 0.4, 0.7, 0.6)
    handle = someone.page.locator('.gc-handle').bounding_box()
    area = someone.page.locator('.gc-stage').bounding_box()
    someone.page.mouse.move(handle['x'] + handle['width'] / 2, handle['y'] + handle['height'] / 2)
    someone.page.mouse.down()
    someone.page.mouse.move(area['x'] + area['width'] * 0.7, area['y'] + area['height'] * 0.1, steps=3)
    someone.page.mouse.up()
    someone.page.keyboard.press(']')
    demo.prompter.say('ship')
    someone.ask()
    boxes = demo.prompter.assistant.box_codec.decode(someone.questions()[0], (200, 100)).boxes
    # From the centre (100, 50) the pointer stands at (140, 10): 45 degrees clockwise from above; the key adds 5.
    assert math.degrees(boxes[0, 4]) == pytest.approx(50, abs=2)
    assert boxes[0, :2] == pytest.approx([100, 50], abs=2)


def test_a_finger_draws_only_after_the_button(user, file):
    someone = user(has_touch=True)
    someone.open(file())
    session = someone.context.new_cdp_session(someone.page)
    area = someone.page.locator('.gc-stage').bounding_box()

    def swipe():
        start, end = area['x'] + 0.2 * area['width'], area['x'] + 0.5 * area['width']
        for kind, x in (
            ('touchStart', start),
            ('touchMove', (start + end) / 2),
            ('touchMove', end),
            ('touchEnd', None),
        ):
            y = area['y'] + area['height'] * (0.3 if x == start else 0.6)
            points = [] if x is None else [{'x': x, 'y': y}]
            session.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': points})

    swipe()
    assert someone.page.locator('.gc-identify').is_disabled()
    someone.page.get_by_role('button', name='Draw a box').click()
    swipe()
    someone.page.wait_for_function("!document.querySelector('.gc-identify').disabled")


def test_the_dialogue_remembers_both_sides(user, file):
    someone = user()
    someone.open(file())
    words = ['Is a harbor present?', 'How many planes are there?']
    expected = alone(words)
    assert expected[1] != alone(words[1:])[0]  # the second depends on the first
    for one in words:
        someone.ask(one)
    assert someone.words() == [' '.join(text.split()) for text in expected]


def test_clear_forgets_what_was_said_and_keeps_the_picture(user, file):
    someone = user()
    someone.open(file())
    someone.ask('Is a harbor present?')
    someone.page.click('#gc-clear')
    someone.page.wait_for_function("!document.querySelector('.gc-model')")
    question = 'How many planes are there?'
    someone.ask(question)
    assert someone.words() == [' '.join(alone([question])[0].split())]


def test_retry_draws_anew_and_settings_do_what_they_say(user, file):
    someone = user()
    someone.open(file())
    question = 'Is a harbor present?'
    likeliest = someone.ask(question)
    retry = lambda: someone.answer_after(lambda: someone.page.click('#gc-again'))  # noqa: E731
    assert retry() == likeliest
    someone.page.click('#gc-settings button')
    someone.set('Temperature', 2)
    drawn = {retry(), retry()}
    assert len(drawn | {likeliest}) == 3
    someone.set('Temperature', 1)
    someone.set('Top-p', 0.05)  # no more than the likeliest token is left
    assert retry() == likeliest
    someone.set('Most tokens of an answer', 3)
    assert 'Cut off after 3 tokens' in retry()
    assert someone.questions() == [question]


def test_an_answer_streams_and_is_stopped(user, demo, file):
    someone = user()
    someone.open(file())
    demo.prompter.seconds = 0.1
    try:
        demo.prompter.say('yes no ' * 40)
        someone.page.fill('#gc-words textarea', 'Is a harbor present?')
        someone.page.click('#gc-ask')
        someone.page.wait_for_selector('.gc-writing')
        first = someone.answers()[-1]
        someone.page.wait_for_function(
            "first => document.querySelector('.gc-writing').innerText.length > first + 4", arg=len(first)
        )
        assert demo.app.worker.busy == 1
        someone.page.click('#gc-stop')
        someone.page.wait_for_selector('#gc-notice p')
        demo.wait_for(lambda: demo.app.worker.busy == 0)
    finally:
        demo.prompter.seconds, demo.prompter.ids = 0, []
    assert 'not remembered' in someone.page.inner_text('#gc-notice')
    assert someone.answers() == []
    assert someone.answer_after(lambda: someone.page.click('#gc-again'))  # it asks the question once more


@pytest.mark.parametrize('leave', ['close', 'reload'])
def test_who_leaves_frees_the_place(user, demo, file, leave):
    someone = user()
    someone.open(file())
    demo.prompter.seconds = 0.1
    try:
        demo.prompter.say('yes no ' * 60)
        someone.page.fill('#gc-words textarea', 'Is a harbor present?')
        someone.page.click('#gc-ask')
        someone.page.wait_for_selector('.gc-writing')
        assert demo.app.worker.busy == 1
        getattr(someone.page, leave)()
        demo.wait_for(lambda: demo.app.worker.busy == 0, seconds=5)
    finally:
        demo.prompter.seconds, demo.prompter.ids = 0, []


def wide_bomb(path):
    Image.new('1', (30000, 30000)).save(path)


def text(path):
    path.write_text('this is no picture')


def cut_short(path):
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(buffer, 'JPEG')
    path.write_bytes(buffer.getvalue()[:2000])


def sixteen_bits(path):
    Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80)).save(path)


def nothing(path):
    path.write_bytes(b'')


BAD = [
    (wide_bomb, 'wide.png', 'wide.png is too large'),
    (text, 'notes.png', 'notes.png is not a picture'),
    (cut_short, 'cut.jpg', 'cut.jpg cannot be read'),
    (sixteen_bits, 'deep.png', 'not 8 bits'),
    (nothing, 'nothing.png', 'nothing.png is not a picture'),
]


def test_a_bad_file_is_explained_and_the_page_goes_on(user, tmp_path, file):
    someone = user()
    for write, name, told in BAD:
        write(tmp_path / name)
        someone.upload(tmp_path / name)
        someone.page.locator('.gc-error').get_by_text(told).wait_for()
        someone.open(file())
        assert someone.page.locator('.gc-error').is_hidden()
    assert someone.ask('Is a harbor present?')


def test_unusual_pictures_are_taken(user, demo, file):
    someone = user()
    someone.choose('Refer')
    for image, name in (
        (Image.new('CMYK', (40, 30)), 'inks.jpg'),
        (Image.new('RGB', (1, 1)), 'dot.png'),
        (Image.new('RGBA', (30, 600)), 'tall.png'),
        (Image.new('P', (30, 30)), 'palette.gif'),
    ):
        someone.open(file(image, name))
        demo.prompter.say(BOX)
        assert '30°' in someone.ask('the red ship')


def test_what_cannot_be_asked_is_explained(user, file):
    someone = user()
    someone.page.click('#gc-ask')
    someone.page.wait_for_selector('#gc-notice p')
    assert 'is empty' in someone.page.inner_text('#gc-notice')
    someone.page.fill('#gc-words textarea', 'Is a harbor present?')
    someone.page.click('#gc-ask')
    someone.page.get_by_text('Open a picture first').wait_for()
    someone.open(file())
    someone.page.fill('#gc-words textarea', 'How many planes are there? ' * 100)
    someone.page.click('#gc-ask')
    someone.page.get_by_text('context').wait_for()
    assert someone.ask('Is a harbor present?')


def test_words_of_users_and_models_are_no_html(user, demo, file):
    someone = user()
    someone.open(file())
    evil = '<img src=x onerror="window.harm = 1">'
    demo.prompter.say('<script>window.harm = 1</script>')
    someone.ask(evil)
    assert someone.questions() == [evil]
    assert someone.page.locator('.gc-turns img, .gc-turns script').count() == 0
    assert someone.page.evaluate('window.harm') is None


def test_two_users_do_not_see_each_other(user, demo, file):
    one, other = user(), user()
    one.open(file(picture(color=(200, 200, 0)), 'one.png'))
    one.ask('Is a harbor present?')
    assert other.answers() == []
    assert other.page.locator('.gc-picture').is_hidden()
    other.open(file(picture(color=(0, 0, 200)), 'other.png'))
    other.ask('How many planes are there?')
    assert one.questions() == ['Is a harbor present?']
    shown = [someone.page.get_attribute('.gc-picture', 'src') for someone in (one, other)]
    assert shown[0].split('/')[1] != shown[1].split('/')[1]
    for someone, src, color in zip((one, other), shown, [(200, 200, 0), (0, 0, 200)], strict=True):
        content = someone.context.request.get(f'{demo.url}/{src}').body()
        assert Image.open(io.BytesIO(content)).convert('RGB').getpixel((150, 80)) == color
    one.page.close()
    demo.wait_for(lambda: len(list(demo.app.sessions)) == 1)
    assert other.context.request.get(f'{demo.url}/{shown[0]}').status == 404
    assert other.page.evaluate('fetch(document.querySelector(".gc-picture").src).then((one) => one.status)') == 200


def test_a_link_from_another_site_leaves_the_open_pages_alone(user, demo, file):
    someone = user()
    page = someone.context.new_page()
    page.goto(f'data:text/html,<a href="{demo.url}">The demo</a>')
    page.click('a')
    page.wait_for_selector('.gc-ready')
    someone.open(file())
    assert someone.ask('Is a harbor present?')


def test_a_page_that_the_server_has_closed_says_so_and_keeps_what_it_shows(user, demo, file):
    someone = user()
    someone.open(file())
    answer = someone.ask('Is a harbor present?')
    demo.app.sessions.close_all()
    someone.page.fill('#gc-words textarea', 'How many planes are there?')
    someone.page.click('#gc-ask')
    someone.page.locator('#gc-notice').get_by_text('Load it again').wait_for()
    assert someone.answers() == [answer]
    assert someone.page.input_value('#gc-words textarea') == 'How many planes are there?'
    someone.upload(file())
    someone.page.locator('.gc-error').get_by_text('Load it again').wait_for()
    assert not list(demo.app.sessions)
    someone.page.reload()
    someone.page.wait_for_selector('.gc-ready')
    someone.open(file())
    assert someone.ask('Is a harbor present?') == answer


def test_a_page_whose_browser_has_lost_the_cookie_is_loaded_again(user, demo, file):
    """Gradio does it when it is refused its events: it takes the connection to be lost, and says so."""
    someone = user()
    someone.open(file())
    someone.ask('Is a harbor present?')
    someone.context.clear_cookies()
    someone.page.fill('#gc-words textarea', 'How many planes are there?')
    with someone.page.expect_navigation():
        someone.page.click('#gc-ask')
        someone.page.get_by_text('Connection to the server was lost').wait_for()
    assert all('/queue/data' in address for address in someone.refused)
    someone.refused.clear()
    someone.page.wait_for_selector('.gc-ready')
    someone.open(file())
    assert someone.ask('Is a harbor present?')


def test_an_example_is_opened(user):
    someone = user()
    someone.page.get_by_role('button', name='Example: airport').click()
    someone.page.wait_for_selector('.gc-has-picture')
    assert someone.page.get_attribute('.gc-picture', 'alt') == 'Picture of 768 x 768 pixels'
    someone.choose('Scene')
    someone.page.wait_for_function("document.querySelector('#gc-words textarea').value.includes('harbor')")
    someone.ask('port, farm')
    assert someone.questions()[0].startswith('Classify the given image')
    assert 'Classes: port, farm.' in someone.questions()[0]
    assert someone.page.input_value('#gc-words textarea') == 'port, farm'  # they are asked for again and again


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_a_small_screen_shows_all_and_every_control_has_a_name(user, file, scheme):
    someone = user(viewport={'width': 400, 'height': 800}, color_scheme=scheme)
    someone.open(file())
    someone.ask('Is a harbor present?')
    someone.page.click('#gc-settings button')
    assert someone.page.evaluate('document.documentElement.scrollWidth') <= 400
    nameless = someone.page.evaluate(
        """[...document.querySelectorAll('button, input, textarea, a[href]')]
            .filter((one) => one.checkVisibility())
            .filter((one) => !(one.innerText || one.ariaLabel || one.title || (one.labels && one.labels.length)))
            .map((one) => one.outerHTML)"""
    )
    assert nameless == []
