"""What matters for safety on a Kafka cluster, as `channel.check()` tells it."""

from collections.abc import Mapping, Sequence
from typing import Final

from acked.layers.kafka._admin import Settings
from acked.layers.kafka._commit_metadata import LIMIT, MetadataLimit, spare_records
from acked.layers.kafka._custody import note_room
from acked.types import Finding, Severity

__all__ = ("findings", "retention_of")

OK, NOTICE, WARNING = Severity.OK, Severity.NOTICE, Severity.WARNING
_SILENT: Final = "the brokers would not tell: this user may not describe configurations"


def findings(
    settings: Settings, *, overdue: int, trimmed: int, max_request: int
) -> Sequence[Finding]:
    """Return one finding for each fact; facts about topics are of the worst of them."""
    return (
        _brokers(settings),
        _replicas(settings),
        _in_sync(settings),
        _unclean(settings),
        _retention(settings),
        _cleanup(settings),
        _largest(settings, max_request),
        _overdue(overdue),
        _trimmed(trimmed),
        _offsets_copies(settings),
        _offsets_kept(settings),
        _metadata_limit(settings),
        _automatic_topics(settings),
    )


def _brokers(settings: Settings) -> Finding:
    count = settings.brokers
    message = "while one broker is down the others can go on"
    if count == 1:
        message = (
            "a single broker: while it is down nothing goes on, and what its disk loses is lost"
        )
    return Finding("brokers", count, NOTICE if count == 1 else OK, message)


def _replicas(settings: Settings) -> Finding:
    topic, count = _least(settings.replicas)
    if count is None:
        topic, count = "new topics", _number(settings.broker, "default.replication.factor")
    if count is None:
        return _unknown("replication_factor")
    if count == 1:
        message = (
            f"{topic}: one copy of each message: it is lost with its broker's disk; have three"
        )
        return Finding("replication_factor", count, WARNING, message)
    return Finding("replication_factor", count, OK, f"{topic}: {count} copies of each message")


def _in_sync(settings: Settings) -> Finding:
    topic, least = _least(_numbers(settings, "min.insync.replicas"))
    if least is None:
        return _unknown("min_insync_replicas")
    copies = settings.replicas.get(topic) or _number(settings.broker, "default.replication.factor")
    severity, message = OK, f"{topic}: so many copies are written before a publish is confirmed"
    if copies is not None and least > copies:
        message = (
            f"{topic}: {least} copies are to be written and there are {copies}: brokers settle for "
            "those (before Kafka 4 they may accept nothing); give the topic more copies"
        )
        severity = WARNING
    elif copies is not None and 1 == least < copies:
        message = (
            f"{topic}: a publish is confirmed when the leader alone has it, if the others are "
            "behind, and lost if it dies then; set min.insync.replicas=2"
        )
        severity = WARNING
    elif copies is not None and 1 < least == copies:
        message = f"{topic}: while one broker is down nothing is accepted; have one copy more"
        severity = NOTICE
    return Finding("min_insync_replicas", least, severity, message)


def _unclean(settings: Settings) -> Finding:
    name = "unclean.leader.election.enable"
    told = [one for one in _scopes(settings).items() if name in one[1]]
    if not told:
        return _unknown("unclean_leader_election")
    bad = next((scope for scope, values in told if values[name] == "true"), None)
    if bad is None:
        message = "only a broker that has everything becomes a leader"
        return Finding("unclean_leader_election", value=False, severity=OK, message=message)
    message = (
        f"{bad}: a broker that lacks confirmed messages may become the leader, and then they are "
        f"lost; set {name}=false"
    )
    return Finding("unclean_leader_election", value=True, severity=WARNING, message=message)


def retention_of(settings: Settings) -> Mapping[str, int]:
    """Return by topic, or for new ones, the seconds after which messages are deleted, if ever."""
    milliseconds = _numbers(settings, "retention.ms", "log.retention.ms")
    if not milliseconds:
        hours = _numbers(settings, "log.retention.hours")
        return {scope: number * 3600 for scope, number in hours.items()}
    return {scope: number // 1000 for scope, number in milliseconds.items() if number >= 0}


def _retention(settings: Settings) -> Finding:
    if not any(_scopes(settings).values()):
        return _unknown("retention")
    bytes_kept = _numbers(settings, "retention.bytes", "log.retention.bytes")
    by_size = [scope for scope, size in bytes_kept.items() if size >= 0]
    topic, seconds = _least(retention_of(settings))
    parts: list[str] = []
    if seconds is not None:
        parts.append(f"{topic}: messages are deleted after {seconds} s, settled or not")
    if by_size:
        parts.append(f"{by_size[0]}: the oldest are deleted beyond {bytes_kept[by_size[0]]} bytes")
    message = "; ".join(parts) or "nothing is deleted by age or size"
    return Finding("retention", seconds, NOTICE if parts else OK, message)


def _cleanup(settings: Settings) -> Finding:
    name = "cleanup.policy"
    told = {
        scope: found for scope, values in settings.topics.items() if (found := values.get(name))
    }
    compacted = sorted(topic for topic, policy in told.items() if "compact" in policy)
    if compacted:
        message = (
            f"{compacted[0]} is compacted: of each key only the last message is kept, settled or "
            "not, and a message without a key is refused"
        )
        return Finding("cleanup_policy", told[compacted[0]], WARNING, message)
    policy = next(iter(told.values()), None if settings.topics else "delete")
    if policy is None:
        return _unknown("cleanup_policy")
    return Finding("cleanup_policy", policy, OK, "no topic used so far is compacted")


def _largest(settings: Settings, max_request: int) -> Finding:
    topic, size = _least(_numbers(settings, "max.message.bytes", "message.max.bytes"))
    if size is None:
        return _unknown("max_message_bytes")
    if size < max_request:
        message = (
            f"{topic}: takes {size} bytes, headers and all: a larger message that the layer would "
            "carry is refused; set max.message.bytes=1048588"
        )
        return Finding("max_message_bytes", size, WARNING, message)
    return Finding("max_message_bytes", size, OK, "takes whatever the layer would carry")


def _overdue(overdue: int) -> Finding:
    if overdue:
        message = (
            "so many records, at most, that groups of this layer have not settled are older than "
            "half of the time for which they are kept: consume faster, or keep them for longer"
        )
        return Finding("overdue", overdue, WARNING, message)
    message = "whatever a group of this layer has not settled will be kept for as long again"
    return Finding("overdue", 0, OK, message)


def _trimmed(trimmed: int) -> Finding:
    if trimmed:
        message = (
            "so many records, at most, were deleted before a group of this layer had read them, "
            "since it was made; keep them for longer (retention), or consume faster"
        )
        return Finding("trimmed", trimmed, WARNING, message)
    return Finding("trimmed", 0, OK, "nothing was deleted before a group of this layer had read it")


def _offsets_copies(settings: Settings) -> Finding:
    count = _number(settings.broker, "offsets.topic.replication.factor")
    if count is None:
        return _unknown("offsets_replication_factor")
    if count == 1:
        severity = WARNING if settings.brokers > 1 else NOTICE
        message = (
            "one copy of what groups have settled: groups stop while its broker is down, and begin "
            "anew if its disk is lost; make __consumer_offsets with three"
        )
        return Finding("offsets_replication_factor", count, severity, message)
    message = "copies of what groups have settled (as set now, for a topic that may be older)"
    return Finding("offsets_replication_factor", count, OK, message)


def _offsets_kept(settings: Settings) -> Finding:
    minutes = _number(settings.broker, "offsets.retention.minutes")
    if minutes is None:
        return _unknown("offsets_retention")
    message = (
        f"a group without a consumer for {minutes} minutes is forgotten: it then begins anew, "
        "where its `start` says"
    )
    return Finding("offsets_retention", minutes * 60, NOTICE, message)


def _metadata_limit(settings: Settings) -> Finding:
    size = _number(settings.broker, "offset.metadata.max.bytes")
    if size is None:
        return _unknown("offset_metadata_max_bytes")
    bytes_ = MetadataLimit(min(size, LIMIT)).room
    room = spare_records(0, 0, bytes_ - note_room(bytes_))
    message = (
        f"room for what is settled out of order: {room} records or more of a partition are in hand "
        "at a time"
    )
    severity = OK
    if size < LIMIT:
        severity = NOTICE
        message += f"; for more set offset.metadata.max.bytes={LIMIT}"
    return Finding("offset_metadata_max_bytes", size, severity, message)


def _automatic_topics(settings: Settings) -> Finding:
    value = settings.broker.get("auto.create.topics.enable")
    if value is None:
        return _unknown("auto_create_topics")
    if value == "true":
        message = (
            "the brokers make a topic of any name that is asked for, as their defaults say: a "
            "mistyped name is no error; set auto.create.topics.enable=false"
        )
        return Finding("auto_create_topics", value=True, severity=NOTICE, message=message)
    message = "an unknown topic is refused, unless the layer has create_topics="
    return Finding("auto_create_topics", value=False, severity=OK, message=message)


def _unknown(name: str) -> Finding:
    return Finding(name, value=None, severity=NOTICE, message=_SILENT)


def _scopes(settings: Settings) -> Mapping[str, Mapping[str, str | None]]:
    """Return the settings of the topics used so far; where there are none, of the brokers."""
    return settings.topics or {"new topics": settings.broker}


def _numbers(settings: Settings, *names: str) -> dict[str, int]:
    """Return by topic, or for the brokers, the first of `names` that is set."""
    found: dict[str, int] = {}
    for scope, values in _scopes(settings).items():
        numbers = (_number(values, name) for name in names)
        number = next((one for one in numbers if one is not None), None)
        if number is not None:
            found[scope] = number
    return found


def _number(values: Mapping[str, str | None], name: str) -> int | None:
    text = values.get(name)
    return None if text is None else int(text)


def _least(by_scope: Mapping[str, int]) -> tuple[str, int | None]:
    if not by_scope:
        return "", None
    scope = min(by_scope, key=by_scope.__getitem__)
    return scope, by_scope[scope]
