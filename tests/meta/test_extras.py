"""What is imported without its client says which extra to install; the version is there."""

import importlib.metadata
import subprocess
import sys

import pytest

import acked
from tests.meta.source import ROOT

NEEDS = [
    ("acked.layers.redis_streams", "redis", "acked[redis]"),
    ("acked.layers.redis_pubsub", "redis", "acked[redis]"),
    ("acked.layers.kafka", "aiokafka", "acked[kafka]"),
    ("acked.layers.mqtt", "aiomqtt", "acked[mqtt]"),
    ("acked.layers.postgres_notify", "asyncpg", "acked[postgres]"),
    ("acked.codecs.pydantic", "pydantic", "acked[pydantic]"),
]


@pytest.mark.parametrize(("module", "client", "extra"), NEEDS)
def test_a_module_without_its_client_names_the_extra(module: str, client: str, extra: str) -> None:
    program = f"import sys; sys.modules[{client!r}] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: {module} needs ")
    assert last.endswith(f"pip install '{extra}'")


def test_the_laws_need_nothing_that_their_extra_does_not_bring() -> None:
    """anyio brought sniffio until 4.12: in an empty environment nothing does any more."""
    program = (
        "import sys; sys.modules['sniffio'] = sys.modules['trio'] = None; "  # trio brings it, too
        "import acked.conformance.laws.lifecycle"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_the_version_is_that_of_the_distribution() -> None:
    assert acked.__version__ == importlib.metadata.version("acked")
