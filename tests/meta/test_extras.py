"""What is imported without its client says which extra to install; the version is there."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib

import pytest

import acked
from tests.meta.source import ROOT

NEEDS = [
    ("acked.layers.redis_streams", "redis", "acked[redis]"),
    ("acked.layers.redis_pubsub", "redis", "acked[redis]"),
    ("acked.layers.kafka", "aiokafka", "acked[kafka]"),
    ("acked.layers.mqtt", "aiomqtt", "acked[mqtt]"),
    ("acked.layers.postgres_notify", "asyncpg", "acked[postgres]"),
    ("acked.layers.postgres_queue", "asyncpg", "acked[postgres]"),
    ("acked.codecs.pydantic", "pydantic", "acked[pydantic]"),
]


@pytest.mark.parametrize(("module", "client", "extra"), NEEDS)
def test_a_module_without_its_client_names_the_extra(module: str, client: str, extra: str) -> None:
    program = f"import sys; sys.modules[{client!r}] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith((f"ImportError: {module} needs ", "ModuleNotFoundError: "))
    assert last.endswith(f"pip install '{extra}'")


NOT_FOR_ALL = {"all", "dev", "conformance"}
"""Who writes a layer asks for the laws, who works on `acked` for its tools."""


def test_all_is_every_extra_that_an_application_may_want() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    named = re.fullmatch(r"acked\[(.*)\]", everything)[1].split(",")
    assert set(named) == extras.keys() - NOT_FOR_ALL
    asked = {
        re.search(r"\[(.*)\]|$", layer)[1]
        for layer in project["entry-points"]["acked.layers"].values()
    }
    assert asked - {None} <= extras.keys()


BROUGHT = {"anyio", "msgspec", "hypothesis", "pytest", "psutil", "click", "rich"}
"""By `acked[conformance]`, by name: what those bring in their turn may go with a new version."""


def test_the_laws_import_nothing_that_their_extra_does_not_name() -> None:
    files = [ROOT / "src/_acked_pytest.py", *(ROOT / "src/acked/conformance").rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert {"anyio", "pytest"} < tops  # it looks at something
    assert tops - BROUGHT - {"acked"} == set()


def test_the_version_is_that_of_the_distribution() -> None:
    assert acked.__version__ == importlib.metadata.version("acked")
