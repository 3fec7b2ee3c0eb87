-- What was handled: the mark of a message is committed with its effects, or not at all.
CREATE TABLE IF NOT EXISTS @schema.inbox (
    grp text NOT NULL,
    topic text NOT NULL,
    id text NOT NULL,
    marked double precision NOT NULL,
    PRIMARY KEY (grp, topic, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

CREATE INDEX IF NOT EXISTS inbox_marked ON @schema.inbox (marked);

-- Marks a message of a group and a topic, within the transaction of the caller; false where it is
-- marked already. One that is marked in a transaction which is still open is waited for.
CREATE OR REPLACE FUNCTION @schema.inbox_first_time(text, text, text)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO @schema.inbox (grp, topic, id, marked)
    VALUES ($1, $2, $3, extract(epoch FROM clock_timestamp()))
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
