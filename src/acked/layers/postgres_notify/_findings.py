"""What matters for safety on a PostgreSQL server: what is asked, and what follows from it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from acked.layers._postgres.findings import Facts, WayThere, encoding, on_the_way, version, warn_if
from acked.layers.postgres_notify._envelope import MAX_NAME
from acked.types import Finding, Severity

__all__ = ("FACTS", "NUMBERS", "Situation", "findings")

FACTS: Final = """
select
    pg_backend_pid() as session,
    current_setting('server_version') as server_version,
    current_setting('server_encoding') as encoding,
    pg_is_in_recovery() as standby,
    case when not pg_is_in_recovery() then pg_notification_queue_usage() end as queue_usage,
    (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as tls,
    (select sum(numbackends)::int from pg_stat_database) as connected,
    (select rolconnlimit from pg_roles where rolname = current_user) as role_limit
"""
"""One row, which nobody needs a privilege for."""

NUMBERS: Final = """
select name, setting::bigint as number from pg_settings where name in (
    'server_version_num', 'max_identifier_length', 'max_connections',
    'superuser_reserved_connections', 'idle_session_timeout',
    'idle_in_transaction_session_timeout', 'tcp_keepalives_idle'
)
"""
"""Settings as this session has them: durations in milliseconds, keepalives in seconds."""

FULL: Final = 0.5
FILLING: Final = 0.05


class Situation(NamedTuple):
    """What this side of the connection knows."""

    pooled: bool
    """Two connections at once were in one session."""
    rest: float
    """Seconds between two heartbeats of the connection that listens."""
    pool_size: int
    """The most connections that publish."""
    way: WayThere
    """How the server is reached."""


def findings(facts: Facts, here: Situation) -> Sequence[Finding]:
    """Return what follows from `facts`, the answers to `FACTS` and `NUMBERS`, for us."""
    return (
        version(facts),
        _standby(facts),
        _pooler(pooled=here.pooled),
        _queue(facts),
        _idle_session(facts, here.rest),
        _idle_in_transaction(facts),
        encoding(facts),
        _names(facts),
        _connections(facts, here.pool_size + 1),
        *on_the_way(facts, here.way),
        _keepalives(facts),
    )


def _standby(facts: Facts) -> Finding:
    message = "a standby can neither LISTEN nor NOTIFY; give the address of the primary"
    return Finding("standby", facts["standby"], warn_if(facts["standby"]), message)


def _pooler(*, pooled: bool) -> Finding:
    message = (
        "a pooler that shares sessions between transactions swallows LISTEN: nothing ever arrives; "
        "give the address of PostgreSQL itself, or of a pool with pool_mode=session"
    )
    return Finding("transaction_pooler", pooled, warn_if(pooled), message)


def _queue(facts: Facts) -> Finding:
    used: float | None = facts["queue_usage"]
    severity = warn_if(used is not None and used >= FULL)
    if used is not None and FILLING <= used < FULL:
        severity = Severity.NOTICE
    message = (
        "the part in use of the one queue that all notifications wait in; when it is full, every "
        "commit that notifies fails. It fills behind a session that listens and stays in a "
        "transaction: end the one with the oldest xact_start in pg_stat_activity"
    )
    return Finding("notification_queue_usage", used, severity, message)


def _idle_session(facts: Facts, rest: float) -> Finding:
    limit: int | None = facts.get("idle_session_timeout")  # since PostgreSQL 14
    seconds = None if limit is None else limit / 1000
    if not seconds:
        severity, message = Severity.OK, "no session is ended for being idle"
    elif seconds > rest * 2:
        severity = Severity.OK
        message = (
            f"the session that listens is never idle so long: it has a heartbeat each {rest} s"
        )
    else:
        severity = Severity.WARNING
        message = (
            f"the server ends the session that listens after {seconds} s without a statement, and "
            f"its heartbeat comes after {rest} s: messages are missed each time (a gap tells); "
            f"set it to 0 for this role, or the layer's heartbeat below {seconds}"
        )
    return Finding("idle_session_timeout", seconds, severity, message)


def _idle_in_transaction(facts: Facts) -> Finding:
    seconds = facts["idle_in_transaction_session_timeout"] / 1000
    message = (
        "our session that listens is never in a transaction; with 0, though, nothing ends one of "
        "others that listens in a transaction for ever, and lets the queue of notifications fill"
    )
    return Finding("idle_in_transaction_session_timeout", seconds, Severity.OK, message)


def _names(facts: Facts) -> Finding:
    longest = facts["max_identifier_length"]
    message = (
        f"bytes of a topic's name; acked allows {MAX_NAME}, and a server that was built with less "
        "cuts longer ones off: nothing ever arrives on them"
    )
    return Finding("max_identifier_length", longest, warn_if(longest < MAX_NAME), message)


def _connections(facts: Facts, needed: int) -> Finding:
    limit = facts["max_connections"] - facts["superuser_reserved_connections"]
    if (facts["role_limit"] or 0) > 0:
        limit = min(limit, facts["role_limit"])
    connected = facts["connected"]
    severity = warn_if(limit < needed)
    if severity is Severity.OK and limit - connected < needed:
        severity = Severity.NOTICE
    message = (
        f"connections that this role can have, {connected} of the server's are in use; this layer "
        f"takes up to {needed}: with no place left, publishing fails and a lost connection is not "
        "made again"
    )
    return Finding("connection_limit", limit, severity, message)


def _keepalives(facts: Facts) -> Finding:
    message = (
        "seconds of silence after which the server looks whether a client is still there (0: not "
        "over TCP); our own side does after 30, and by its heartbeat"
    )
    return Finding("tcp_keepalives_idle", facts["tcp_keepalives_idle"], Severity.OK, message)
