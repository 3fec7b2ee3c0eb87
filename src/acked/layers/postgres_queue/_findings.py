"""What matters for the safety and speed of a queue in PostgreSQL: what is asked, what follows."""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from acked.layers._postgres.findings import Facts, WayThere, encoding, on_the_way, version, warn_if
from acked.layers._postgres.server import Connection
from acked.types import Finding, Severity

__all__ = ("QueueSituation", "queue_facts", "queue_findings")

_FACTS: Final = """
SELECT
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::int AS server_version_num,
    current_setting('server_encoding') AS encoding,
    (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS tls,
    pg_is_in_recovery() AS standby,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync') AS fsync,
    current_setting('synchronous_standby_names') AS standby_names,
    (SELECT count(*) FROM pg_stat_replication) AS replicas,
    current_setting('autovacuum') AS autovacuum,
    coalesce((
        SELECT 'autovacuum_enabled=false' = ANY (reloptions)
        OR 'autovacuum_enabled=off' = ANY (reloptions) FROM pg_class WHERE oid = message.id
    ), false) AS never_vacuumed,
    pg_stat_get_dead_tuples(message.id) AS dead,
    pg_stat_get_live_tuples(message.id) AS live,
    (SELECT max(extract(epoch FROM clock_timestamp() - xact_start))::float8
        FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL
        AND pid <> pg_backend_pid()) AS oldest_transaction,
    array(
        SELECT name || ': ' || privilege
        FROM unnest(ARRAY['message', 'grp', 'topic', 'consumer']) AS name,
            unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
        WHERE NOT has_table_privilege('@schema.' || name, privilege)
        UNION ALL SELECT 'message_seq: USAGE'
        WHERE NOT has_sequence_privilege('@schema.message_seq', 'USAGE')
    ) AS missing_rights
FROM (SELECT '@schema.message'::regclass AS id) AS message
"""

_OLDEST: Final = """
SELECT @schema.moment() - min(first.published) FROM @schema.grp AS g, LATERAL (
    SELECT m.published FROM @schema.message AS m WHERE m.grp = g.id ORDER BY m.seq LIMIT 1
) AS first WHERE g.name IS NOT NULL
"""

BLOATED: Final = 20_000
"""Dead rows from which on they matter, where they are more than three for each that lives."""
LONG_TRANSACTION: Final = 300.0
SKEWED: Final = 1.0
STALE: Final = 3600.0


class QueueSituation(NamedTuple):
    """What this side knows."""

    is_live: bool | None
    """Notifications arrive; None where nobody has waited for any yet."""
    is_pooled: bool
    way: WayThere


async def queue_facts(connection: Connection, schema: str) -> Facts:
    """Ask the server, in `schema` as SQL has it; what the rights do not reach is None."""
    before = time.time()
    moment = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    skew = moment - (before + time.time()) / 2
    facts = dict(await connection.fetchrow(_FACTS.replace("@schema", schema)) or {})
    oldest = None
    if not facts["missing_rights"]:
        oldest = await connection.fetchval(_OLDEST.replace("@schema", schema))
    return {**facts, "skew": skew, "oldest_unsettled": oldest}


def queue_findings(facts: Facts, here: QueueSituation) -> Sequence[Finding]:
    """Return what follows from `facts`, which `queue_facts` returned."""
    return (
        version(facts),
        _standby(facts),
        _persistence(facts),
        _replicas(facts),
        _rights(facts),
        _autovacuum(facts),
        _bloat(facts),
        _oldest_transaction(facts),
        _oldest_unsettled(facts),
        _skew(facts),
        _notifications(here),
        encoding(facts),
        *on_the_way(facts, here.way),
    )


def _standby(facts: Facts) -> Finding:
    message = "a standby takes no writes; give the address of the primary"
    return Finding("standby", facts["standby"], warn_if(facts["standby"]), message)


def _persistence(facts: Facts) -> Finding:
    commit = facts["synchronous_commit"]
    if facts["fsync"] == "off":
        message = "fsync=off: a crash of the machine may destroy the whole database; switch it on"
        return Finding("synchronous_commit", commit, Severity.WARNING, message)
    message = "each publish and each ack is on the server's disk when it returns"
    if commit == "off":
        message = (
            "a crash of the server may undo what was accepted and acked in the last second; set "
            "synchronous_commit=on for this role (claims do without it anyway)"
        )
    return Finding("synchronous_commit", commit, warn_if(commit == "off"), message)


def _replicas(facts: Facts) -> Finding:
    replicas, names = facts["replicas"], facts["standby_names"]
    message = "servers that replicate, and each commit waits for those that are synchronous"
    severity = Severity.OK
    if not names:
        severity = Severity.NOTICE
        message = (
            "servers that replicate, none of them synchronous (synchronous_standby_names): after a "
            "failover the last messages and acks may be missing"
        )
    return Finding("replicas", replicas, severity, message)


def _rights(facts: Facts) -> Finding:
    missing: Sequence[str] = facts["missing_rights"]
    message = "what this role may not do in the queue's schema; GRANT it" if missing else "complete"
    return Finding("missing_rights", ", ".join(missing), warn_if(missing), message)


def _autovacuum(facts: Facts) -> Finding:
    is_on = facts["autovacuum"] == "on" and not facts["never_vacuumed"]
    message = (
        "what was settled is cleared away"
        if is_on
        else "nobody clears away what was settled: the table grows and claims become slow; switch "
        "autovacuum on, for this table at least"
    )
    return Finding("autovacuum", is_on, warn_if(not is_on), message)


def _bloat(facts: Facts) -> Finding:
    dead, live = facts["dead"], facts["live"]
    is_bad = dead > BLOATED and dead > 3 * live
    message = (
        f"dead rows, beside {live} that live: claims step over them until they are cleared; if "
        "it stays so, look for an old transaction, a replication slot or a standby that is behind"
    )
    return Finding("dead_rows", dead, Severity.NOTICE if is_bad else Severity.OK, message)


def _oldest_transaction(facts: Facts) -> Finding:
    seconds: float | None = facts["oldest_transaction"]
    is_long = seconds is not None and seconds > LONG_TRANSACTION
    message = (
        "seconds for which a transaction of this database is open (of other roles only with "
        "pg_read_all_stats): until it ends nothing that was settled since can be cleared away"
    )
    severity = Severity.NOTICE if is_long else Severity.OK
    return Finding("oldest_transaction", seconds, severity, message)


def _oldest_unsettled(facts: Facts) -> Finding:
    seconds: float | None = facts["oldest_unsettled"]
    is_old = seconds is not None and seconds > STALE
    message = (
        "seconds since the oldest message was published that a group owes, or that waits for a "
        "first group; a group that nobody consumes any more owes until it is removed"
    )
    severity = Severity.NOTICE if is_old else Severity.OK
    return Finding("oldest_unsettled", seconds, severity, message)


def _skew(facts: Facts) -> Finding:
    skew: float = round(facts["skew"], 3)
    severity = Severity.NOTICE if abs(skew) > SKEWED else Severity.OK
    message = (
        "seconds by which the server's clock is ahead of ours; leases and delays are by the "
        "server's alone, timestamps and Start.at by the publishers'"
    )
    return Finding("clock_skew", skew, severity, message)


def _notifications(here: QueueSituation) -> Finding:
    if here.is_pooled or here.is_live is False:
        message = (
            "no notifications arrive, so waiting consumers look five times a second; behind a "
            "pooler that shares sessions between transactions that is so"
        )
        return Finding("notifications", value=False, severity=Severity.NOTICE, message=message)
    message = "waiting consumers are woken"
    return Finding("notifications", here.is_live, Severity.OK, message)
