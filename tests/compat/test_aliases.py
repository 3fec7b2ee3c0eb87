"""The originals' names are our very modules, and nothing but what the table says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat.controls import SHIMS, SOURCE


def said(script: str, *path: Path) -> list[str]:
    """Return the words that `script` prints, run with `path` first on Python's."""
    code = f"import sys; sys.path[:0] = {[*map(str, path), str(SOURCE)]!r}\n{script}"
    return subprocess.check_output([sys.executable, "-c", code], text=True).split()


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ("broadcaster", "acked.compat.broadcaster"),
        ("broadcaster._base", "acked.compat.broadcaster._base"),
        ("broadcaster.backends.redis", "acked.compat.broadcaster.backends.redis"),
        ("broadcaster._backends.kafka", "acked.compat.broadcaster.backends.kafka"),
        ("acked.compat.broadcaster._backends.memory", "acked.compat.broadcaster.backends.memory"),
        (
            "starlette_web.common.channels.layers.base",
            "acked.compat.starlette_web.common.channels.layers.base",
        ),
        (
            "starlette_web.contrib.redis.channel_layers",
            "acked.compat.starlette_web.contrib.redis.channel_layers",
        ),
        ("starlette_web.contrib.mqtt", "acked.compat.starlette_web.contrib.mqtt"),
    ],
)
def test_a_name_of_the_original_is_the_very_module(theirs: str, mine: str) -> None:
    names = f"import {theirs} as theirs, {mine} as mine; print(theirs is mine, mine.__name__)"
    assert said(names, SHIMS) == ["True", mine]


def test_no_driver_is_imported_before_its_backend_is() -> None:
    drivers = "{'redis', 'asyncpg', 'aiokafka', 'paho'} & sys.modules.keys()"
    imports = "import broadcaster._base, starlette_web.common.channels.base"
    assert said(f"{imports}; print(len({drivers}))", SHIMS) == ["0"]


def test_without_the_shims_the_original_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "broadcaster").mkdir()
    (tmp_path / "broadcaster/__init__.py").write_text("Broadcast = 'theirs'")
    imports = "import acked.compat.broadcaster._backends.base, broadcaster"
    assert said(f"{imports}; print(broadcaster.Broadcast)", tmp_path) == ["theirs"]


def test_what_is_in_no_table_is_not_found_under_the_name_that_was_asked_for() -> None:
    script = "try:\n    import {0}\nexcept ModuleNotFoundError as error:\n    print(error.name)"
    for name in ("broadcaster.nothing", "starlette_web.nothing"):
        assert said(script.format(name), SHIMS) == [name]


def test_a_shim_is_not_the_original_by_whatever_path_it_is_found(tmp_path: Path) -> None:
    current = tmp_path / "current"  # as of a deployment: the command prints the folder it means
    current.symlink_to(SOURCE)
    other = tmp_path / "other"  # the shims of another environment
    shutil.copytree(SHIMS, other)
    imports = "from starlette_web.common.channels.base import Channel"
    for path in ((SHIMS, current), (current / SHIMS.relative_to(SOURCE), SOURCE), (other,)):
        found = said(f"{imports}; print(Channel.__module__)", *path)
        assert found == ["acked.compat.starlette_web.common.channels.base"]
