"""What GeoChat is to pip: its packages, the data they carry, and what they need.

Ranges say what the code works with; ``constraints.txt`` holds the one set of versions that its tests pass with.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

CORE = [
    'torch>=2.9',
    'transformers>=5.17,<6',
    'tokenizers>=0.22',
    'sentencepiece>=0.2',
    'safetensors>=0.5',
    'peft>=0.19',
    'accelerate>=1.0',
    'deepspeed>=0.19; sys_platform == "linux"',
    'ninja>=1.11; sys_platform == "linux"',
    # The maintained forks of OpenMMLab's packages; they are imported as mmengine, mmcv, mmdet and mmrotate.
    'onedl-mmengine>=0.10.12,<0.11',
    'onedl-mmcv>=2.3.6,<3',
    'onedl-mmdetection>=3.5.1,<4',
    'onedl-mmrotate>=1.2.1,<2',
    'numpy>=1.26',
    'scipy>=1.11',
    'shapely>=2.0',
    'pillow>=10',
    'opencv-python>=4.8',
    'nltk>=3.8',
    'rouge-score>=0.1.2',
    'pycocoevalcap>=1.2',
    'pycocotools>=2.0.7',
    'terminaltables>=3.1',
    'tqdm>=4.66',
    'tensorboard>=2.16',
    'matplotlib>=3.8',
]

EXTRAS = {
    'serving': [
        'fastapi>=0.115',
        'starlette>=0.40',
        'pydantic>=2.7',
        'uvicorn>=0.30',
        'prometheus-client>=0.20',
        'gradio>=6.31,<7',
    ],
    'openai': ['openai>=1.60'],
    'gis': ['rasterio>=1.3', 'pyproj>=3.6'],
    # Compiled for one CUDA and one torch, so these are not in constraints.txt.
    'cuda': ['flash-attn>=2.7', 'bitsandbytes>=0.45', 'liger-kernel>=0.5'],
    'tests': [
        'pytest>=8',
        'hypothesis>=6',
        'ruff>=0.15',
        'openai>=1.60',
        'httpx>=0.27',
        # The server's own, so that its tests run wherever tests do.
        'fastapi>=0.115',
        'uvicorn>=0.30',
        'prometheus-client>=0.20',
        'gradio>=6.31,<7',
        # It drives a browser that is there already; it brings none.
        'playwright>=1.50',
    ],
    'docs': ['mkdocs>=1.6,<2'],
}


def version() -> str:
    """Read the version without importing the package, whose requirements are not there yet."""
    for line in (ROOT / 'geochat' / '__init__.py').read_text(encoding='utf-8').splitlines():
        if line.startswith('__version__'):
            return line.split("'")[1]
    raise RuntimeError('geochat/__init__.py has no __version__')


setup(
    name='geochat',
    version=version(),
    description='A modular framework for grounded vision-language models of remote sensing, on MMEngine',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_packages(include=['geochat', 'geochat.*']),
    # geochat/configs is a link to configs/, so that a wheel carries the configs too.
    package_data={'geochat': ['configs/**/*.py', 'data/**/*', 'serving/demo/static/*']},
    install_requires=CORE,
    entry_points={'console_scripts': ['geochat = geochat.console:main']},
    extras_require=EXTRAS,
    zip_safe=False,
)
