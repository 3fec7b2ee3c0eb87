"""Run the tests by room, side by side: rooms share nothing but the machine, and mostly wait.

    python -m tests.rooms                    every room
    python -m tests.rooms kafka core         those with one of the words in their name
    python -m tests.rooms -- -m redis -x     what follows `--` is pytest's

A room is one run of pytest, with brokers of its own: the tests of a mechanism in one folder, as
`layers/kafka`, or all of a folder, as `core`. A file belongs to a room by its path alone, so a new
one needs no entry here. A line tells how each room ended, below the whole output of one that did
not pass; the last line adds all up as pytest's does. The status is 1 if any room did not pass.

With `--second-look` a few failures of a whole run are tried once more, alone, when all else has
ended: a broker that shares two cores with five other rooms may take longer than a test waits. What
passes then is told as UNSTEADY, with all that it printed before: it is a test to be cured.
"""

import argparse
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
MECHANISMS = (
    *("kafka", "mqtt", "postgres", "redis_streams", "redis_pubsub", "redis", "sqlite", "memory"),
    *("broadcaster", "starlette_web", "broken", "correct", "slow"),
)
"""Words in the path of a test that make a room; the first that fits."""
LONGEST_FIRST = (
    *("conformance/broken", "conformance/kafka", "conformance/sqlite", "layers/kafka"),
    *("conformance/slow", "conformance/postgres", "conformance/redis_streams", "conformance/redis"),
    *("conformance", "crash", "conformance/correct", "cli", "conformance/mqtt"),
    *("layers/redis_streams", "orders", "layers/mqtt", "layers/postgres", "core", "layers/redis"),
    *("meta", "conformance/memory"),
)
"""They decide when all are done."""
LANES = 7
"""On two cores: the longest rooms keep a core for a twentieth of their time, and wait for the rest."""
MEASURED = 300
"""Seconds after which a test hangs while coverage is measured: what computes takes twice as long."""
PATIENCE = 15.0
"""Seconds that a run may take to end when it is interrupted."""
NO_TESTS = 5
"""pytest's status when its options left nothing to run."""
ORDER = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")
"""The words of pytest's closing line, in its order."""
SECOND_LOOKS = 5
"""So many failures may be the machine's; more are not."""
NOT_CLAIMED = "acked/conformance/law.py"
"""Where laws are skipped for what a layer does not claim; there nothing is missing."""

_CLOSING = re.compile(r"=+ (\d+ [a-z]+.*|no tests ran) in [\d.]+s.*=+")
_FAILED = re.compile(r"(?:FAILED|ERROR) (tests/\S+?::.*?)(?: - .*)?")
_SUMMARY = re.compile(r"=+ short test summary info =+")


@dataclass(frozen=True)
class Ended:
    """How the run of one room ended."""

    room: str
    status: int
    output: str
    seconds: float

    @property
    def has_passed(self) -> bool:
        """Whether it came to its end and no test failed."""
        return self.status in (0, NO_TESTS) and self._closing is not None

    @property
    def counts(self) -> Counter[str]:
        """What its closing line counts; an error where it has none, or does not tell of one."""
        words = re.findall(r"(\d+) ([a-z]+)", self._closing[1]) if self._closing else []
        counts = Counter({re.sub("^(error|warning)s$", r"\1", word): int(n) for n, word in words})
        if not self.has_passed and not counts["failed"] + counts["error"]:
            counts["error"] = 1
        return counts

    @property
    def told(self) -> list[str]:
        """The lines to show: all if it did not pass, else what its summary says was missing."""
        lines = [line for line in self._lines if not _CLOSING.fullmatch(line)]
        if not self.has_passed:
            return lines
        summaries = [n for n, line in enumerate(lines, 1) if _SUMMARY.fullmatch(line)]
        summary = lines[summaries[-1] :] if summaries else []
        return [line for line in summary if NOT_CLAIMED not in line]

    @property
    def failed(self) -> list[str] | None:
        """The tests that failed, as pytest names them; None where something else did."""
        found = [match[1] for line in self._lines if (match := _FAILED.fullmatch(line))]
        told = self.counts["failed"] + self.counts["error"]
        return found if self._closing is not None and len(found) == told else None

    @property
    def _lines(self) -> list[str]:
        return self.output.rstrip().splitlines()

    @property
    def _closing(self) -> re.Match[str] | None:
        # An interpreter that ends may have words after it.
        found = (_CLOSING.fullmatch(line) for line in reversed(self._lines))
        return next((one for one in found if one), None)


class Runs:
    """Runs of pytest in processes of their own, which all end if one asks for it."""

    def __init__(self, command: Sequence[str], options: Sequence[str]) -> None:
        self._command = [sys.executable, *command, "-p", "no:cacheprovider", *options]
        self._under_way: list[subprocess.Popen[str]] = []

    def run(self, room: str, chosen: Sequence[Path | str]) -> Ended:
        """Run the tests of a room to their end: those of files, or some by their names."""
        began = time.monotonic()
        run = subprocess.Popen(
            [*self._command, *map(str, chosen)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,  # a terminal's ^C comes by `interrupt`, once
        )
        self._under_way.append(run)
        output, _ = run.communicate()
        return Ended(room, run.returncode, output, time.monotonic() - began)

    def interrupt(self) -> None:
        """Let those under way stop their brokers and end; a test may have kept the word to itself."""
        alive = [run for run in self._under_way if run.poll() is None]
        for run in alive:
            run.send_signal(signal.SIGINT)
        until = time.monotonic() + PATIENCE
        for run in alive:
            try:
                run.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                run.terminate()  # the brokers end with it, by their guardian


def rooms() -> dict[str, list[Path]]:
    """Return the files of each room, the longest room first."""
    found: dict[str, list[Path]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        found.setdefault(room_of(file), []).append(file)
    ranks = {room: rank for rank, room in enumerate(LONGEST_FIRST)}
    return {room: found[room] for room in sorted(found, key=lambda one: ranks.get(one, len(ranks)))}


def room_of(file: Path) -> str:
    """Return the room of a file: its folder, and its mechanism if it has one."""
    folder, _, rest = file.relative_to(TESTS).as_posix().partition("/")
    return "/".join([folder, *[word for word in MECHANISMS if word in rest][:1]])


def ended(runs: Runs, chosen: Mapping[str, Sequence[Path]], lanes: int) -> Iterator[Ended]:
    """Run rooms side by side, and yield each as it ends."""
    with ThreadPoolExecutor(lanes) as pool:
        waiting = [pool.submit(runs.run, room, files) for room, files in chosen.items()]
        try:
            for one in as_completed(waiting):
                yield one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runs.interrupt()
            raise


def in_words(counts: Mapping[str, int]) -> str:
    """Return counts as pytest says them."""
    named = [(counts[word], word) for word in ORDER if counts.get(word)]
    plural = ("warning", "error")
    words = [f"{n} {word}{'s' if n > 1 and word in plural else ''}" for n, word in named]
    return ", ".join(words) or "no tests ran"


def tell(all_ended: Iterable[Ended], look_again: Callable[[list[Ended]], bool]) -> int:
    """Print each room as it ends, then all together; return the exit status."""
    began, total = time.monotonic(), Counter[str]()
    bad: list[Ended] = []
    for one in all_ended:
        total += one.counts
        bad += [] if one.has_passed else [one]
        head = "" if one.has_passed else "FAILED: "
        print(*one.told, sep="\n", end="\n" if one.told else "")
        print(f"{head}{one.room}: {in_words(one.counts)}, {one.seconds:.0f} s", flush=True)
    print(f" {in_words(total)} in {time.monotonic() - began:.2f}s ".center(80, "="))
    return 0 if total["passed"] and (not bad or look_again(bad)) else 1


def second_look(runs: Runs, bad: Sequence[Ended]) -> bool:
    """Say whether the few tests that failed in `bad` pass alone; tell each of them."""
    failed = [test for one in bad for test in one.failed or ()]
    if not 0 < len(failed) <= SECOND_LOOKS or any(one.failed is None for one in bad):
        return False
    alone = runs.run("alone", failed)
    print(*alone.told, sep="\n", end="\n" if alone.told else "")
    again = alone.failed if alone.failed is not None else failed
    for test in failed:
        print(f"{'FAILED, alone too' if test in again else 'UNSTEADY, passed alone'}: {test}")
    return alone.has_passed


def main(arguments: Sequence[str]) -> int:
    """Run the rooms that were asked for; return the exit status."""
    parser = argparse.ArgumentParser("python -m tests.rooms", usage="%(prog)s [ROOM...] [-- ...]")
    parser.add_argument("words", nargs="*", metavar="ROOM", help="a word of its name")
    parser.add_argument("--lanes", type=int, default=LANES, help="how many side by side")
    parser.add_argument("--coverage", action="store_true", help="measure it, into .coverage.*")
    parser.add_argument("--second-look", action="store_true", help="try a few failures again")
    parser.add_argument("--list", action="store_true", help="only print the rooms")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parsed = parser.parse_args(arguments[:end])
    chosen = {
        room: [file.relative_to(ROOT) for file in files]
        for room, files in rooms().items()
        if not parsed.words or any(word in room for word in parsed.words)
    }
    if not chosen:
        parser.error(f"no room's name has {' or '.join(parsed.words)} in it: {', '.join(rooms())}")
    if parsed.list:
        print(*(f"{room}: {len(files)} files" for room, files in chosen.items()), sep="\n")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    measured = ["-m", "coverage", "run", "-m", "pytest", f"--timeout={MEASURED}"]
    command = measured if parsed.coverage else ["-m", "pytest"]
    runs = Runs(command, arguments[end + 1 :])
    try:
        return tell(
            ended(runs, chosen, parsed.lanes),
            lambda bad: parsed.second_look and second_look(runs, bad),
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
