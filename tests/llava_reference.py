"""What transformers' own LLaVA answers to one question after another, and whether other answers differ from that."""

from pathlib import Path

import numpy as np
import torch

from geochat.structures import IMAGE_TOKEN_INDEX

TIE = 1e-5
"""Two logits that are nearer than this are equal as far as float32 can tell."""


def load_llava(source: Path, folder: Path):
    """Export a model folder of any layout and load it by transformers alone."""
    from transformers import LlavaForConditionalGeneration

    from geochat.converters.convert import convert

    return LlavaForConditionalGeneration.from_pretrained(convert(source, folder, 'hf')).eval()


def reference_answer(llava, request, **settings):
    """Answer one request: ids without the end, and the gap between the two best logits at each place."""
    patches = (llava.config.vision_config.image_size // llava.config.vision_config.patch_size) ** 2
    is_image = request.input_ids == IMAGE_TOKEN_INDEX
    ids = np.where(is_image, llava.config.image_token_index, request.input_ids)
    ids = torch.tensor(ids.repeat(np.where(is_image, patches, 1)))[None]
    pictures = [torch.as_tensor(picture) for picture in request.pixels]
    pixels = {'pixel_values': torch.stack(pictures)} if pictures else {}
    output = llava.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=request.settings.max_new_tokens,
        eos_token_id=2,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
        **{'do_sample': False, **pixels, **settings},
    )
    answer = output.sequences[0, ids.shape[1] :].tolist()
    best = [logits[0].topk(2).values for logits in output.logits]
    return answer[: answer.index(2)] if 2 in answer else answer, [float(first - second) for first, second in best]


def differences(found, reference):
    """Return the numbers of the answers that differ from the reference where it is no tie, and how many do in ties."""
    wrong, ties = [], 0
    for number, (ids, (expected, gaps)) in enumerate(zip(found, reference, strict=True)):
        if ids == expected:
            continue
        pairs = zip([*ids, 2], [*expected, 2], strict=False)
        place = next(place for place, (one, other) in enumerate(pairs) if one != other)
        if gaps[place] <= TIE:
            ties += 1
        else:
            wrong.append(number)
    return wrong, ties
