"""What is installed is the typed package, its layers' names and its licence; nothing else."""

from configparser import ConfigParser
from zipfile import ZipFile

import pytest

from tests.meta.source import ROOT
from tests.wheel import built_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    return ZipFile(built_wheel(tmp_path_factory.mktemp("wheel")))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"acked", "_acked_pytest.py", f"acked-{version()}.dist-info"}
    sources = (file for file in (ROOT / "src/acked").rglob("*.*") if file.suffix != ".pyc")
    files = {str(file.relative_to(ROOT / "src")) for file in sources}
    assert files < set(wheel.namelist())
    assert [name for name in wheel.namelist() if "broken" in name] == []


def test_the_wheel_says_that_it_is_typed(wheel: ZipFile) -> None:
    assert "acked/py.typed" in wheel.namelist()


def test_the_wheel_carries_its_licence(wheel: ZipFile) -> None:
    text = wheel.read(f"acked-{version()}.dist-info/licenses/LICENSE").decode()
    assert "Apache License" in text


def test_every_layer_and_the_command_can_be_found_by_name(wheel: ZipFile) -> None:
    entries = ConfigParser()
    entries.read_string(wheel.read(f"acked-{version()}.dist-info/entry_points.txt").decode())
    assert entries["console_scripts"]["acked"] == "acked.cli.main:main"
    for target in entries["acked.layers"].values():
        module, _, _ = target.partition(":")
        place = module.replace(".", "/")
        assert {f"{place}.py", f"{place}/__init__.py"} & set(wheel.namelist())


def version() -> str:
    text = (ROOT / "pyproject.toml").read_text()
    return text.partition('version = "')[2].partition('"')[0]
