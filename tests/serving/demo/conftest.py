"""A demo that runs, and a browser to open it with."""

import shutil
from urllib.parse import urlsplit

import pytest
from small_demo import running_demo

from geochat.serving.demo.tasks import TASKS

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')

ARGUMENTS = (
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
)
"""Without them the browser itself asks its maker's servers for news."""


@pytest.fixture(scope='module')
def demo():
    """A demo, ready to answer."""
    with running_demo() as running:
        yield running


@pytest.fixture(scope='module')
def browser():
    """A browser without a window."""
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f'there is no browser: {", ".join(BROWSERS)}')
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


class User:
    """Somebody with the demo's page open, in a browser of their own.

    Args:
        browser: The browser.
        url: Where the demo is.
        settings: Of the browser's context.

    Attributes:
        page: The page.
        outside: Addresses of other hosts that were asked for.
        refused: Addresses that Gradio's programs asked for and did not get.
        errors: What went wrong in the page's programs.
    """

    def __init__(self, browser, url, **settings):
        self.context = browser.new_context(**{'viewport': {'width': 1280, 'height': 900}, **settings})
        self.context.set_default_timeout(20_000)
        self.page = self.context.new_page()
        self.outside, self.refused, self.errors = [], [], []
        self.context.on('request', self._note)
        self.page.on('response', self._note_refused)
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector('.gc-ready')
        self.page.wait_for_function("document.querySelector('#gc-dialogue').innerText.includes('Nothing was asked')")

    def _note(self, request):
        parts = urlsplit(request.url)
        if parts.scheme not in ('data', 'blob') and parts.hostname != '127.0.0.1':
            self.outside.append(request.url)

    def _note_refused(self, response):
        if response.status >= 400 and '/sessions/' not in response.url:
            self.refused.append(response.url)

    def upload(self, file):
        """Open a picture's file."""
        self.page.set_input_files('.gc-open input', file)

    def open(self, file):
        """Open a picture's file and wait until it is there."""
        before = self.page.get_attribute('.gc-picture', 'src')
        self.upload(file)
        self.page.wait_for_function(
            """before => {
                const picture = document.querySelector('.gc-picture');
                return !picture.hidden && picture.getAttribute('src') !== before && picture.complete;
            }""",
            arg=before,
        )

    def choose(self, task):
        """Choose a task by its button, and wait until the text field is for it."""
        self.page.get_by_role('radio', name=task, exact=True).check(force=True)
        label = next(one.label for one in TASKS.values() if one.title == task)
        self.page.locator('#gc-words').get_by_text(label, exact=True).wait_for()

    def ask(self, words=None):
        """Type something, ask, and wait for the answer; return its text."""
        if words is not None:
            self.page.fill('#gc-words textarea', words)
        return self.answer_after(lambda: self.page.click('#gc-ask'))

    def answer_after(self, action):
        """Do something, and return the text of the answer that comes of it."""
        before = self.page.get_attribute('[data-file=json]', 'href')
        action()
        self.page.wait_for_function(
            """before => document.querySelector('[data-file=json]').getAttribute('href') !== before
                && !document.querySelector('.gc-writing, .gc-waiting')
                && document.querySelector('#gc-stop').disabled""",
            arg=before,
        )
        return self.answers()[-1]

    def answers(self):
        """Return the texts of all answers."""
        return [text.removeprefix('Model').strip() for text in self.page.locator('.gc-model').all_inner_texts()]

    def words(self):
        """Return the words of all answers, without what is told about them."""
        return [' '.join(text.split()) for text in self.page.locator('.gc-answer').all_inner_texts()]

    def set(self, name, value):
        """Type a number beside a slider, and wait until the slider stands there."""
        field = self.page.get_by_label(f'number input for {name}')
        slider = self.page.get_by_label(f'range slider for {name}')
        slider.wait_for()
        for _ in range(20):  # what is typed while the panel still unfolds is lost
            field.fill(str(value))
            field.press('Tab')
            self.page.wait_for_timeout(100)
            if float(slider.input_value()) == value == float(field.input_value()):
                return
        raise AssertionError(f'{name} never was {value}')

    def questions(self):
        """Return what was asked, as the model was told."""
        return self.page.locator('.gc-prompt').all_inner_texts()

    def draw(self, left, top, right, bottom):
        """Draw a box with the mouse, in shares of the picture's sides."""
        area = self.page.locator('.gc-stage').bounding_box()
        x, y, width, height = (area[name] for name in ('x', 'y', 'width', 'height'))
        self.page.mouse.move(x + left * width, y + top * height)
        self.page.mouse.down()
        self.page.mouse.move(x + right * width, y + bottom * height, steps=3)
        self.page.mouse.up()

    def download(self, name):
        """Return the content of one of the files to download."""
        with self.page.expect_download() as started:
            self.page.click(f'[data-file={name}]')
        return started.value.path().read_bytes(), started.value.suggested_filename


@pytest.fixture
def user(browser, demo):
    """Return a function that makes users; at the end nothing must have gone wrong, and nothing have gone outside."""
    users = []

    def make(**settings):
        users.append(User(browser, demo.url, **settings))
        return users[-1]

    yield make
    for one in users:
        assert not one.outside
        assert not one.refused
        assert not one.errors
        one.context.close()
    demo.wait_for(lambda: not list(demo.app.sessions) and demo.app.worker.busy == 0)
