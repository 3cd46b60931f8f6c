"""The package as pip sees it: what it declares, what a wheel carries, and what stays unimported until it is used."""

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from geochat.installation import InstallationError, check_installation

ROOT = Path(__file__).parents[1]


def declared() -> dict[str, list[Requirement]]:
    """Read the requirements of setup.py: ``core`` and each extra."""
    found = {}
    for node in ast.parse((ROOT / 'setup.py').read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ('CORE', 'EXTRAS'):
            value = ast.literal_eval(node.value)
            found.update(value if isinstance(value, dict) else {'core': value})
    return {group: [Requirement(text) for text in texts] for group, texts in found.items()}


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob('*.py'))]


def imported_modules(path: Path) -> set[str]:
    """Return the top-level modules that a file imports anywhere, also inside functions."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            modules.update(alias.name.partition('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module.partition('.')[0])
    return modules


def test_whatever_is_imported_is_declared():
    requirements = {canonicalize_name(req.name) for reqs in declared().values() for req in reqs}
    distributions = packages_distributions()
    undeclared = {}
    for path in python_files('geochat', 'tools', 'benchmarks'):
        beside = {sibling.stem for sibling in path.parent.glob('*.py')}
        for module in imported_modules(path) - set(sys.stdlib_module_names) - beside - {'geochat'}:
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            if not names & requirements:
                undeclared.setdefault(module, str(path.relative_to(ROOT)))
    assert undeclared == {}


def test_imports_point_one_way():
    """No module of the package knows a tool, a project or a test."""
    for path in python_files('geochat'):
        assert not imported_modules(path) & {'tools', 'projects', 'tests', 'benchmarks'}, path


def test_constraints_pin_every_requirement_within_its_range():
    pins = {}
    for line in (ROOT / 'constraints.txt').read_text().splitlines():
        if line and not line.startswith('#'):
            pin = Requirement(line)
            assert re.fullmatch(r'==[^*]+', str(pin.specifier)), f'{line} is not a pin'
            if pin.marker is None or pin.marker.evaluate():
                pins[canonicalize_name(pin.name)] = str(pin.specifier)[2:]
    groups = declared()
    groups.pop('cuda')
    for group, requirements in groups.items():
        for requirement in requirements:
            if requirement.marker is None or requirement.marker.evaluate():
                version = pins[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version), f'{group}: {requirement} is pinned to {version}'


def test_no_requirement_brings_upstream_mmengine():
    """It would be installed over the fork, whose import name it shares."""
    names = {canonicalize_name(req.name) for reqs in declared().values() for req in reqs}
    pinned = {line.partition('==')[0] for line in (ROOT / 'constraints.txt').read_text().splitlines()}
    assert not (names | pinned) & {'mmengine', 'mmengine-lite', 'mmcv', 'mmcv-lite', 'mmdet', 'mmrotate'}


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Build a wheel from a copy of the sources, without network."""
    pytest.importorskip('setuptools', minversion='70.1', reason='older setuptools needs wheel to build one')
    copy = tmp_path_factory.mktemp('sources')
    for name in ('geochat', 'configs'):
        ignore = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, copy)
    out = tmp_path_factory.mktemp('wheel')
    build = f'import setuptools.build_meta as backend; print(backend.build_wheel({str(out)!r}))'
    subprocess.run([sys.executable, '-c', build], cwd=copy, check=True, capture_output=True, text=True)
    return zipfile.ZipFile(next(out.glob('*.whl')))


@pytest.mark.parametrize('folder', ['configs', 'geochat/data'])
def test_a_wheel_carries_configs_and_data(wheel, folder):
    prefix = '' if folder.startswith('geochat') else 'geochat/'
    expected = {
        prefix + path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    assert expected
    assert expected <= set(wheel.namelist())


def test_a_wheel_carries_the_licence_and_every_module(wheel):
    names = set(wheel.namelist())
    assert any(name.endswith('licenses/LICENSE') for name in names)
    modules = {path.relative_to(ROOT).as_posix() for path in python_files('geochat')}
    assert modules <= names


def test_a_wheel_brings_the_console_command(wheel):
    [path] = [name for name in wheel.namelist() if name.endswith('entry_points.txt')]
    assert wheel.read(path).decode().split() == ['[console_scripts]', 'geochat', '=', 'geochat.console:main']


def test_the_configs_of_the_package_are_the_configs_at_the_top():
    link = ROOT / 'geochat' / 'configs'
    if not link.is_symlink():
        pytest.skip('this checkout has no symbolic links')
    assert link.readlink() == Path('../configs')


@pytest.mark.parametrize('page', ['README.md', *(str(p.relative_to(ROOT)) for p in ROOT.glob('projects/*/README.md'))])
def test_links_of_a_readme_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)#]+)', text):
        assert (ROOT / page).parent.joinpath(target).exists(), f'{page}: {target}'


def test_the_readme_begins_with_the_two_commands():
    """.ci/run takes them from there."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    blocks = re.findall(r'^```shell\n(.*?)\n```', text, re.DOTALL | re.MULTILINE)
    assert blocks[0].endswith('python tools/train.py configs/geochat_tiny.py')
    assert blocks[1].endswith('python -m pytest')
    assert not any('\n' in block for block in blocks[:2])


def test_opencv_without_its_system_library_is_answered_with_the_repair(tmp_path, monkeypatch):
    (tmp_path / 'cv2.py').write_text('raise ImportError("libGL.so.1: cannot open shared object file")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'cv2', raising=False)
    with pytest.raises(InstallationError, match=r'libGL\.so\.1.*\n.*pip install .*opencv-python-headless==4'):
        check_installation()


HEAVY = ('torch', 'transformers', 'mmrotate', 'mmdet', 'mmcv', 'cv2', 'matplotlib', 'scipy', 'shapely', 'fastapi')


def heavy_modules_after(code: str) -> set[str]:
    """Run code in a new process and return the heavy packages that it imported."""
    report = f'import json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))'
    program = f'try:\n    {code}\nexcept SystemExit:\n    pass\n{report}'
    run = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy():
    assert heavy_modules_after('import geochat, geochat.registry') == set()


def test_help_of_the_console_command_imports_nothing_heavy():
    code = 'import sys; sys.argv = ["geochat", "--help"]; from geochat.console import main; main()'
    assert heavy_modules_after(code) == set()


@pytest.mark.parametrize(
    'tool', ['train.py', 'test.py', 'serve.py', 'model_converters/convert.py', 'model_converters/merge_lora.py']
)
def test_help_imports_nothing_heavy(tool):
    code = f'import runpy, sys; sys.argv = [{tool!r}, "--help"]; runpy.run_path("tools/{tool}", run_name="__main__")'
    assert heavy_modules_after(code) == set()
