"""Third-party packages are found without being named in this code, and a broken one takes nothing down with it."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from geochat.plugins import load_plugins
from geochat.registry import Registry

ROOT = Path(__file__).parents[1]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that puts a module, and if asked its entry point, where Python finds them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv('GEOCHAT_PLUGINS', raising=False)
    load_plugins.cache_clear()
    written = []

    def write(module: str, text: str, entry_point: str = '') -> None:
        (tmp_path / f'{module}.py').write_text(text)
        written.append(module)
        if entry_point:
            info = tmp_path / f'{module}-1.0.dist-info'
            info.mkdir()
            (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n')
            (info / 'entry_points.txt').write_text(f'[geochat.plugins]\n{entry_point}\n')

    yield write
    for module in written:
        sys.modules.pop(module, None)
    load_plugins.cache_clear()


def test_without_plugins_nothing_happens(package):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert [name for name in load_plugins() if name.startswith('strangers_')] == []


def test_an_installed_package_is_found_by_its_entry_point(package):
    package('strangers_good', 'LOADED = True\n', 'good = strangers_good')
    assert 'strangers_good' in load_plugins()
    assert sys.modules['strangers_good'].LOADED


def test_an_entry_point_may_name_a_member(package):
    package('strangers_good', 'def register():\n    pass\n', 'good = strangers_good:register')
    assert 'strangers_good' in load_plugins()


def test_a_broken_package_warns_with_its_trace_and_does_not_stop_the_others(package):
    package('strangers_bad', 'def explode():\n    raise ValueError("no licence")\nexplode()\n', 'bad = strangers_bad')
    package('strangers_good', 'LOADED = True\n', 'good = strangers_good')
    with pytest.warns(UserWarning, match="the plugin 'bad' .module strangers_bad. is broken and left out") as caught:
        loaded = load_plugins()
    assert 'strangers_good' in loaded
    assert 'strangers_bad' not in loaded
    message = str(caught[0].message)
    assert 'strangers_bad.py", line 2, in explode' in message
    assert 'ValueError: no licence' in message


def test_a_package_whose_module_is_gone_warns(package):
    package('strangers_gone', '', 'gone = a_module_that_is_not_there')
    with pytest.warns(UserWarning, match='a_module_that_is_not_there'):
        load_plugins()


def test_the_environment_names_what_is_not_installed(package, monkeypatch):
    package('strangers_one', '')
    package('strangers_two', '')
    monkeypatch.setenv('GEOCHAT_PLUGINS', ' strangers_one, strangers_two,')
    assert load_plugins()[-2:] == ('strangers_one', 'strangers_two')


@pytest.mark.parametrize('text', ['raise ValueError("no licence")\n', 'import a_module_that_is_not_there\n'])
def test_what_the_environment_names_must_work(package, monkeypatch, text):
    package('strangers_bad', text)
    monkeypatch.setenv('GEOCHAT_PLUGINS', 'strangers_bad')
    with pytest.raises(ImportError, match=r"GEOCHAT_PLUGINS names 'strangers_bad', which cannot be imported: .*"):
        load_plugins()


def test_parts_of_a_plugin_are_built_by_name(package):
    package(
        'strangers_codecs',
        'from geochat.registry import BOX_CODECS\n@BOX_CODECS.register_module()\nclass StrangersCodec:\n    pass\n',
        'codecs = strangers_codecs',
    )
    from geochat.registry import BOX_CODECS

    BOX_CODECS._imported = False  # as in a fresh process
    try:
        assert type(BOX_CODECS.build({'type': 'StrangersCodec'})).__module__ == 'strangers_codecs'
        with pytest.raises(KeyError, match=r"did you mean 'StrangersCodec' \(from strangers_codecs\)"):
            BOX_CODECS.build({'type': 'StrangerCodec'})
    finally:
        BOX_CODECS.module_dict.pop('StrangersCodec', None)


def test_a_plugin_cannot_take_our_names_even_if_it_comes_first(tmp_path):
    """In a fresh process, where the plugin is imported before our own part of that name."""
    (tmp_path / 'strangers_clash.py').write_text(
        'from geochat.registry import BOX_CODECS\n'
        '@BOX_CODECS.register_module(name="geochat")\n'
        'class StrangersCodec:\n'
        '    pass\n'
    )
    info = tmp_path / 'strangers_clash-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: strangers_clash\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text('[geochat.plugins]\nclash = strangers_clash\n')
    code = (
        'from geochat.plugins import load_plugins\n'
        'print(load_plugins())\n'
        'from geochat.registry import BOX_CODECS\n'
        'print(BOX_CODECS.resolve("geochat").__module__)\n'
        'import sys; print("geochat.models" in sys.modules)\n'
    )
    run = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, module, imported_models = run.stdout.splitlines()
    assert 'strangers_clash' in loaded
    assert module.startswith('geochat.box_codecs')
    assert "'geochat' is a box codec of GeoChat; the one of strangers_clash is left out" in run.stderr
    assert imported_models == 'False'


def test_a_plugin_that_comes_later_and_takes_our_name_is_broken(package):
    package(
        'strangers_clash',
        'from geochat.registry import BOX_CODECS\n'
        '@BOX_CODECS.register_module(name="geochat")\n'
        'class StrangersCodec:\n'
        '    pass\n',
        'clash = strangers_clash',
    )
    from geochat.registry import BOX_CODECS

    ours = BOX_CODECS.resolve('geochat')
    load_plugins.cache_clear()
    with pytest.warns(UserWarning, match='geochat is already registered in box codec'):
        assert 'strangers_clash' not in load_plugins()
    assert BOX_CODECS.resolve('geochat') is ours


def test_a_failing_look_up_fails_again(package, monkeypatch):
    """A second build in a notebook must not go on as if the plugin had never been asked for."""
    package('strangers_bad', 'raise ValueError("no licence")\n')
    monkeypatch.setenv('GEOCHAT_PLUGINS', 'strangers_bad')
    registry = Registry('test part')
    for _ in range(2):
        with pytest.raises(ImportError, match='no licence'):
            registry.resolve('Anything')
