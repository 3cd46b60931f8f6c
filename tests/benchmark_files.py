"""Small files of every benchmark, each in its own form and where ``configs/_base_/benchmarks/`` looks for it."""

import json
import pickle
from pathlib import Path

from PIL import Image

POLYGON = [[20, 20], [60, 20], [60, 60], [20, 60]]
"""A true box in pixels; on a picture of 200 x 200 it lies on the grid of whole per cent."""


class Writer:
    """Writes files below a folder, making their folders."""

    def __init__(self, root: Path):
        self.root = root

    def text(self, name: str, content: str) -> None:
        path = self.root / 'data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding='utf-8')

    def json(self, name: str, value) -> None:
        self.text(name, json.dumps(value))

    def lines(self, name: str, *rows) -> None:
        self.text(name, ''.join(f'{json.dumps(row)}\n' for row in rows))

    def picture(self, name: str) -> None:
        path = self.root / 'data' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (200, 200), (90, 120, 80)).save(path)


def write_benchmark_files(root: Path) -> None:
    """Write the files and pictures of all benchmarks into ``root / 'data'``."""
    write = Writer(root)
    for part in (write_geochat_bench, write_vrsbench, write_visual_grounding, write_words, write_detection):
        part(write)


def write_geochat_bench(write: Writer) -> None:
    """The seven files of GeoChat-Bench, and RSVQA's answers."""
    scene = 'Classify the image from the following classes. Classes: Airport, Dense Residential. \nAnswer in one word.'
    for name, folder, suffix in (('aid', 'AID', 'jpg'), ('UCmerced', 'UCMerced', 'tif')):
        rows = []
        for truth in ('Airport', 'DenseResidential'):
            image = f'{truth}/{truth.lower()}_1.{suffix}'
            write.picture(f'{folder}/{image}')
            rows.append({'question_id': image, 'image': image, 'text': scene, 'ground_truth': truth})
        write.lines(f'GeoChat-Bench/{name}.jsonl', *rows)
    rsvqa = (
        ('lrben', 'RSVQA-LR/Images_LR', 'RSVQA-LR/all_answers.json'),
        ('hrben', 'RSVQA-HR/Data', 'RSVQA-HR/USGSanswers.json'),
    )
    for name, folder, answers in rsvqa:
        write.picture(f'{folder}/0.tif')
        rows = [
            {'question_id': number, 'image': '0.tif', 'text': f'{kind}?\nAnswer in one word.', 'category': kind}
            for number, kind in enumerate(('presence', 'comp', 'rural_urban', 'count'))
        ]
        write.lines(f'GeoChat-Bench/{name}.jsonl', *rows)
        truths = [
            {'question_id': n, 'answer': answer, 'active': True} for n, answer in enumerate(['yes', 'no', 'rural', '3'])
        ]
        write.json(answers, {'answers': truths})
    write.picture('GeoChat_Instruct/images/P1.png')
    base = {'image_id': 'P1', 'dataset': 'FAST', 'obj_ids': [1]}
    write.lines(
        'GeoChat-Bench/referring.jsonl',
        *(
            {**base, 'question_id': f'{size}{kind}', 'question': 'the ship', 'ground_truth': truth, 'type': kind}
            | {'size_group': size}
            for size in ('small', 'medium', 'large')
            for kind, truth in (('ref', [POLYGON]), ('grounding', [POLYGON, [[x + 100, y] for x, y in POLYGON]]))
        ),
    )
    region = {'question_id': 1, 'question': '{<10><10><30><30>|<90>}', 'ground_truth': '<p>1 red ship at the left</p>'}
    write.lines('GeoChat-Bench/region_captioning.jsonl', {**base, **region, 'type': 'ref', 'size_group': 'small'})
    write.lines(
        'GeoChat-Bench/grounding_description.jsonl', {'image_id': 'P1', 'description': 'A red ship at the left.'}
    )


def write_vrsbench(write: Writer) -> None:
    """VRSBench's three files."""
    write.picture('VRSBench/Images_val/P1.png')
    base = {'image_id': 'P1.png', 'dataset': 'RSBench'}
    box = {'ground_truth': '{<10><10><30><30>}', 'obj_corner': [0.1, 0.1, 0.3, 0.1, 0.3, 0.3, 0.1, 0.3]}
    expression = {**base, **box, 'question': 'The ship', 'type': 'ref', 'obj_cls': 'ship', 'size_group': 'small'}
    rows = [{**expression, 'question_id': number, 'unique': unique} for number, unique in enumerate((True, False))]
    write.json('VRSBench/VRSBench_EVAL_referring.json', rows)
    answers = (('object quantity', '2'), ('object color', 'red'))
    rows = [
        {**base, 'question_id': number, 'question': f'{kind}?', 'ground_truth': answer, 'type': kind}
        for number, (kind, answer) in enumerate(answers)
    ]
    write.json('VRSBench/VRSBench_EVAL_vqa.json', rows)
    caption = {'question': 'Describe the image in detail', 'ground_truth': 'Two red ships lie in a small harbor.'}
    write.json('VRSBench/VRSBench_EVAL_Cap.json', [{**base, **caption, 'question_id': 0, 'type': 'caption'}])


def write_visual_grounding(write: Writer) -> None:
    """DIOR-RSVG, OPT-RSVG, RSVG and RRSIS-D."""
    import torch

    voc = (
        '<annotation><filename>00001.jpg</filename><size><width>200</width><height>200</height></size><object>'
        '<name>ship</name><pose>Unspecified</pose><bndbox><xmin>20</xmin><ymin>20</ymin><xmax>60</xmax>'
        '<ymax>60</ymax></bndbox><description>The red ship</description></object></annotation>'
    )
    for split, annotations, pictures in (
        ('DIOR-RSVG/test.txt', 'DIOR-RSVG/Annotations', 'DIOR-RSVG/JPEGImages'),
        ('OPT-RSVG/split/test.txt', 'OPT-RSVG/Annotations', 'OPT-RSVG/Image'),
    ):
        write.text(split, '0\n')
        write.text(f'{annotations}/00001.xml', voc)
        write.picture(f'{pictures}/00001.jpg')
    write.picture('RSVG/images/00001.jpg')
    torch.save([('00001.jpg', [20, 20, 60, 60], 'the red ship')], write.root / 'data' / 'RSVG' / 'rsvg_test.pth')
    write.picture('RRSIS-D/images/rrsisd/JPEGImages/00001.jpg')
    instances = {
        'images': [{'id': 1, 'file_name': '00001.jpg', 'width': 200, 'height': 200}],
        'annotations': [{'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [20, 20, 40, 40]}],
        'categories': [{'id': 1, 'name': 'ship'}],
    }
    write.json('RRSIS-D/rrsisd/instances.json', instances)
    sentence = {'sent_id': 1, 'raw': 'The red ship', 'sent': 'the red ship', 'tokens': ['the', 'red', 'ship']}
    reference = {'ref_id': 1, 'image_id': 1, 'ann_id': 1, 'split': 'test', 'sentences': [sentence]}
    (write.root / 'data' / 'RRSIS-D' / 'rrsisd' / 'refs(unc).p').write_bytes(pickle.dumps([reference], protocol=2))


def write_words(write: Writer) -> None:
    """RSICD, NWPU-Captions, WHU-RS19, FIT-RSRC, GEOBench-VLM and VHM's honesty questions."""
    from geochat.datasets.benchmarks.choices import HONESTY_FILES

    captions = [f'{number} red ships lie in a harbor .' for number in ('two', 'a few', 'some', 'several', 'many')]
    write.picture('RSICD/RSICD_images/port_1.jpg')
    image = {'filename': 'port_1.jpg', 'split': 'test', 'sentences': [{'raw': caption} for caption in captions]}
    write.json('RSICD/dataset_rsicd.json', {'images': [image], 'dataset': 'rsicd'})
    write.picture('NWPU-Captions/NWPU_images/harbor/harbor_001.jpg')
    keys = ('raw', 'raw_1', 'raw_2', 'raw_3', 'raw_4')
    row = {'filename': 'harbor_001.jpg', 'split': 'test', 'imgid': 1, **dict(zip(keys, captions, strict=True))}
    write.json('NWPU-Captions/dataset_nwpu.json', {'harbor': [row]})
    for name in ('Airport/airport_01.jpg', 'footballField/footballField_01.jpg'):
        write.picture(f'WHU-RS19/{name}')
    write.picture('FIT-RSRC/Images/P1.png')
    turns = (('A', 'A. at sea\nB. on land'), ('B', 'A. on land\nB. at sea'))
    write.lines(
        'FIT-RSRC/FIT-RSRC_Questions_2k.jsonl',
        *(
            {'question_id': 1, 'image': 'P1.png', 'category': 'relationship', 'ground_truth': letter}
            | {'text': f'Where is the ship?\n{options}'}
            for letter, options in turns
        ),
    )
    write.picture('GEOBench-VLM/Single/images/1.png')
    question = {'image_path': 'images/1.png', 'question_id': 0, 'prompts': ['What is it?', 'Which object is shown?']}
    offered = {'ground_truth': 'dam', 'ground_truth_option': 'B', 'options_list': ['ship', 'dam', 'port']}
    more = {'options': 'A. ship B. dam C. port', 'task': 'Object Classification', 'cls_description': ''}
    write.json('GEOBench-VLM/Single/qa.json', [{**question, **offered, **more}])
    write.picture('VHM_Eval/datasets_eval/dota-test/1.jpg')
    for name, (task, trap) in HONESTY_FILES.items():
        asked, answer = 'Which color is the ship?', 'There is no ship.' if trap else 'red'
        if 'position' in task:
            asked, answer = 'Where is the ship?\nA. top left\nB. There is no ship.', 'B' if trap else 'A'
        conversation = [{'from': 'human', 'value': f'<image>\n{asked}'}, {'from': 'gpt', 'value': answer}]
        row = {'image': '1.jpg', 'image_path': 'dota-test', 'size': [200, 200], 'conversations': conversation}
        write.json(f'VHM_Eval/datasets_eval/{name}', [row])


def write_detection(write: Writer) -> None:
    """A tile of DOTA and a picture of DIOR-R."""
    corners = ' '.join(str(value) for corner in POLYGON for value in corner)
    write.text('DOTA/split_ss_dota/val/annfiles/P1__1024__0___0.txt', f'{corners} ship 0\n{corners} plane 1\n')
    write.picture('DOTA/split_ss_dota/val/images/P1__1024__0___0.png')
    sides = ('left_top', 'right_top', 'right_bottom', 'left_bottom')
    tags = [
        f'<{axis}_{side}>{value}</{axis}_{side}>'
        for side, corner in zip(sides, POLYGON, strict=True)
        for axis, value in zip('xy', corner, strict=True)
    ]
    box = f'<object><name>golffield</name><robndbox>{"".join(tags)}</robndbox></object>'
    write.text('DIOR-R/Annotations/Oriented Bounding Boxes/11726.xml', f'<annotation>{box}</annotation>')
    write.text('DIOR-R/ImageSets/Main/test.txt', '11726\n')
    write.picture('DIOR-R/JPEGImages-test/11726.jpg')
