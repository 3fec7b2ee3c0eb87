"""The tables of a queue file, and the statements that touch them, but for looks without a lease.

```text
message(seq, topic, ...)             one row for each kept record; seq is the order of publishing
topic(name, published)               how many records were ever published to it
grp(id, topic, name, cursor, ...)    one row for each group of a topic
debt(grp, seq, due, lease, ...)      what a group was given and has not settled
consumer(grp, feed, until)           who lives: each consumer says so again before `until`
clock(boot, base)                    the clock of the file: see `_clock.py`
```

A group owes a message if its `seq` is past the group's `cursor`, or if there is a row in `debt`.
So publishing writes one row however many groups there are, and a group that is new costs one row
however much is kept. Fanning out at publishing was the alternative: one row for each group and
message, before anybody asks.

`seq` is never used twice (AUTOINCREMENT), and SQLite has one writer at a time: numbers are
committed in their order, and nothing ever appears behind a cursor.

A row of `debt` is in one of four states:

    due <= 0               free: deliver it, with attempt + 1; `due` is then its `rank`
    due > 0, lease = 0     delayed until `due`
    due infinite           parked: an earlier one of its `key` is owed; see `_key_order.py`
    due > 0, lease <> 0    leased until `due`, to whoever knows the number, and beyond that until
                           another consumer of the group looks

The claim, one BEGIN IMMEDIATE for all of it, looks at nothing but groups of which the clock may
have freed something (step 1), and such as may have something, in their turn (`_turns.py`):

1. DUE, FREE: a page of what was due by now becomes free, along the index (grp, due), but for what
   the consumer itself holds: nobody steals from itself. A page, since a dead consumer may have held
   a million, and everybody else waits meanwhile; it is never smaller than the claim.
2. RANK: what is past the group's other cursor, `ranked`, and has a priority, becomes a debt, which
   is free or delayed. `rank` is the priority, below zero, so the order of (due, seq) is that of
   claims. The index of such messages is empty where nobody gives priorities.
3. RETURNED: the first free rows, along the same index: (grp, due <= 0, seq).
4. FRESH: messages past the cursor, along the index (topic, seq); then move the cursor. What it
   passes by without a priority, for it was published with a delay that is not over, becomes a debt
   delayed until then.

Each step is a search and a walk over the rows it returns; nothing is scanned, nothing is sorted.
INDEXED BY is there because, left alone, SQLite walks all of a group's debts by the primary key.
Whatever was delivered once is older than whatever is past the cursor, so 3 before 4 is the order
of `seq`, but for priorities. `lease` is a random number for each claim: a token of a lease that was
taken away, or from a file that was replaced, matches nothing.

`attempt` counts deliveries, `failures` those of them that ended by a nack. `alone` is odd while a
delivery is noted as handled with nothing else in flight; a claim after such a lease has ended makes
it the next even number, so its half is how many ended like that since the last nack.

A group that is removed is `ended`: it owes nothing from then on, under a name that no group can
have, and what it alone owed is deleted in pages, by whoever comes by.

Longer than 300 lines: every statement is here, so that who changes a table sees all of them.
"""

from typing import Final

APPLICATION_ID: Final = 0x61636B64
"""`PRAGMA application_id` of a queue file: "ackd"."""

SCHEMA_VERSION: Final = 6
"""`PRAGMA user_version`; a file with a higher one was made by a later acked."""

NEVER_FETCHED: Final = -1
"""The `lease` of a free row that was owed from the beginning of a group, and never delivered."""

_SINCE_2: Final = (
    "CREATE TABLE topic (name TEXT PRIMARY KEY, published INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE consumer (
        grp INTEGER NOT NULL,
        feed INTEGER NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (grp, feed)
    ) WITHOUT ROWID""",
    "CREATE TABLE clock (boot TEXT NOT NULL, base REAL NOT NULL)",
)

_KEY_ORDER_SINCE_4: Final = (
    "CREATE INDEX debt_key ON debt (grp, key, seq) WHERE key IS NOT NULL",
    """CREATE TRIGGER debt_settled AFTER DELETE ON debt WHEN old.key IS NOT NULL BEGIN
        UPDATE debt SET due = 0 WHERE grp = old.grp AND due = 9e999 AND seq = (
            SELECT seq FROM debt WHERE grp = old.grp AND key = old.key ORDER BY seq LIMIT 1
        );
    END""",
)
_RANKED_SINCE_5: Final = "CREATE INDEX message_ranked ON message (topic, seq) WHERE priority > 0"
_TURNS_SINCE_6: Final = (
    "CREATE INDEX grp_due ON grp (name, due, turn)",
    "CREATE INDEX grp_quiet ON grp (topic) WHERE due > 0",
    """CREATE TRIGGER topic_first AFTER INSERT ON topic BEGIN
        UPDATE grp SET due = 0 WHERE topic = new.name AND due > 0;
    END""",
    """CREATE TRIGGER topic_published AFTER UPDATE OF published ON topic BEGIN
        UPDATE grp SET due = 0 WHERE topic = new.name AND due > 0;
    END""",
    """CREATE TRIGGER debt_sooner AFTER UPDATE OF due ON debt WHEN new.due < old.due BEGIN
        UPDATE grp SET due = max(new.due, 0) WHERE id = new.grp AND due > max(new.due, 0);
    END""",
)
_DELAYED_SINCE_4: Final = "CREATE INDEX message_due ON message (topic, seq) WHERE due > 0"

MAKE_SCHEDULES: Final = """
    CREATE TABLE IF NOT EXISTS schedule (
        name TEXT PRIMARY KEY, moment REAL NOT NULL
    ) WITHOUT ROWID"""
"""Of each schedule the moment for which it published last; the table is made when there is one."""

NOTED: Final = "SELECT moment FROM schedule WHERE name = ?"

NOTE: Final = "INSERT OR REPLACE INTO schedule (name, moment) VALUES (?, ?)"

SCHEMA: Final = (
    """CREATE TABLE message (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT,
        headers TEXT,
        content_type TEXT NOT NULL,
        timestamp REAL NOT NULL,
        body BLOB NOT NULL,
        due REAL NOT NULL DEFAULT 0,
        expires REAL NOT NULL DEFAULT 0,
        priority INTEGER NOT NULL DEFAULT 0
    )""",
    _DELAYED_SINCE_4,
    _RANKED_SINCE_5,
    "CREATE INDEX message_topic ON message (topic)",  # an index ends with the row's seq by itself
    """CREATE TABLE grp (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        name TEXT NOT NULL,
        cursor INTEGER NOT NULL,
        fetched INTEGER NOT NULL DEFAULT 0,
        ended INTEGER,
        in_order INTEGER NOT NULL DEFAULT 0,
        ranked INTEGER NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT 0,
        turn INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, name)
    )""",
    """CREATE TABLE debt (
        grp INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        due REAL NOT NULL,
        lease INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0,
        alone INTEGER NOT NULL DEFAULT 0,
        key TEXT,
        rank INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (grp, seq)
    ) WITHOUT ROWID""",
    "CREATE INDEX debt_due ON debt (grp, due)",
    *_SINCE_2,
    *_KEY_ORDER_SINCE_4,
    *_TURNS_SINCE_6,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

MIGRATIONS: Final = {
    1: (
        *_SINCE_2,
        "ALTER TABLE grp ADD COLUMN fetched INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE grp ADD COLUMN ended INTEGER",
        "INSERT INTO topic SELECT topic, count(*) FROM message GROUP BY topic",
        """UPDATE grp SET fetched =
            (SELECT count(*) FROM message m WHERE m.topic = grp.topic AND m.seq <= grp.cursor)""",
        "PRAGMA user_version = 2",
    ),
    2: (
        "ALTER TABLE debt ADD COLUMN failures INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE debt ADD COLUMN alone INTEGER NOT NULL DEFAULT 0",
        "PRAGMA user_version = 3",
    ),
    3: (
        "ALTER TABLE grp ADD COLUMN in_order INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE debt ADD COLUMN key TEXT",
        *_KEY_ORDER_SINCE_4,
        "ALTER TABLE message ADD COLUMN due REAL NOT NULL DEFAULT 0",
        _DELAYED_SINCE_4,
        "PRAGMA user_version = 4",
    ),
    4: (
        "ALTER TABLE message ADD COLUMN expires REAL NOT NULL DEFAULT 0",
        "ALTER TABLE message ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE grp ADD COLUMN ranked INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE debt ADD COLUMN rank INTEGER NOT NULL DEFAULT 0",
        _RANKED_SINCE_5,
        "PRAGMA user_version = 5",
    ),
    5: (
        "ALTER TABLE grp ADD COLUMN due REAL NOT NULL DEFAULT 0",
        "ALTER TABLE grp ADD COLUMN turn INTEGER NOT NULL DEFAULT 0",
        *_TURNS_SINCE_6,
        "PRAGMA user_version = 6",
    ),
}
"""What makes a file of each version one of the next; all in one transaction."""

READ_CLOCK: Final = "SELECT boot, base FROM clock"

SET_CLOCK: Final = (
    "DELETE FROM clock",
    "INSERT INTO clock VALUES (:boot, :base)",
    "DELETE FROM consumer",  # they ended with the machine
)

PUBLISH: Final = """
    INSERT INTO message
        (topic, id, key, headers, content_type, timestamp, body, due, expires, priority)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

COUNT_PUBLISHED: Final = "UPDATE topic SET published = published + ? WHERE name = ?"

FIRST_PUBLISHED: Final = "INSERT INTO topic (published, name) VALUES (?, ?)"

LAST_PUBLISHED: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'message'"

FIND_GROUP: Final = "SELECT id FROM grp WHERE topic = ? AND name = ?"

CREATE_GROUP: Final = """
    INSERT INTO grp (topic, name, cursor, ranked, fetched)
    VALUES (:topic, :group, :cursor, :cursor, coalesce(
        (SELECT published FROM topic WHERE name = :topic), 0
    ) - (SELECT count(*) FROM message WHERE topic = :topic AND seq > :cursor))"""

OWE_SINCE: Final = f"""
    INSERT INTO debt (grp, seq, due, lease, attempt, rank)
    SELECT ?, seq, CASE WHEN due > 0 THEN due ELSE -priority END,
        CASE WHEN due > 0 THEN 0 ELSE {NEVER_FETCHED} END, 0, -priority FROM message
    WHERE topic = ? AND timestamp >= ?"""  # noqa: S608 - a constant

COUNT_OWED: Final = f"SELECT count(*) FROM debt WHERE grp = ? AND lease = {NEVER_FETCHED}"  # noqa: S608

COUNT_FETCHED: Final = "UPDATE grp SET fetched = fetched + ? WHERE id = ?"

HEARTBEAT: Final = "INSERT OR REPLACE INTO consumer (grp, feed, until) VALUES (?, ?, ?)"

FAREWELL: Final = "DELETE FROM consumer WHERE grp = ? AND feed = ?"

RANK: Final = f"""
    INSERT INTO debt (grp, seq, due, lease, attempt, rank)
    SELECT :grp, seq, CASE WHEN due > :now THEN due ELSE -priority END, {NEVER_FETCHED}, 0,
        -priority FROM message INDEXED BY message_ranked
    WHERE topic = :topic AND priority > 0 AND seq > (SELECT ranked FROM grp WHERE id = :grp)"""  # noqa: S608 - a constant

MOVE_RANKED: Final = """
    UPDATE grp SET ranked = (
        SELECT max(seq) FROM message INDEXED BY message_ranked WHERE topic = :topic AND priority > 0
    ) WHERE id = :grp"""

DUE: Final = """
    SELECT seq, lease FROM debt INDEXED BY debt_due
    WHERE grp = ? AND due > 0 AND due <= ? ORDER BY due, seq LIMIT ?"""

FREE: Final = "UPDATE debt SET due = rank, lease = min(lease, 0) WHERE grp = ? AND seq = ?"

RETURNED: Final = """
    SELECT d.seq, d.attempt + 1, d.failures, (d.alone + 1) / 2, d.lease,
        m.id, m.key, m.headers, m.content_type, m.timestamp, m.body, m.expires
    FROM debt d INDEXED BY debt_due JOIN message m ON m.seq = d.seq
    WHERE d.grp = :grp AND d.due <= 0
    ORDER BY d.due, d.seq LIMIT :room"""

LEASE_RETURNED: Final = """
    UPDATE debt INDEXED BY debt_due SET
        due = :until, lease = :lease, attempt = attempt + 1, alone = alone + alone % 2
    WHERE grp = :grp AND (due, seq) <= (
        (SELECT d.rank FROM debt d WHERE d.grp = :grp AND d.seq = :last), :last
    )"""

FRESH: Final = """
    SELECT seq, 1, 0, 0, 0, id, key, headers, content_type, timestamp, body, expires
    FROM message WHERE topic = :topic AND seq > :cursor AND due <= :now AND priority = 0
    ORDER BY seq LIMIT :room"""

DELAY_FRESH: Final = """
    INSERT INTO debt (grp, seq, due, lease, attempt, key)
    SELECT :grp, seq, due, 0, 0, CASE WHEN :in_order THEN key END
    FROM message INDEXED BY message_due
    WHERE topic = :topic AND seq > :cursor AND seq <= :last AND due > 0 AND due > :now
    AND priority = 0"""

LEASE_FRESH: Final = (
    "INSERT INTO debt (grp, seq, due, lease, attempt, key) VALUES (?, ?, ?, ?, 1, ?)"
)

_OURS = "WHERE grp = ? AND seq = ? AND lease = ?"
"""The fence of every settlement: the group, the message, and the number that proves the lease."""

SETTLE: Final = f"DELETE FROM debt {_OURS}"  # noqa: S608 - the fence is a constant

NACK: Final = f"""
    UPDATE debt SET due = coalesce(?, rank), lease = 0, failures = failures + ?,
        alone = (alone - alone % 2) * (1 - ?) {_OURS}"""  # noqa: S608 - as above

RELEASE: Final = f"""
    UPDATE debt SET due = rank, lease = 0, attempt = attempt - 1, alone = alone - alone % 2
    {_OURS}"""  # noqa: S608 - as above

NOTE_ALONE: Final = f"UPDATE debt SET alone = alone - alone % 2 + ? {_OURS}"  # noqa: S608 - as above

EXTEND: Final = f"UPDATE debt SET due = ? {_OURS}"  # noqa: S608 - as above

_OWED_BY_NOBODY = """NOT EXISTS (
        SELECT 1 FROM grp g WHERE g.topic = message.topic AND g.ended IS NULL AND (
            CASE WHEN message.priority > 0 THEN g.ranked ELSE g.cursor END < message.seq
            OR EXISTS (SELECT 1 FROM debt d WHERE d.grp = g.id AND d.seq = message.seq)
        )
    )"""

FORGET: Final = f"DELETE FROM message WHERE seq = ? AND {_OWED_BY_NOBODY}"  # noqa: S608 - as above

HELD: Final = "SELECT 1 FROM debt WHERE grp = ? AND lease > 0 AND due > ? LIMIT 1"

ALIVE: Final = "SELECT 1 FROM consumer WHERE grp = ? AND until > ? LIMIT 1"

DEAD_LISTENERS: Final = """
    SELECT g.id FROM grp g WHERE g.ended IS NULL AND g.name >= :first AND g.name < :last
    AND NOT EXISTS (SELECT 1 FROM consumer c WHERE c.grp = g.id AND c.until > :long_ago)"""

END_GROUP: Final = "UPDATE grp SET ended = ?, name = ? WHERE id = ?"

ENDED: Final = "SELECT id, topic, cursor, ended FROM grp WHERE ended IS NOT NULL LIMIT 1"

FRESH_PAGE: Final = """
    SELECT max(seq) FROM (
        SELECT seq FROM message WHERE topic = :topic AND seq > :cursor AND seq <= :ended
        ORDER BY seq LIMIT :page
    )"""

DROP_FRESH: Final = f"""
    DELETE FROM message WHERE topic = :topic AND seq > :cursor AND seq <= :last
    AND {_OWED_BY_NOBODY}"""  # noqa: S608 - as above

SKIP_FRESH: Final = "UPDATE grp SET cursor = :last WHERE id = :grp"

DEBT_PAGE: Final = """
    SELECT max(seq) FROM (SELECT seq FROM debt WHERE grp = :grp ORDER BY seq LIMIT :page)"""

DROP_OWED: Final = f"""
    DELETE FROM message WHERE seq IN (SELECT seq FROM debt WHERE grp = :grp AND seq <= :last)
    AND {_OWED_BY_NOBODY}"""  # noqa: S608 - as above

DROP_DEBTS: Final = "DELETE FROM debt WHERE grp = :grp AND seq <= :last"

DROP_CONSUMERS: Final = "DELETE FROM consumer WHERE grp = :grp"

DROP_GROUP: Final = "DELETE FROM grp WHERE id = :grp"
