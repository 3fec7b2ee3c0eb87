"""`acked run`: an app as processes, signals, what an orchestrator asks and is told."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from acked import Channel, ConfigurationError
from acked.cli.commands import acked as command
from acked.cli.running import app_named
from tests.worker.shop import JOBS

pytestmark = pytest.mark.crash

WITHIN = 20.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite-queue://{tmp_path}/queue.db"


@contextmanager
def running(
    *options: str, url: str = "", app: str = "app", **environment: str
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "acked", "run", f"tests.worker.shop:{app}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"SHOP_URL": url} | environment,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def publish(url: str, *bodies: int) -> None:
    async def publish_all() -> None:
        async with Channel.from_url(url) as channel:
            await channel.publish_many(JOBS, bodies)

    anyio.run(publish_all)


def lines(process: subprocess.Popen[str]) -> Iterator[list[str]]:
    assert process.stdout is not None
    return (line.split() for line in process.stdout)


def attempts_left(url: str) -> dict[int, int]:
    """Return the attempt of each message that is there now."""

    async def read() -> dict[int, int]:
        seen: dict[int, int] = {}
        async with Channel.from_url(url) as channel:
            await channel.publish(JOBS, 4711)
            async with channel.subscribe(JOBS, group="g") as sub:
                while 4711 not in seen:
                    delivery = await anext(sub)
                    seen[delivery.body] = delivery.attempt
                    await delivery.ack()
        return seen

    return anyio.run(read)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_lifespan_is_left_afterwards(
    url: str, number: signal.Signals
) -> None:
    publish(url, *range(6))
    with running(url=url, SHOP_SECONDS="1") as process:
        story = lines(process)
        begun = [next(story)[0] for _ in range(5)]
        process.send_signal(number)
        rest = [line[0] for line in story]
        assert process.wait(WITHIN) == 0
    assert begun == ["began", *["handling"] * 4]
    assert rest == [*["handled"] * 4, "left"]
    assert attempts_left(url) == {4: 1, 5: 1, 4711: 1}


def test_what_is_not_done_by_the_end_of_the_drain_is_given_back_uncharged(url: str) -> None:
    publish(url, 1, 2)
    with running(url=url, SHOP_SECONDS="60", SHOP_DRAIN="0.2") as process:
        story = lines(process)
        assert [next(story)[0] for _ in range(3)] == ["began", "handling", "handling"]
        process.terminate()
        assert [line[0] for line in story] == ["left"]
        assert process.wait(WITHIN) == 0
    assert attempts_left(url) == {1: 1, 2: 1, 4711: 1}


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_a_second_signal_ends_at_once(url: str, options: tuple[str, ...]) -> None:
    publish(url, 1)
    with running(*options, url=url, SHOP_SECONDS="60", SHOP_DRAIN="60") as process:
        story = lines(process)
        while next(story)[0] != "handling":
            pass
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)  # the first is being obeyed
        began = time.monotonic()
        process.terminate()
        assert process.wait(WITHIN) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 5


def test_a_child_that_dies_is_replaced_and_all_drain_together(url: str) -> None:
    publish(url, -1, *range(40))
    with running("--processes", "3", url=url, SHOP_SECONDS="0.2") as process:
        story = lines(process)
        handled: dict[int, str] = {}
        begun = 0
        while begun < 4 or len(handled) < 40:  # three, and one in place of the killed
            what, *facts = next(story)
            begun += what == "began"
            if what == "handled":
                handled[int(facts[0])] = facts[1]
        process.terminate()
        assert sum(line[0] == "left" for line in story) == 3
        assert process.wait(WITHIN) == 0
        assert process.stderr is not None
        assert "ended (-9); again in" in process.stderr.read()
    assert len(set(handled.values())) >= 2


def test_children_end_with_their_supervisor(url: str) -> None:
    publish(url, 1)
    with running("--processes", "2", url=url, SHOP_SECONDS="0.1") as process:
        story = lines(process)
        begun = 0
        while begun < 2:
            begun += next(story)[0] == "began"
        process.kill()
        assert sum(line[0] == "left" for line in story) == 2  # and so their output ends


CODE = """
from contextlib import asynccontextmanager
from acked import App, Topic

@asynccontextmanager
async def lifespan(_):
    print("began with {0}", flush=True)
    yield
    print("left {0}", flush=True)

app = App("memory-queue://", lifespan=lifespan)
app.consumer(Topic("jobs", int), group="g")(print)
"""


def test_with_reload_it_begins_again_with_code_that_changed(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text(CODE.format("one"))
    process = subprocess.Popen(
        [sys.executable, "-m", "acked", "run", "mine:app", "--reload"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    with process:
        try:
            assert process.stderr is not None
            story, told = lines(process), process.stderr
            assert next(story) == ["began", "with", "one"]
            module.write_text(CODE.format("two, which is longer"))
            assert next(story) == ["left", "one"]
            assert "mine.py has changed: again" in told.readline()
            assert next(story)[:3] == ["began", "with", "two,"]
            module.write_text("what is this")
            while "again when code changes" not in (words := told.readline()):
                assert words, "it goes on"
            module.write_text(CODE.format("three"))
            assert next(story)[0] == "left"
            assert next(story) == ["began", "with", "three"]
            process.terminate()
            assert next(story) == ["left", "three"]
            assert process.wait(WITHIN) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("target", "words"),
    [("shop", "names no app"), (":app", "names no app"), ("no_such_module:app", "no module")],
)
def test_a_target_that_cannot_be_an_app_is_refused(
    target: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ConfigurationError, match=words):
        app_named(target)


def test_a_module_that_misses_another_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_module")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        app_named("needs_more:app")


def test_reload_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.delitem(sys.modules, "acked.cli.reloading", raising=False)
    result = CliRunner().invoke(command, ["run", "tests.worker.shop:app", "--reload"])
    assert result.exit_code == 2
    assert "pip install 'acked[reload]'" in result.output


def test_a_probe_that_says_nothing_ends_no_process(url: str) -> None:
    port = free_port()
    with running("--health-port", str(port), url=url) as process:
        assert next(lines(process)) == ["began"]
        socket.create_connection(("127.0.0.1", port)).close()
        eventually(lambda: probe(port, "live") == 200)
        process.terminate()
        assert process.wait(WITHIN) == 0


@pytest.mark.parametrize(
    ("app", "status", "words"),
    [
        ("nothing", 2, "is no App"),
        ("empty", 2, "has no consumers"),
        ("nowhere", 1, "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_run_says_so_and_by_its_status(app: str, status: int, words: str) -> None:
    with running(app=app) as process:
        _, told = process.communicate(timeout=WITHIN)
    assert words in told
    assert told.count("\n") == 1
    assert process.returncode == status


def test_what_no_child_could_run_ends_the_supervisor() -> None:
    with running("--processes", "2", app="empty") as process:
        _, told = process.communicate(timeout=WITHIN)
    assert "has no consumers" in told
    assert process.returncode == 2


def test_probes_are_answered_about_consumption(url: str) -> None:
    port = free_port()
    publish(url, 1)
    with running(
        "--health-port", str(port), url=url, SHOP_SECONDS="60", SHOP_DRAIN="60"
    ) as process:
        story = lines(process)
        assert [next(story)[0] for _ in range(2)] == ["began", "handling"]
        assert (probe(port, "live"), probe(port, "ready"), probe(port, "x")) == (200, 200, 404)
        process.terminate()
        eventually(lambda: probe(port, "ready") == 503)
        assert probe(port, "live") == 200  # it drains
        process.terminate()
        process.wait(WITHIN)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def probe(port: int, name: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def eventually(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + WITHIN
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.05)
