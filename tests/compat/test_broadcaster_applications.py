"""Applications written for the original run unchanged, by another name or by the same one."""

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.compat.controls import SHIMS, ours, renamed

SCHEMES = ("memory", "redis", "redis-stream", "postgres", "kafka")


def played(how: str, folder: Path, scenario: str, *arguments: str) -> dict[str, Any]:
    if how == "shim":
        return ours(scenario, *arguments).result()
    return renamed("broadcaster", folder, scenario, *arguments).result()


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
