-- Version 1: the tables. One row for each message and group that owes it, and nothing shared
-- between groups: to settle is to delete a row, and nobody waits for another group's lock.

CREATE TABLE @schema.version (number integer NOT NULL);

INSERT INTO @schema.version VALUES (0);

-- A topic that something was published to or that has a group. `changes` counts what happened to
-- its groups: a transaction with an older snapshot fails on it, and misses no group that is new.
CREATE TABLE @schema.topic (
    name text PRIMARY KEY,
    changes bigint NOT NULL DEFAULT 0
);

-- A group of a topic. The name '' is the keeper, which owes what is published while there is no
-- group; a group that was removed has none. `gets`: what is published is owed to it.
CREATE TABLE @schema.grp (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    name text,
    gets boolean NOT NULL,
    UNIQUE (topic, name)
);

-- Who lives: each consumer says so again before `until`, in seconds since the epoch.
CREATE TABLE @schema.consumer (
    grp bigint NOT NULL,
    feed bigint NOT NULL,
    until double precision NOT NULL,
    PRIMARY KEY (grp, feed)
);

CREATE SEQUENCE @schema.message_seq;

-- What a group owes. `seq` is the order of publishing, the same in all groups. By the server's
-- clock, in seconds since the epoch:
--     due = 0               free: deliver it, with attempt + 1
--     due > 0, lease = 0    delayed until `due`
--     due > 0, lease <> 0   leased until `due` to whoever knows the number, and beyond that until
--                           another consumer of the group looks
-- `attempt` counts deliveries, `failures` those of them that ended by a nack; `alone` notes that the
-- last one was handled with nothing else in flight, until it is settled or released.
CREATE TABLE @schema.message (
    grp bigint NOT NULL,
    seq bigint NOT NULL,
    due double precision NOT NULL DEFAULT 0,
    lease bigint NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    alone boolean NOT NULL DEFAULT false,
    published double precision NOT NULL,
    id text NOT NULL,
    key text,
    headers text,
    content_type text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (grp, seq)
) WITH (
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.1
);

-- A claim walks these two, and never over what is leased or delayed to get at what is free.
CREATE INDEX message_free ON @schema.message (grp, seq) WHERE due = 0;

CREATE INDEX message_held ON @schema.message (grp, due, seq) WHERE due > 0;
