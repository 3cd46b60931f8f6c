"""Upstream packages over the forks are found from the list of distributions, and the repair command is right."""

from importlib.metadata import PackageNotFoundError

import pytest

from geochat import installation


def fake_distributions(monkeypatch, versions, modules_there=True):
    def version(name):
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(installation, 'version', version)
    monkeypatch.setattr(installation.importlib.util, 'find_spec', lambda module: object() if modules_there else None)


FORKS = {'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmdetection': '3.5.1', 'onedl-mmrotate': '1.2.1'}


@pytest.mark.parametrize('versions', [FORKS, {'mmengine': '0.10.7', 'mmcv': '2.1.0'}, {}])
def test_one_of_the_two_is_fine(monkeypatch, versions):
    fake_distributions(monkeypatch, versions)
    installation.check_installation()


def test_upstream_over_a_fork(monkeypatch):
    fake_distributions(monkeypatch, {**FORKS, 'mmengine': '0.10.7'})
    with pytest.raises(installation.InstallationError) as error:
        installation.check_installation()
    assert 'mmengine and onedl-mmengine both install the module' in str(error.value)
    assert 'pip uninstall -y mmengine onedl-mmengine && pip install --no-deps onedl-mmengine==0.10.12' in str(
        error.value
    )


def test_several_at_once_are_one_command(monkeypatch):
    fake_distributions(monkeypatch, {**FORKS, 'mmcv-lite': '2.2.0', 'mmdet': '3.3.0'})
    with pytest.raises(installation.InstallationError) as error:
        installation.check_installation()
    assert (
        'pip uninstall -y mmcv-lite onedl-mmcv mmdet onedl-mmdetection'
        ' && pip install --no-deps onedl-mmcv==2.3.6 onedl-mmdetection==3.5.1'
    ) in str(error.value)


def test_files_that_an_uninstall_took_away(monkeypatch):
    fake_distributions(monkeypatch, {'onedl-mmengine': '0.10.12'}, modules_there=False)
    with pytest.raises(
        installation.InstallationError, match="onedl-mmengine is listed, but its module 'mmengine' is gone"
    ):
        installation.check_installation()


def test_this_installation():
    installation.check_installation()
