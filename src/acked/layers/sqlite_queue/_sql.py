"""The tables of a queue file, and every statement that touches them.

```text
message(seq, topic, ...)             one row for each kept record; seq is the order of publishing
grp(id, topic, name, cursor)         one row for each group of a topic
debt(grp, seq, due, lease, attempt)  what a group was given and has not settled
```

A group owes a message if its `seq` is past the group's `cursor`, or if there is a row in `debt`.
So publishing writes one row however many groups there are, and a group that is new costs one row
however much is kept. Fanning out at publishing was the alternative: one row for each group and
message, before anybody asks.

`seq` is never used twice (AUTOINCREMENT), and SQLite has one writer at a time: numbers are
committed in their order, and nothing ever appears behind a cursor.

A row of `debt` is in one of three states:

    due = 0                free: deliver it again, with attempt + 1
    due > 0, lease = 0     delayed until `due`
    due > 0, lease <> 0    leased until `due`, to whoever knows the number

The claim, one BEGIN IMMEDIATE for all of it:

1. FREE_DUE: whatever was due by now becomes free, once each, along the index (grp, due).
2. RETURNED: the first free rows by `seq`, along the same index: (grp, due = 0, seq).
3. FRESH: messages past the cursor, along the index (topic, seq); then move the cursor.

Each step is a search and a walk over the rows it returns; nothing is scanned, nothing is sorted.
INDEXED BY is there because, left alone, SQLite walks all of a group's debts by the primary key.
Whatever was delivered once is older than whatever is past the cursor, so 2 before 3 is the order
of `seq`. `lease` is a random number for each claim: a token from before a lease ended, or from a
file that was replaced, matches nothing.
"""

from typing import Final

APPLICATION_ID: Final = 0x61636B64
"""`PRAGMA application_id` of a queue file: "ackd"."""

SCHEMA_VERSION: Final = 1
"""`PRAGMA user_version`; a file with a higher one was made by a later acked."""

SCHEMA: Final = (
    """CREATE TABLE message (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT,
        headers TEXT,
        content_type TEXT NOT NULL,
        timestamp REAL NOT NULL,
        body BLOB NOT NULL
    )""",
    "CREATE INDEX message_topic ON message (topic)",  # an index ends with the row's seq by itself
    """CREATE TABLE grp (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        name TEXT NOT NULL,
        cursor INTEGER NOT NULL,
        UNIQUE (topic, name)
    )""",
    """CREATE TABLE debt (
        grp INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        due REAL NOT NULL,
        lease INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        PRIMARY KEY (grp, seq)
    ) WITHOUT ROWID""",
    "CREATE INDEX debt_due ON debt (grp, due)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

PUBLISH: Final = """
    INSERT INTO message (topic, id, key, headers, content_type, timestamp, body)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""

LAST_PUBLISHED: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'message'"

FIND_GROUP: Final = "SELECT id, cursor FROM grp WHERE topic = ? AND name = ?"

CREATE_GROUP: Final = "INSERT INTO grp (topic, name, cursor) VALUES (?, ?, ?)"

OWE_SINCE: Final = """
    INSERT INTO debt (grp, seq, due, lease, attempt)
    SELECT ?, seq, 0, 0, 0 FROM message WHERE topic = ? AND timestamp >= ?"""

FREE_DUE: Final = (
    "UPDATE debt INDEXED BY debt_due SET due = 0 WHERE grp = ? AND due > 0 AND due <= ?"
)

NEXT_DUE: Final = (
    "SELECT due FROM debt INDEXED BY debt_due WHERE grp = ? AND due > 0 ORDER BY due LIMIT 1"
)

RETURNED: Final = """
    SELECT d.seq, d.attempt + 1, m.id, m.key, m.headers, m.content_type, m.timestamp, m.body
    FROM debt d INDEXED BY debt_due JOIN message m ON m.seq = d.seq
    WHERE d.grp = :grp AND d.due = 0
    ORDER BY d.seq LIMIT :room"""

LEASE_RETURNED: Final = """
    UPDATE debt INDEXED BY debt_due SET due = :until, lease = :lease, attempt = attempt + 1
    WHERE grp = :grp AND due = 0 AND seq <= :last"""

FRESH: Final = """
    SELECT seq, 1, id, key, headers, content_type, timestamp, body
    FROM message WHERE topic = :topic AND seq > :cursor
    ORDER BY seq LIMIT :room"""

LEASE_FRESH: Final = """
    INSERT INTO debt (grp, seq, due, lease, attempt)
    SELECT :grp, seq, :until, :lease, 1
    FROM message WHERE topic = :topic AND seq > :cursor AND seq <= :last"""

MOVE_CURSOR: Final = "UPDATE grp SET cursor = :last WHERE id = :grp"

_OURS = "WHERE grp = ? AND seq = ? AND lease = ? AND due > ?"
"""The fence of every settlement: the group, the message, the lease's number, and now."""

SETTLE: Final = f"DELETE FROM debt {_OURS}"  # noqa: S608 - the fence is a constant

NACK: Final = f"UPDATE debt SET due = ?, lease = 0 {_OURS}"  # noqa: S608 - as above

RELEASE: Final = f"UPDATE debt SET due = 0, lease = 0, attempt = attempt - 1 {_OURS}"  # noqa: S608

EXTEND: Final = f"UPDATE debt SET due = ? {_OURS}"  # noqa: S608 - as above

FORGET: Final = """
    DELETE FROM message WHERE seq = ? AND NOT EXISTS (
        SELECT 1 FROM grp g WHERE g.topic = message.topic AND (
            g.cursor < message.seq
            OR EXISTS (SELECT 1 FROM debt d WHERE d.grp = g.id AND d.seq = message.seq)
        )
    )"""

HELD: Final = "SELECT 1 FROM debt WHERE grp = ? AND lease <> 0 AND due > ? LIMIT 1"

FORGET_OWED: Final = """
    DELETE FROM message WHERE topic = :topic
    AND (seq > :cursor OR seq IN (SELECT seq FROM debt WHERE grp = :grp))
    AND NOT EXISTS (
        SELECT 1 FROM grp g WHERE g.topic = :topic AND g.id <> :grp AND (
            g.cursor < message.seq
            OR EXISTS (SELECT 1 FROM debt d WHERE d.grp = g.id AND d.seq = message.seq)
        )
    )"""
"""What one group owes and no other does."""

REMOVE_DEBTS: Final = "DELETE FROM debt WHERE grp = ?"

REMOVE_GROUP: Final = "DELETE FROM grp WHERE id = ?"
