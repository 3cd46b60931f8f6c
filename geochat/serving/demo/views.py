"""What a session looks like on the page: the dialogue as HTML, and what the picture viewer is told."""

from html import escape
from typing import Any

import numpy as np

from geochat.apis import Prediction
from geochat.serving.demo.sessions import Session, Writing
from geochat.serving.demo.shown import Shown
from geochat.serving.demo.tasks import TASKS
from geochat.visualization import Color, colored_html, hex_color, ink_on, phrase_colors


def viewer_state(session: Session, show: Shown) -> dict[str, Any]:
    """Return what the page's picture viewer is told; ``static/viewer.js`` reads it."""
    if session.picture is None:
        return {'key': session.key, 'picture': None, 'files': None}
    base, version = f'sessions/{session.key}', f'?v={session.version}'
    width, height = session.picture.size
    url, alt, files = f'{base}/picture{version}', f'Picture of {width} x {height} pixels', None
    if show.number is not None:
        answer = f'{base}/answers/{show.number}'
        files = {kind: f'{answer}/geochat.{kind}{version}' for kind in ('png', 'json', 'geojson')}
        if labels := dict.fromkeys(show.answers[show.number].labels):
            url = f'{answer}/view{version}'
            alt += ', with boxes: ' + ', '.join(filter(None, labels))
    picture = {'number': session.number, 'url': url, 'alt': alt, 'width': width, 'height': height}
    return {
        'key': session.key,
        'picture': picture,
        'files': files,
        'version': session.version,
        'answered_box': session.asked[0]['boxes'] if session.answered and session.asked[1] == 'identify' else None,
    }


def dialogue_html(session: Session, show: Shown) -> str:
    """Return the dialogue as HTML; whatever was typed or written is escaped."""
    writing = session.writing
    answers = show.answers[:-1] if writing and writing.again else show.answers
    turns = [
        _turn(answer.task, answer.prompt, _answer(answer, show.colors) + _choice(number, show))
        for number, answer in enumerate(answers)
    ]
    if writing is not None:
        turns.append(_turn_in_progress(session, writing, show.colors))
    if not turns:
        return '<p class="gc-empty">Nothing was asked yet. The answers will stand here.</p>'
    return f'<ol class="gc-turns">{"".join(turns)}</ol>'


def _turn(task: str, prompt: str, answer: str) -> str:
    title = f'You, <span class="gc-task">{escape(TASKS[task].title)}</span>'
    return (
        f'<li><div class="gc-user"><p class="gc-who">{title}</p><p class="gc-prompt">{escape(prompt)}</p></div>'
        f'<div class="gc-model"><p class="gc-who">Model</p>{answer}</div></li>'
    )


def _turn_in_progress(session: Session, writing: Writing, colors: dict[str, Color]) -> str:
    prepared = writing.prepared
    if prepared is None:
        return _turn(session.asked[1], '', '<p class="gc-waiting">Reading the question</p>')
    parsed = writing.history.interpreter.parse(prepared, writing.text)
    words = escape(parsed.text)
    if parsed.grounded is not None:
        words = colored_html(parsed.grounded, phrase_colors(parsed.box_labels, colors))
    waiting = '' if words else f'<p class="gc-waiting">{"Writing boxes" if writing.text else "Waiting for words"}</p>'
    return _turn(prepared.task, prepared.prompt, waiting or f'<p class="gc-answer gc-writing">{words}</p>')


def _answer(answer: Prediction, colors: dict[str, Color]) -> str:
    words = escape(answer.answer) if answer.grounded is None else colored_html(answer.grounded, colors)
    if answer.grounded is None and len(answer.boxes):  # the name stands at the box
        words = ''
    parts = [f'<p class="gc-answer">{words}</p>'] if words else []
    if len(answer.boxes):
        parts.append(_boxes(answer, colors))
    if answer.malformed or not parts:
        reason = (
            'This is no answer of the form that was asked for.' if answer.malformed else 'There is nothing to show.'
        )
        written = '' if words == escape(answer.answer) else f' The model wrote: <code>{escape(answer.answer)}</code>'
        parts.append(f'<p class="gc-note">{reason}{written}</p>')
    if answer.finish == 'length':
        parts.append(f'<p class="gc-note">Cut off after {answer.tokens} tokens; the settings allow no more.</p>')
    return ''.join(parts)


def _choice(number: int, show: Shown) -> str:
    """Return the button that puts an answer on the picture; ``static/dialogue.js`` listens to it."""
    if len(show.answers) < 2 or not len(show.answers[number].boxes):
        return ''
    if number == show.number:
        return '<p class="gc-note">Shown on the picture</p>'
    return f'<button type="button" class="gc-link" data-answer="{number}">Show on the picture</button>'


def _boxes(answer: Prediction, colors: dict[str, Color]) -> str:
    rows = []
    for box, label, confidence in zip(answer.boxes, answer.labels, answer.box_confidences, strict=True):
        cx, cy, width, height = (f'{value:.0f}' for value in box[:4])
        chip = _chip(label or 'box', colors[label])
        place = f'{width} &times; {height} px at ({cx}, {cy}), {np.degrees(box[4]):.0f}&deg;'
        rows.append(f'<li>{chip} <span>{place}</span> <span>confidence {confidence:.2f}</span></li>')
    return f'<ul class="gc-boxes">{"".join(rows)}</ul>'


def _chip(text: str, color: Color) -> str:
    return f'<mark style="background:{hex_color(color)};color:{hex_color(ink_on(color))}">{escape(text)}</mark>'
