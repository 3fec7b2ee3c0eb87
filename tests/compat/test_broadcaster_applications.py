"""Applications written for the original run unchanged, by another name or by the same one."""

import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.compat.controls import SCENARIOS, SHIMS, Playing, ours

SCHEMES = ("memory", "redis", "redis-stream", "postgres", "kafka")


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a real broker under the scheme that the test's parameter names."""
    scheme: str = request.param
    if scheme == "memory":
        return "memory://"
    broker = request.getfixturevalue(f"{scheme.partition('-')[0]}_broker")
    return f"{scheme}://{broker.url.partition('://')[2]}"


class Renamed:
    """Plays scenarios in which the package's name was replaced, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, scenario: str, *arguments: str) -> Playing:
        """Let `scenario` be played by our interpreter, without the shims."""
        shutil.copytree(SCENARIOS, self._folder, dirs_exist_ok=True)
        file = self._folder / f"{scenario}.py"
        text = re.sub(
            r"^from broadcaster\b",
            "from acked.compat.broadcaster",
            file.read_text(),
            flags=re.MULTILINE,
        )
        assert "from acked.compat.broadcaster import" in text
        file.write_text(text)
        return Playing(sys.executable, str(file.with_suffix("")), *arguments)


def played(how: str, folder: Path, scenario: str, *arguments: str) -> dict[str, Any]:
    play = ours if how == "shim" else Renamed(folder)
    return play(scenario, *arguments).result()


def channel() -> str:
    return f"c{uuid.uuid4().hex}"


HOW = pytest.mark.parametrize("how", ["renamed", "shim"])


@HOW
@pytest.mark.parametrize("url", SCHEMES, indirect=True)
def test_a_chat_with_event_stream_runs_unchanged(how: str, url: str, tmp_path: Path) -> None:
    assert played(how, tmp_path, "chat_server", url, channel()) == {
        "ann": ["hello", "hi ann"],
        "bob": ["hello", "hi ann", "anybody?"],
        "stream": "hello",
        "left": [],
    }


@pytest.mark.parametrize("url", SCHEMES, indirect=True)
def test_every_subscriber_of_a_channel_gets_every_message_in_order(url: str) -> None:
    said = [f"message {n}" for n in range(20)]
    assert ours("chat", url, channel()).result() == {
        "ann": said,
        "bob": said,
        "eve": ["hello"],
        "left": [],
    }


@HOW
def test_an_application_with_its_own_backend_runs_unchanged(how: str, tmp_path: Path) -> None:
    assert played(how, tmp_path, "own_backend") == {
        "heard": [{"any": "object"}] * 2 + [2] * 2,
        "calls": ["connect", "subscribe loft", "unsubscribe loft", "disconnect"],
    }


def test_the_folder_for_the_path_can_be_asked_for() -> None:
    command = [sys.executable, "-m", "acked.compat.shims"]
    assert subprocess.check_output(command, text=True) == f"{SHIMS}\n"
