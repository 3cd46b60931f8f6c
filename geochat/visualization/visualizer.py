"""MMEngine's visualizer for answers: they go as pictures to its back ends, such as TensorBoard."""

import numpy as np
from mmengine.dist import master_only
from mmengine.visualization import Visualizer
from PIL import Image

from geochat.registry import VISUALIZERS
from geochat.structures import Answer
from geochat.visualization.answers import draw_answer


@VISUALIZERS.register_module()
class AnswerVisualizer(Visualizer):
    """Draws answers on their pictures; all else is :class:`mmengine.visualization.Visualizer`'s.

    In a config: ``visualizer = dict(type=AnswerVisualizer, vis_backends=[dict(type=LocalVisBackend), ...])``.
    """

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Answer | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        step: int = 0,
    ) -> None:
        """Draw an answer beside the truth, and give the picture to all back ends; only the first process does.

        Args:
            name: What the back ends call it; they also name files by it.
            image: uint8 array (H, W, 3), RGB.
            data_sample: The answer; None draws the picture alone.
            draw_gt: Whether the truth is drawn.
            draw_pred: Whether the answer is drawn.
            show: Whether it is shown in a window too.
            wait_time: Seconds that the window waits for a key; 0 waits until it is pressed.
            step: Where in the training the answer is from.
        """
        if data_sample is not None:
            image = np.array(draw_answer(Image.fromarray(image), data_sample, draw_gt, draw_pred))
        self.add_image(name, image, step)
        if show:
            self.show(image, win_name=name, wait_time=wait_time)
