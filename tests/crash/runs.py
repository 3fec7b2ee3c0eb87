"""The two runs: debts, of which none may be lost, and news, of which no loss may be silent."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.crash.jobs import LEASE, Job, Reading
from tests.crash.stage import Child, RunError, Stage, spread
from tests.crash.verdicts import Crew, Listener, News

Report = dict[str, object]

WITHOUT_PROGRESS = 60.0
"""Seconds after which a run is given up."""


@dataclass(frozen=True)
class Faults:
    """How many of each kind."""

    restarts: int = 3
    cuts: int = 10
    kills: int = 1


@dataclass(frozen=True)
class DebtLayer:
    """What an ack-capable layer needs to take part."""

    broker: str
    patience: float
    """Seconds in which what is owed comes again: some more than `LEASE` or the session lasts."""
    query: str = ""
    member_query: str = ""
    """Appended for each consumer, with its number."""
    is_replaced: bool = False
    """Whether a killed consumer must return for its messages to come again."""
    may_be_killed: bool = True
    """Whether the broker keeps what it accepted if it is killed, too."""
    is_confirmed: bool = True
    """Whether an ack that returned is the broker's yes."""


DEBT_LAYERS = {
    "redis-streams": DebtLayer("redis", 4 * LEASE),
    "postgres-queue": DebtLayer("postgres", 4 * LEASE),
    "kafka": DebtLayer("kafka", 12.0, "?create_topics=6&session_timeout=6"),
    # A session belongs to its client id. Mosquitto saves its queues every second and on SIGTERM:
    # killed, it loses what it accepted since, so it is stopped.
    "mqtt": DebtLayer(
        "mqtt",
        5.0,
        member_query="?shared=true&client_id=member-{}",
        is_replaced=True,
        may_be_killed=False,
        is_confirmed=False,
    ),
}
NEWS_LAYERS = {"redis-pubsub": "redis", "postgres-notify": "postgres", "memory": None}
LAYERS = (*DEBT_LAYERS, *NEWS_LAYERS)


def run(layer: str, messages: int, faults: Faults) -> tuple[Report, bool]:
    """Return the report of a run on `layer`, and whether it shows what it should."""
    with tempfile.TemporaryDirectory(prefix="acked-crash-") as folder:
        if layer in DEBT_LAYERS:
            return _run_debts(layer, messages, faults, Path(folder))
        return _run_news(layer, messages, faults, Path(folder))


def _run_debts(layer: str, messages: int, faults: Faults, folder: Path) -> tuple[Report, bool]:
    traits = DEBT_LAYERS[layer]
    with Stage(traits.broker, folder) as stage:
        debts = _DebtRun(stage, layer, traits, messages)
        debts.play(faults)
        verdict = debts.crew.verdict(debts.killed)
        report: Report = {"layer": layer} | asdict(verdict) | {"withheld": debts.withheld}
        report |= {"faults": stage.done, "seconds": round(stage.seconds, 1)}
        held = verdict.lost == debts.withheld == 0 and verdict.accepted == messages
        if traits.is_confirmed:
            held = held and verdict.after_ack == 0
        return report, held and stage.done == asdict(faults)


class _DebtRun:
    """Two publishers and three consumers, and what goes wrong meanwhile."""

    def __init__(self, stage: Stage, layer: str, traits: DebtLayer, messages: int) -> None:
        self.crew = Crew()
        self.killed: list[str] = []
        self.withheld = 0
        """Messages that came only to another crew, when the first one was gone."""
        self._stage = stage
        self._layer = layer
        self._traits = traits
        self._messages = messages
        self._names: list[str] = []
        self._moved = time.monotonic()

    def play(self, faults: Faults) -> None:
        """Return when everything is acked, or nothing moves any more."""
        stage, messages = self._stage, self._messages
        # Consumers first: MQTT owes a group what is published after it subscribed.
        self._consumers = stage.start(*(self._consumer(member) for member in range(3)))
        publishers = stage.start(*(self._publisher(first) for first in range(2)))
        for child in (*self._consumers, *publishers):
            child.go()
        due = spread(
            [
                (faults.restarts, self._restart),
                (faults.cuts, lambda _: stage.cut()),
                (faults.kills, self._kill),
            ],
            2 * messages,  # each is accepted, and acked
        )
        for at, fault in due:
            self._wait(lambda at=at: self.crew.progress >= at, WITHOUT_PROGRESS)
            fault()
            self._moved = time.monotonic()
        self._wait(self._is_over, WITHOUT_PROGRESS)
        if len(self.crew.acked) < messages:
            self._relieve()

    def _is_over(self) -> bool:
        """Say whether nothing is to be expected of this crew any more."""
        if len(self.crew.acked) >= self._messages:
            return True
        verdict = self.crew.verdict(self.killed)
        is_known = verdict.accepted == self._messages and verdict.lost == 0
        return is_known and time.monotonic() - self._moved > self._traits.patience

    def _relieve(self) -> None:
        """Put another crew in the place of this one: it gets whatever the group is still owed."""
        for child in self._consumers:
            child.kill()
        self._read()
        self._consumers = self._stage.start(*(self._consumer(member) for member in range(3)))
        for child in self._consumers:
            child.go()
        verdict, before = self.crew.verdict(self.killed), self.crew.deliveries
        self._moved = time.monotonic()
        self._wait(lambda: False, self._traits.patience)
        self.withheld = self.crew.deliveries - before
        self._stage.say(f"{verdict}; then {self.withheld} came to another crew")

    def _wait(self, is_reached: Callable[[], bool], patience: float) -> None:
        """Return when it is reached, or when nothing moved for `patience` seconds."""
        while True:
            self._read()
            self._stage.check()
            if is_reached() or time.monotonic() - self._moved > patience:
                return
            time.sleep(0.05)

    def _read(self) -> None:
        before = self.crew.progress, self.crew.deliveries
        for name in self._names:
            self.crew.read(name, self._stage.diaries.more(self._stage.diaries.path(name)))
        if (self.crew.progress, self.crew.deliveries) != before:
            self._moved = time.monotonic()

    def _restart(self, number: int) -> None:
        self._stage.restart(by_kill=self._traits.may_be_killed and number % 2 == 0)
        accepted, acked = len(self.crew.accepted), len(self.crew.acked)
        self._stage.say(f"{accepted} accepted, {acked} acked")

    def _kill(self, number: int) -> None:
        victim = self._consumers[number]
        victim.kill()
        self.killed.append(Path(victim.job.diaries[0]).name)
        self._stage.done["kills"] += 1
        self._stage.say("consumer killed")
        if self._traits.is_replaced:
            self._consumers[number : number + 1] = self._stage.start(self._consumer(number))
            self._consumers[number].go()

    def _publisher(self, first: int) -> Job:
        mine = len(range(first, self._messages, 2))
        return Job(
            role="publish",
            url=self._stage.url(self._layer, self._traits.query),
            diaries=[self._diary(f"publisher-{first}")],
            first=first,
            count=mine,
        )

    def _consumer(self, member: int) -> Job:
        query = self._traits.query + self._traits.member_query.format(member)
        diary = self._diary(f"consumer-{member}-{len(self._names)}")
        return Job(role="consume", url=self._stage.url(self._layer, query), diaries=[diary])

    def _diary(self, name: str) -> str:
        self._names.append(name)
        return self._stage.diaries.path(name)


POLICIES = ("drop_oldest", "drop_newest", "block", "fail")


def _readings(stage: Stage, name: str) -> list[Reading]:
    """Return a listener that keeps up, and slow ones with little room: one for each policy."""
    slow = [
        Reading(stage.diaries.path(f"{name}-{policy}"), policy, capacity=48, pause=0.03)
        for policy in POLICIES
    ]
    return [Reading(stage.diaries.path(f"{name}-fast"), capacity=100_000), *slow]


def _run_news(layer: str, messages: int, faults: Faults, folder: Path) -> tuple[Report, bool]:
    broker = NEWS_LAYERS[layer]
    if broker is None:
        faults = Faults(0, 0, 0)
    with Stage(broker, folder) as stage:
        news = _NewsRun(stage, layer, messages, is_one_process=broker is None)
        news.play(faults)
        sum_of = news.verdict()
        report: Report = {"layer": layer, "published": news.published}
        report |= asdict(sum_of) | {"listeners": len(news.listeners)}
        report |= {"faults": stage.done, "seconds": round(stage.seconds, 1)}
        wrong = sum_of.unexplained + sum_of.overtold + sum_of.invented
        held = wrong == 0 and news.published >= messages
        return report, held and stage.done == asdict(faults)


class _NewsRun:
    """Two publishers, and listeners in three processes; all in one for a layer within a process."""

    def __init__(self, stage: Stage, layer: str, messages: int, *, is_one_process: bool) -> None:
        self._stage = stage
        self._messages = messages
        url = stage.url(layer)
        share = (messages + 1) // 2
        self._told_in = told_in = [stage.diaries.path(f"publisher-{first}") for first in range(2)]

        def job(*, listener: str | None = None, diaries: Sequence[str] = (), first: int = 0) -> Job:
            readings = _readings(stage, listener) if listener else []
            return Job(
                role="news",
                url=url,
                readings=readings,
                diaries=list(diaries),
                first=first,
                count=share,
            )

        if is_one_process:
            self._jobs = [job(listener="one", diaries=told_in)]
        else:
            listeners = [job(listener=name) for name in ("one", "two", "three")]
            publishers = [job(diaries=[path], first=first) for first, path in enumerate(told_in)]
            self._jobs = [*listeners, *publishers]
        self.listeners: dict[str, list[str]] = {
            reading.diary: [] for job in self._jobs for reading in job.readings
        }
        self._killed: set[str] = set()
        self._accepted: dict[int, set[int]] = {0: set(), 1: set()}
        self._ends: dict[int, int] = {}

    @property
    def published(self) -> int:
        """How many messages were accepted."""
        return sum(len(numbers) for numbers in self._accepted.values())

    def play(self, faults: Faults) -> None:
        """Return when every listener has heard both publishers' end."""
        stage = self._stage
        children = stage.start(*self._jobs)
        for child in children:
            child.go()
        due = spread(
            [
                (faults.restarts, lambda i: stage.restart(by_kill=i % 2 == 0)),
                (faults.cuts, lambda _: stage.cut()),
                (faults.kills, lambda i: self._kill(children[i])),
            ],
            self._messages,
        )
        for at, fault in due:
            self._wait(lambda at=at: self.published >= at)
            fault()
        self._wait(self._is_over)

    def verdict(self) -> News:
        """Return what all listeners missed together."""
        total = News()
        for path, lines in self.listeners.items():
            one = Listener(self._accepted, self._ends).judge(lines)
            killed = " (killed)" if path in self._killed else ""
            self._stage.say(f"{Path(path).name}{killed}: {one}")
            total += one
        return total

    def _kill(self, child: Child) -> None:
        child.kill()
        self._killed |= {reading.diary for reading in child.job.readings}
        self._stage.done["kills"] += 1
        self._stage.say("listener killed")

    def _is_over(self) -> bool:
        return len(self._ends) == 2 and all(
            _has_heard(lines[-50:], self._ends)
            for path, lines in self.listeners.items()
            if path not in self._killed
        )

    def _wait(self, is_reached: Callable[[], bool]) -> None:
        moved, before = time.monotonic(), -1
        while not is_reached():
            self._read()
            self._stage.check()
            if self.published != before:
                moved, before = time.monotonic(), self.published
            if time.monotonic() - moved > WITHOUT_PROGRESS:
                raise RunError(f"no progress for {WITHOUT_PROGRESS:.0f} s")
            time.sleep(0.05)

    def _read(self) -> None:
        for publisher, path in enumerate(self._told_in):
            for line in self._stage.diaries.more(path):
                _, word, number = line.split()
                if word == "accepted":
                    self._accepted[publisher].add(int(number))
                elif word == "end":
                    self._ends[publisher] = int(number)
        for path, lines in self.listeners.items():
            lines.extend(self._stage.diaries.more(path))


def _has_heard(lines: Sequence[str], ends: Mapping[int, int]) -> bool:
    """Say whether a listener with these lines has heard the end of each publisher."""
    arrivals = [words for words in map(str.split, lines) if words[1] == "got"]
    return all(
        any(int(who) == publisher and int(number) >= end for _, _, who, number, _ in arrivals)
        for publisher, end in ends.items()
    )
