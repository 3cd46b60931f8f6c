"""Answers go as pictures to MMEngine's back ends, under the names and steps that they are given."""

import cv2
import numpy as np
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from PIL import Image

from geochat.registry import VISUALIZERS
from geochat.structures import Answer, ParsedAnswer, Question
from geochat.visualization import draw_answer

BOX = np.array([[300.0, 300, 100, 50, 0.4]])


def test_an_answer_becomes_a_picture(tmp_path):
    with DefaultScope.overwrite_default_scope('geochat'):
        visualizer = VISUALIZERS.build(
            {
                'type': 'AnswerVisualizer',
                'name': 'test_visualizer',
                'vis_backends': [{'type': 'LocalVisBackend'}],
                'save_dir': str(tmp_path),
            }
        )
    assert isinstance(visualizer, Visualizer)
    answer = Answer(Question('1', ('a.png',), {}, {'boxes': BOX}), 'Where?', 'there', ParsedAnswer('there', BOX))
    image = np.full((600, 600, 3), 128, np.uint8)
    visualizer.add_datasample('refer', image, answer, step=7)
    visualizer.add_datasample('bare', image)
    drawn = cv2.cvtColor(cv2.imread(str(tmp_path / 'vis_data' / 'vis_image' / 'refer_7.png')), cv2.COLOR_BGR2RGB)
    assert np.array_equal(drawn, np.asarray(draw_answer(Image.fromarray(image), answer)))
    assert cv2.imread(str(tmp_path / 'vis_data' / 'vis_image' / 'bare_0.png')).shape == (600, 600, 3)
