"""The floors hold, and a step up the stairs is noticed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.source import ROOT

INDEPENDENT = "layers do not know one another"
DROP_INS = "the drop-ins use the public API only"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
    )


def test_imports_go_downwards_only() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "step", "contract"),
    [
        ("_machines/renewal.py", "import anyio", "machines are sans-io"),
        ("errors.py", "import acked.types", "floors"),
        ("layers/memory.py", "import acked.layers.memory_queue", INDEPENDENT),
        # Private modules are in a room, too; and what two share is not for all.
        ("layers/redis_streams/_feed.py", "import acked.layers.kafka._records", INDEPENDENT),
        (
            "layers/redis_streams/_keys.py",
            "import acked.layers.redis_pubsub._envelope",
            INDEPENDENT,
        ),
        ("layers/mqtt/_feed.py", "import acked.layers._redis.connection", INDEPENDENT),
        ("layers/_shared/urls.py", "import acked.layers.sqlite_queue._sql", INDEPENDENT),
        ("layers/_redis/nodes.py", "import acked.layers.redis_streams._keys", INDEPENDENT),
        ("cli/commands.py", "import acked.demo.scenario", "the demo has one door"),
        ("compat/__init__.py", "import acked.demo.run", "floors"),
        ("compat/_hub.py", "import acked._core.stream.buffer", DROP_INS),
        ("compat/_events.py", "import acked._machines.overflow", DROP_INS),
        ("compat/broadcaster/_base.py", "import acked.layers._shared.urls", DROP_INS),
        ("compat/broadcaster/backends/redis.py", "import acked.layers.kafka._client", DROP_INS),
        ("layers/memory.py", "import acked.codecs", "a layer never sees the engine"),
        ("_core/ack/in_flight.py", "import acked._core.channel", "no cycles"),
    ],
)
def test_a_step_upwards_is_noticed(tmp_path: Path, file: str, step: str, contract: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src")
    planted = tmp_path / "src" / "acked" / file
    planted.write_text(planted.read_text() + f"\n{step}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert any(contract in line and "BROKEN" in line for line in done.stdout.splitlines())
