"""A phrase keeps its colour; different phrases have different ones, told apart from truth."""

from geochat.visualization import PALETTE, TRUE_COLOR, hex_color, ink_on, phrase_colors


def test_the_same_phrase_has_the_same_colour():
    colors = phrase_colors(['red ship', 'harbor', ' Red  SHIP', 'harbor'])
    assert colors == {'red ship': PALETTE[0], 'harbor': PALETTE[1], ' Red  SHIP': PALETTE[0]}


def test_colours_stay_through_a_dialogue():
    first = phrase_colors(['red ship', 'harbor'])
    second = phrase_colors(['crane', 'Harbor'], first)
    assert second == {**first, 'crane': PALETTE[2], 'Harbor': PALETTE[1]}


def test_more_phrases_than_the_palette_has_colours():
    colors = phrase_colors(map(str, range(60)))
    assert len(set(colors.values())) == 60
    assert TRUE_COLOR not in colors.values()


def contrast(first, second):
    """Contrast ratio of the Web Content Accessibility Guidelines 2.2."""

    def luminance(color):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read_on_every_colour():
    for color in phrase_colors(map(str, range(60))).values():
        assert contrast(color, ink_on(color)) >= 4.5


def test_colours_for_web_pages():
    assert hex_color((255, 64, 0)) == '#ff4000'
