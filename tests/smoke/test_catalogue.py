"""A broker is a folder: with a recipe in it, it is started, proxied, tested and stopped like all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compose.catalogue import CLUSTERS, new_cluster, recipe_for
from compose.docker import DockerBroker
from compose.lifecycle import NAMES, BrokerError
from compose.recipe import CONFIGURATION, Site

ROOT = Path(__file__).resolve().parents[2]

RECIPE = '''
import signal
import sys
from compose.lifecycle import Route
from compose.recipe import ask

SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        link, _ = listener.accept()
        with link:
            link.sendall(link.recv(512))
"""

class EchoRecipe:
    name = "echo"
    default_port = 7
    port_count = 1
    stop_signal = signal.SIGTERM
    end_signal = signal.SIGKILL
    def version(self): return "1.0"
    def missing(self): return []
    def account(self): return None
    def prepare(self, site): pass
    def command(self, site): return [sys.executable, "-c", SERVER, str(site.port)]
    def is_ready(self, site): return ask(site.port, b"hello") == b"hello"
    def url(self, site): return f"echo://127.0.0.1:{site.port}"
    def route(self, site): return Route(site.port, 0)

RECIPE = EchoRecipe
'''
TEST = """
from compose.recipe import ask

def test_it_echoes(echo_broker, private_broker):
    assert ask(echo_broker.port, b"shared") == b"shared"
    assert ask(private_broker("echo").port, b"own") == b"own"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one more broker: its folder, its test, and nothing else."""
    for name in ("compose", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "compose/echo").mkdir()
    (tmp_path / "compose/echo/recipe.py").write_text(RECIPE)
    (tmp_path / "tests/test_echo.py").write_text(TEST)
    return tmp_path


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"ACKED_CACHE": str(checkout / "cache"), "ACKED_BROKERS": "native"}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=checkout, env=environment, check=False, capture_output=True, text=True
    )


def test_the_command_line_knows_a_new_broker_by_its_folder(checkout: Path) -> None:
    try:
        started = run(checkout, "compose/brokers.py", "up", "echo")
        assert started.returncode == 0, started.stderr
        assert started.stdout.startswith("ACKED_TEST_ECHO_URL=echo://127.0.0.1:")
        assert "running  1.0" in run(checkout, "compose/brokers.py", "status", "echo").stdout
    finally:
        stopped = run(checkout, "compose/brokers.py", "down", "echo")
    assert stopped.stdout == "stopped: echo\n"


def test_a_test_has_its_fixtures(checkout: Path) -> None:
    done = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_echo.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "brokers: echo 1.0 (native)" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_broker_runs_in_a_container_as_well(name: str) -> None:
    service = (CONFIGURATION / name / "compose.yaml").read_text()
    broker = DockerBroker(recipe_for(name))
    assert broker.version != "unknown"
    assert recipe_for(name).name == name
    assert f"ACKED_{name.upper()}_PORT:-{recipe_for(name).default_port}" in service
    assert broker.url == recipe_for(name).url(Site(Path(), [broker.port]))


def test_only_those_with_a_password_take_one() -> None:
    with pytest.raises(BrokerError, match="a password was given for kafka, which takes none"):
        recipe_for("kafka", password="x")
    with pytest.raises(BrokerError, match="no broker is called 'rabbit'"):
        recipe_for("rabbit")
    secret = recipe_for("redis", password="correct horse")
    assert "correct%20horse@" in secret.url(Site(Path(), [6379]))
    assert "horse" not in repr(secret)


def test_each_cluster_can_be_made() -> None:
    assert set(CLUSTERS) <= set(NAMES)
    for name in CLUSTERS:
        new_cluster(name).close()
