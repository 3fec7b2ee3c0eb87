"""Applications written for the original run unchanged, by another name or by the same one."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.compat.controls import MAY_INSTALL, SHIMS, SOURCE, original, ours, renamed

pytestmark = MAY_INSTALL

LAYERS = ("memory", "redis", "postgres", "mqtt")


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a real broker for the layer that the test's parameter names."""
    layer: str = request.param
    if layer == "memory":
        return "memory:"
    broker_url: str = request.getfixturevalue(f"{layer}_broker").url
    return broker_url


def played(how: str, folder: Path, scenario: str, *arguments: str) -> dict[str, Any]:
    name = f"c{uuid.uuid4().hex}"
    if how == "shim":
        playing = ours(scenario, *arguments, name)
    else:
        playing = renamed("starlette_web", folder, scenario, *arguments, name)
    return playing.result()


EVERY_LAYER = pytest.mark.parametrize("url", LAYERS, indirect=True)


@EVERY_LAYER
def test_websockets_that_share_a_channel_hear_one_another(url: str) -> None:
    assert played("shim", Path(), "starlette_chat", "shared", url) == {
        "heard": ["hello", "hello", "hi ann", "hi ann", "anybody?"],
        "left": [],
    }


@pytest.mark.parametrize("url", LAYERS[1:], indirect=True)
def test_a_websocket_opens_its_channel_in_one_task_and_uses_it_from_others(
    url: str, tmp_path: Path
) -> None:
    assert played("renamed", tmp_path, "starlette_chat", "own", url) == {
        "heard": ["hello", "hello", "hi ann", "hi ann", "anybody?"],
        "left": [],
    }


@EVERY_LAYER
def test_many_coroutines_use_one_channel_again_and_again(url: str) -> None:
    once = [[3] * 5, [1] * 5]
    assert played("shim", Path(), "starlette_documented", url) == {"heard": [once, once, once]}


def test_layers_that_subscribe_to_several_groups_or_patterns_are_delivered_to(
    redis_broker: Any, tmp_path: Path
) -> None:
    both = [["g1", "to g1"], ["g2", "to g2"]]
    found = played("renamed", tmp_path, "starlette_several_groups", redis_broker.url)
    assert found == {"groups": both, "patterns": both}


def test_an_application_that_runs_with_the_original_says_the_same(redis_broker: Any) -> None:
    theirs = original("starlette-web", "starlette_documented", redis_broker.url, uuid.uuid4().hex)
    assert theirs.result() == {"heard": [[[3] * 5, [1] * 5]] * 3}


def test_the_shim_overlays_the_channels_and_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    theirs = tmp_path / "starlette_web"
    for file, text in {
        "__init__.py": "",
        "common/__init__.py": "",
        "common/conf.py": "settings = 'theirs'",
        "common/channels/__init__.py": "",
        "common/channels/base.py": "Channel = 'theirs'",
        "contrib/__init__.py": "",
        "contrib/redis/__init__.py": "from starlette_web.contrib.redis.cache import RedisCache",
        "contrib/redis/cache.py": "RedisCache = 'theirs'",
    }.items():
        (theirs / file).parent.mkdir(parents=True, exist_ok=True)
        (theirs / file).write_text(text)
    script = (
        "from starlette_web.common.channels.base import Channel\n"
        "from starlette_web.common.conf import settings\n"
        "from starlette_web.contrib.redis import RedisCache\n"
        "from starlette_web.contrib import redis\n"
        "print(Channel.__module__, settings, RedisCache, hasattr(redis, 'Nothing'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(map(str, (SHIMS, SOURCE, tmp_path)))},
    )
    assert done.stdout.split() == [
        "acked.compat.starlette_web.common.channels.base",
        "theirs",
        "theirs",
        "False",
    ]
