"""True boxes written, read back and scored: figures worked out by hand on four boxes."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from geochat.box_codecs import GeoChatBoxCodec, VHMBoxCodec
from geochat.datasets.transforms import ImageFolder
from geochat.engine.benchmark import Benchmark
from geochat.engine.codec_ceiling import ceiling_table, ceilings, codec_ceiling, codec_names, image_sizes
from geochat.engine.config import ConfigError
from geochat.evaluation.metrics import Detection, RotatedGrounding
from geochat.structures import Question

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'codec_ceiling.py'
EXACT = [20, 20, 20, 20, 0]  # on the grid of per cent of a picture of 100 x 100
HALF = [50, 50, 4, 2.5, 0]  # 48.75 to 51.25 down becomes 49 to 51: 2 of 2.5
TINY = [70.2, 70.2, 0.2, 0.2, 0]  # 70.1 to 70.3 becomes 70 to 70
DIAMOND = [50, 50, 20, 20, np.pi / 4]  # of side 20; the upright square around it has twice its area


@pytest.fixture
def benchmark(tmp_path):
    """Two pictures of 100 x 100 with two boxes each."""
    for name in ('a.png', 'b.png'):
        Image.new('RGB', (100, 100)).save(tmp_path / name)
    questions = [
        Question('1', ('a.png',), {}, {'boxes': np.array([EXACT, HALF], dtype=float)}),
        Question('2', ('b.png',), {}, {'boxes': np.array([TINY], dtype=float)}),
        Question('3', ('b.png',), {}, {'boxes': np.array([DIAMOND], dtype=float)}),
    ]

    class Reader(list):
        image_source = ImageFolder(str(tmp_path))

    metrics = [RotatedGrounding(), RotatedGrounding(protocol='earthdial')]
    return Benchmark('four', Reader(questions), SimpleNamespace(), GeoChatBoxCodec(), metrics)


def test_what_whole_per_cent_cost(benchmark):
    figures = codec_ceiling(benchmark, GeoChatBoxCodec(), image_sizes(benchmark))
    assert (figures['boxes'], figures['lost'], figures['edge_error']) == (4, 1, 0.5)
    # The diamond's edges before turning are whole: it comes back as it is.
    assert figures['mean_iou'] == pytest.approx((1 + 0.8 + 0 + 1) / 4)
    assert figures['iou>=0.5'] == figures['iou>=0.75'] == figures['upright>=0.5'] == 0.75
    assert figures['acc@0.5'] == 0.5  # of the two questions about one object
    assert figures['f1@0.5'] == 0.75
    assert not any('earthdial' in name for name in figures)


def test_an_upright_language_loses_the_angle_but_not_the_place(benchmark):
    figures = codec_ceiling(benchmark, VHMBoxCodec(), image_sizes(benchmark))
    # 48.75 is 487.5 thousandths and 51.25 is 512.5: 488 to 513, moved by 0.05 of 2.5 pixels.
    # The diamond reaches from 50 - 14.142 to 50 + 14.142, written 35.9 to 64.1: a square of 28.2 less four tips.
    tips = 4 * (14.1421 - 14.1) ** 2
    diamond = (400 - tips) / (28.2**2 + tips)
    assert figures['lost'] == 0 and figures['edge_error'] == pytest.approx(0.05)
    assert figures['mean_iou'] == pytest.approx((1 + 2.45 / 2.55 + 1 + diamond) / 4, abs=1e-5)
    assert figures['upright>=0.5'] == 1


def test_a_detection_benchmark_has_its_average_precision(benchmark):
    truth = {'boxes': np.array([EXACT, TINY, DIAMOND], dtype=float), 'labels': ('ship', 'ship', 'plane')}
    benchmark.reader[:] = [Question('1', ('a.png',), {}, truth)]
    benchmark.metrics[:] = [Detection()]
    figures = codec_ceiling(benchmark, GeoChatBoxCodec(), image_sizes(benchmark))
    # Of two ships the sure one is found at every threshold: precision 1 up to a recall of 0.5 (51 of COCO's 101 levels;
    # of the area under the curve half), then 0. The plane is found.
    assert figures['AP'] == pytest.approx((51 / 101 + 1) / 2)
    assert figures['f1@0.5'] == pytest.approx(2 / 3)
    assert 'acc@0.5' not in figures and 0.5 < figures['mAP_nc@0.5'] < 1


def test_the_table_has_a_row_for_each_codec(benchmark):
    told = []
    figures = ceilings([benchmark], ['geochat', 'vhm'], told.append)
    table = ceiling_table(figures).splitlines()
    assert [line.split('|')[2].strip() for line in table if '|' in line] == ['codec', 'geochat', 'vhm']
    assert '0.700' in table[3] and told[1:] == ['four: geochat', 'four: vhm']
    json.dumps(figures)


def test_every_codec_can_be_named():
    names = codec_names()
    assert {'geochat', 'qwen3', 'rscovlm_obb', 'wkt'} <= set(names) and 'GeoChatBoxCodec' not in names


def test_what_the_user_can_mend_is_said(benchmark):
    with pytest.raises(ConfigError, match=r"'qwen' is not a registered box codec; did you mean 'qwen3'"):
        ceilings([benchmark], ['qwen'])
    benchmark.reader.append(Question('4', ('c.png',), {}, {'boxes': np.array([EXACT], dtype=float)}))
    with pytest.raises(FileNotFoundError, match=r'c\.png does not exist'):
        image_sizes(benchmark)
    benchmark.reader[:] = [Question('1', ('a.png',), {}, {'text': 'yes'})]
    with pytest.raises(ConfigError, match="'four' have no true boxes"):
        image_sizes(benchmark)
    benchmark.reader[:] = [Question('1', ('a.png',), {}, {'boxes': np.zeros((0, 5))})]
    with pytest.raises(ConfigError, match="'four' has no true box"):
        codec_ceiling(benchmark, GeoChatBoxCodec(), image_sizes(benchmark))


def test_the_tool_prints_a_table_and_writes_the_figures(tmp_path, monkeypatch, capsys):
    Image.new('RGB', (200, 100)).save(tmp_path / 'a.png')
    row = {
        'question_id': 'q',
        'image_id': 'a',
        'question': 'the ship',
        'ground_truth': [[20, 20], [40, 20], [40, 40], [20, 40]],
        'type': 'ref',
        'size_group': 'small',
    }
    (tmp_path / 'rows.jsonl').write_text(json.dumps(row) + '\n')
    config = tmp_path / 'config.py'
    config.write_text(
        'from geochat.datasets import ReferringBenchmark\n'
        'from geochat.datasets.transforms import ImageFolder\n'
        'from geochat.evaluation.metrics import Detection, RotatedGrounding\n'
        "box_codec = dict(type='geochat')\ntask_prompts = dict(refer=dict(type='ReferPrompt'))\n"
        f'benchmarks = dict(mine=dict(reader=dict(type=ReferringBenchmark, data_file={str(tmp_path / "rows.jsonl")!r}, '
        f'image_source=dict(type=ImageFolder, root={str(tmp_path)!r})), '
        "task='refer', metrics=[dict(type=RotatedGrounding)]))\n"
    )
    out = tmp_path / 'figures.json'
    arguments = ['--benchmarks', 'mine', '--codecs', 'earthdial', '--json', str(out)]
    monkeypatch.setattr(sys, 'argv', [str(TOOL), str(config), *arguments])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert '| mine      | earthdial |' in capsys.readouterr().out
    assert json.loads(out.read_text())['mine']['earthdial']['mean_iou'] == 1
