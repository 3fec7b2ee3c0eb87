-- Version 3: what is published may be delayed, may expire, may have a priority, and no statistics of an empty queue let a claim walk
-- over what is not free. `due` and `attempt` say whose delay it is:
--     due > 0, lease = 0, attempt = 0    the publisher's: in its lane it holds what comes after it
--     due > 0, lease = 0, attempt > 0    that of a nack: it holds all of its lane
-- and what is free is in the order of its claims:
--     due <= 0                           free; it is then the `rank`, a priority below zero

ALTER TABLE @schema.message
    ADD COLUMN rank smallint NOT NULL DEFAULT 0,
    ADD COLUMN expires double precision;  -- null is never

DROP INDEX @schema.message_free;

CREATE INDEX message_free ON @schema.message (grp, due, seq) WHERE due <= 0;

DROP INDEX @schema.message_out;

CREATE INDEX message_out ON @schema.message (grp, lane, due)
WHERE lane IS NOT NULL AND due > 0 AND due < 'Infinity' AND attempt > 0;

-- Of each schedule the moment for which it published last: null until the first transaction commits.
CREATE TABLE @schema.schedule (name text PRIMARY KEY, moment double precision);

DROP FUNCTION IF EXISTS @schema.publish(
    text[], text[], text[], text[], text[], double precision[], bytea[], boolean
);

DROP FUNCTION IF EXISTS @schema.park(bigint, bigint, bigint);
