"""Who reads which partition: what stays with its member is not touched, what moves is handed over.

aiokafka knows Kafka's eager protocol only: at each rebalance all members give up everything. So the
members say in their metadata what they have, and the leader moves nothing away from a member that
is there: it names, in what it tells that member, what is wanted elsewhere. The member reads no more
of that, lets its running handlers finish, and joins again without it; then it goes to the other.
Nobody waits for it meanwhile.

The group's protocol is called `roundrobin`, as aiokafka's own: what we say goes in its `user_data`.
So other clients may be in the group; what they have, or get from a leader of theirs, moves at once.
(aiokafka cannot offer two protocols: it would join once for each.)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from acked.layers.kafka._protocols import (
    ClusterView,
    MemberAssignment,
    MemberMetadata,
    TopicPartition,
    member_assignment,
    member_metadata,
)

__all__ = ("Claims", "HandOverAssignor", "MemberShare", "plan")

_VERSION: Final = 0


def _none() -> list[tuple[str, int]]:
    return []


class Claims(msgspec.Struct, array_like=True, forbid_unknown_fields=False):
    """What a member has, and since which generation of the group."""

    generation: int = -1
    partitions: list[tuple[str, int]] = msgspec.field(default_factory=_none)


class MemberShare(NamedTuple):
    """What a member is to read from now on, and what of it is wanted elsewhere."""

    keeps: list[TopicPartition]
    gives_up: list[TopicPartition]


_claims: Final = msgspec.json.Decoder(Claims)
_wanted: Final = msgspec.json.Decoder(list[tuple[str, int]])


class HandOverAssignor:
    """One member's side of it, and the leader's; aiokafka calls it, as its own assignors."""

    name: Final = "roundrobin"

    def __init__(self) -> None:
        self.claims = Claims()
        """To be set before the group is joined again."""
        self.gives_up: Sequence[TopicPartition] = ()
        """What the last assignment said is wanted elsewhere."""

    def metadata(self, topics: Iterable[str]) -> MemberMetadata:
        """Return what we tell the leader."""
        return member_metadata(_VERSION, sorted(topics), msgspec.json.encode(self.claims))

    def assign(
        self, cluster: ClusterView, members: Mapping[str, MemberMetadata]
    ) -> Mapping[str, MemberAssignment]:
        """Return what the leader tells each member."""
        topics = {member: set(told.subscription) for member, told in members.items()}
        names = sorted({name for wanted in topics.values() for name in wanted})
        partitions = {name: sorted(cluster.partitions_for_topic(name) or ()) for name in names}
        places = [TopicPartition(name, n) for name in names for n in partitions[name]]
        claims = {member: read_claims(told.user_data) for member, told in members.items()}
        return {member: _assignment(one) for member, one in plan(places, topics, claims).items()}

    def on_assignment(self, assignment: MemberAssignment) -> None:
        """Note what of our part is wanted elsewhere."""
        try:
            self.gives_up = [TopicPartition(*one) for one in _wanted.decode(assignment.user_data)]
        except (msgspec.DecodeError, ValueError):
            self.gives_up = ()


def read_claims(told: bytes) -> Claims:
    """Return what a member says it has; nothing where it is not ours to read."""
    try:
        return _claims.decode(told)
    except (msgspec.DecodeError, ValueError):
        return Claims()


def plan(
    places: Sequence[TopicPartition],
    topics: Mapping[str, set[str]],
    claims: Mapping[str, Claims],
) -> Mapping[str, MemberShare]:
    """Return what each member is to have, and what of it is to go elsewhere.

    Each place goes to one of those that want its topic. As little moves as makes it even: no
    member has two more than another that could take one.
    """
    owners = _owners(places, topics, claims)
    targets = _balanced(places, topics, owners)
    plans = {member: MemberShare([], []) for member in topics}
    for place, target in targets.items():
        owner = owners.get(place, target)
        plans[owner].keeps.append(place)
        if owner != target:
            plans[owner].gives_up.append(place)
    return plans


def _owners(
    places: Sequence[TopicPartition], topics: Mapping[str, set[str]], claims: Mapping[str, Claims]
) -> dict[TopicPartition, str]:
    """Return who has what; of two that say so, the one that was given it later."""
    owners: dict[TopicPartition, str] = {}
    there = set(places)
    for member in sorted(topics, key=lambda one: (claims[one].generation, one)):
        for one in claims[member].partitions:
            place = TopicPartition(*one)
            if place in there and place.topic in topics[member]:
                owners[place] = member
    return owners


def _balanced(
    places: Sequence[TopicPartition],
    topics: Mapping[str, set[str]],
    owners: Mapping[TopicPartition, str],
) -> dict[TopicPartition, str]:
    """Return who is to have what: first who has it, then the one with the fewest, then evened."""
    has: dict[str, list[TopicPartition]] = {member: [] for member in sorted(topics)}
    for place in sorted(places, key=lambda one: one not in owners):  # stable: owned ones first
        takers = [member for member in has if place.topic in topics[member]]
        if takers:
            owner = owners.get(place) or min(takers, key=lambda one: len(has[one]))
            has[owner].append(place)
    while (move := _next_move(has, topics)) is not None:
        place, giver, taker = move
        has[giver].remove(place)
        has[taker].append(place)
    return {place: member for member, kept in has.items() for place in kept}


def _next_move(
    has: Mapping[str, Sequence[TopicPartition]], topics: Mapping[str, set[str]]
) -> tuple[TopicPartition, str, str] | None:
    """Return what makes it more even: from one of those with the most to one with the fewest."""
    by_count = sorted(has, key=lambda member: len(has[member]))
    for giver in reversed(by_count):
        for taker in by_count:
            if len(has[giver]) - len(has[taker]) < 2:
                break
            for place in reversed(has[giver]):
                if place.topic in topics[taker]:
                    return place, giver, taker
    return None


def _assignment(one: MemberShare) -> MemberAssignment:
    by_topic: dict[str, list[int]] = {}
    for topic, partition in one.keeps:
        by_topic.setdefault(topic, []).append(partition)
    return member_assignment(_VERSION, sorted(by_topic.items()), msgspec.json.encode(one.gives_up))
