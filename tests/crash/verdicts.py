"""What the diaries say: which messages were lost, and of which misses nobody was told."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Lines = Sequence[str]


@dataclass(frozen=True)
class Debts:
    """What became of the messages that were accepted."""

    accepted: int
    acked: int
    unconfirmed: int
    """Of these, the ones that were handed over and their ack asked for, which was not seen to
    return: the process was killed, or the connection broke before the answer. They are acked if
    they never come again: a run makes sure of that with another crew."""
    lost: int
    duplicates: int
    """Deliveries of a message beyond its first."""
    after_ack: int
    """Of these, the ones that began after an `ack()` of the message had returned. A message that
    was published twice, since its first publish failed, does not count."""


class Crew:
    """What the publishers and consumers did, read while they go on doing it."""

    def __init__(self) -> None:
        self.accepted: set[int] = set()
        self.deliveries = 0
        self._delivered: dict[int, int] = {}  # when the last time
        self._acked: dict[int, int] = {}  # when the first time
        self._twice: set[int] = set()
        self._unconfirmed: set[int] = set()
        self._asked: dict[str, set[int]] = {}

    @property
    def acked(self) -> Collection[int]:
        """The messages whose `ack()` was seen to return."""
        return self._acked.keys()

    @property
    def progress(self) -> int:
        """How many messages are half done: accepted, and then acked."""
        return len(self.accepted) + len(self._acked)

    def read(self, diary: str, lines: Iterable[str]) -> None:
        """Take in what `diary` has more."""
        asked = self._asked.setdefault(diary, set())
        for line in lines:
            when, word, number = line.split()
            self._note(int(when), word, int(number), asked)

    def _note(self, when: int, word: str, number: int, asked: set[int]) -> None:
        if word in {"acked", "late", "unconfirmed"}:
            asked.discard(number)
        match word:
            case "accepted":
                self.accepted.add(number)
            case "again":
                self._twice.add(number)
            case "got":
                self.deliveries += 1
                self._delivered[number] = max(when, self._delivered.get(number, 0))
            case "asked":
                asked.add(number)
            case "acked":
                self._acked[number] = min(when, self._acked.get(number, when))
            case "unconfirmed":
                self._unconfirmed.add(number)
            case "late":
                pass  # it comes again
            case _:
                raise ValueError(f"no step of a diary: {word!r}")

    def verdict(self, killed: Iterable[str]) -> Debts:
        """Judge, when the consumers with the diaries `killed` were killed."""
        doubtful = self._unconfirmed.union(*(self._asked.get(diary, set()) for diary in killed))
        missing = self.accepted - self._acked.keys()
        repeated = (n for n, when in self._acked.items() if self._delivered.get(n, 0) > when)
        return Debts(
            accepted=len(self.accepted),
            acked=len(self.accepted) - len(missing - doubtful),
            unconfirmed=len(missing & doubtful),
            lost=len(missing - doubtful),
            duplicates=self.deliveries - len(self._delivered),
            after_ack=sum(number not in self._twice for number in repeated),
        )


@dataclass(frozen=True)
class News:
    """What one listener, or several together, missed and were told of."""

    received: int = 0
    missed: int = 0
    """Accepted messages that did not arrive, between the first and the last that could."""
    told: int = 0
    """Messages in gaps with a number."""
    unknown_gaps: int = 0
    unexplained: int = 0
    """Misses beyond what the gaps told between their neighbours account for."""
    overtold: int = 0
    """Messages in gaps with a number that were not missed; judged where every gap has one and the
    end was heard."""
    invented: int = 0
    """Arrivals twice, out of order, or of what nobody published."""

    def __add__(self, other: "News") -> "News":
        return News(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))


@dataclass
class _Stretch:
    """What came between two gaps of unknown size: here the numbers must add up."""

    needed: int = 0
    told: int = 0


@dataclass
class _Place:
    """Where a publisher's last message stood in the stream."""

    number: int = -1
    stretch: int = 0
    gaps: int = 0


@dataclass
class Listener:
    """One listener's stream, judged message by message against what was published."""

    accepted: Mapping[int, set[int]]
    """For each publisher the numbers that were accepted; the others may have come or not."""
    ends: Mapping[int, int]
    """For each publisher the first number after those that count: it and later ones say that this
    was all, and may have come or not."""
    _places: dict[int, _Place] = field(default_factory=dict)
    _stretches: list[_Stretch] = field(default_factory=lambda: [_Stretch()])
    _gaps: int = 0
    _seen: Counter[str] = field(default_factory=Counter)

    def judge(self, lines: Lines) -> News:
        """Return what this listener missed up to its last line."""
        is_behind_overflow = False
        for line in lines:
            match line.split():
                case [_, "overflow"]:
                    # A subscription with FAIL ended with an error: that tells of a loss, too.
                    is_behind_overflow = True
                case [_, _, publisher, number, told]:
                    self._gap("?" if is_behind_overflow else told)
                    self._arrival(int(publisher), int(number))
                    is_behind_overflow = False
                case _:
                    raise ValueError(f"no line of a diary: {line!r}")
        needed = sum(max(0, one.needed - one.told) for one in self._stretches)
        seen, told = self._seen, sum(one.told for one in self._stretches)
        # What a killed listener was told of may lie behind the last message that it heard.
        is_whole = all(self._places.get(p, _Place()).number >= end for p, end in self.ends.items())
        overtold = max(0, told - seen["missed"] - seen["maybe"])
        return News(
            received=seen["received"],
            missed=seen["missed"],
            told=told,
            unknown_gaps=len(self._stretches) - 1,
            unexplained=seen["untold"] + needed,
            overtold=overtold if is_whole and len(self._stretches) == 1 else 0,
            invented=seen["invented"],
        )

    def _gap(self, told: str) -> None:
        if told == "-":
            return
        self._gaps += 1
        if told == "?":
            self._stretches.append(_Stretch())
        else:
            self._stretches[-1].told += int(told)

    def _arrival(self, publisher: int, number: int) -> None:
        place = self._places.setdefault(publisher, _Place())
        if number <= place.number:
            self._seen["invented"] += 1
            return
        accepted = self.accepted[publisher]
        between = range(place.number + 1, number)
        missed = sum(one in accepted for one in between)
        self._seen["received"] += number in accepted
        self._seen["missed"] += missed
        self._seen["maybe"] += len(between) - missed
        here = len(self._stretches) - 1
        if missed and place.gaps == self._gaps:
            self._seen["untold"] += missed
        elif place.stretch == here:
            self._stretches[here].needed += missed
        self._places[publisher] = _Place(number, here, self._gaps)
