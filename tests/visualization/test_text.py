"""Phrases in an answer's words have the colours of their boxes, and nothing of a model's text is markup."""

from geochat.box_codecs import GeoChatBoxCodec, Qwen25BoxCodec
from geochat.visualization import colored_html, phrase_colors, text_pieces

BOX = '{<10><20><30><40>|<45>}'


def read(text, codec=GeoChatBoxCodec):
    return codec().decode(text, (100, 100))


def test_words_are_cut_at_phrases():
    grounded = read(f'There is <p>1 red ship</p> {BOX} near <p>docks</p> {BOX}<delim>{BOX} .')
    assert text_pieces(grounded) == [
        ('There is ', None),
        ('1 red ship', '1 red ship'),
        (' near ', None),
        ('docks', 'docks'),
        ('.', None),
    ]


def test_phrases_inside_of_boxes_are_listed():
    text = '[{"bbox_2d": [10, 20, 30, 40], "label": "ship"}, {"bbox_2d": [50, 20, 70, 40], "label": "dock"}]'
    assert text_pieces(read(text, Qwen25BoxCodec)) == [('ship', 'ship'), (', ', None), ('dock', 'dock')]


def test_no_words():
    assert text_pieces(read(BOX)) == []
    assert colored_html(read(''), {}) == ''


def test_html_is_escaped_and_coloured():
    grounded = read(f'a < b: <p>x & "y"</p> {BOX} and <p>z</p> {BOX}')
    html = colored_html(grounded, phrase_colors(['x & "y"']))
    assert html == ('a &lt; b: <mark style="background:#ff40a0;color:#000000">x &amp; &quot;y&quot;</mark> and z')
