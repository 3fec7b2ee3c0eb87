-- What is to be published elsewhere: a row is there from the commit of its transaction until a
-- broker has confirmed it. `slot` is made of the key, and relays take turns at slots, so that order
-- by `seq` within one is order by key. What was refused for too long stands in the slot -1.
-- `put` and `refused`, when it was for the first time, are seconds since the epoch.
CREATE TABLE IF NOT EXISTS @schema.outbox (
    slot smallint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    id text NOT NULL,
    key text,
    headers text,
    content_type text NOT NULL,
    body bytea NOT NULL,
    put double precision NOT NULL,
    refused double precision,
    reason text,
    PRIMARY KEY (slot, seq)
) WITH (
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.1
);

-- Whatever is behind a refused row of its own key waits.
CREATE INDEX IF NOT EXISTS outbox_refused ON @schema.outbox (slot, key, seq)
WHERE refused IS NOT NULL;

CREATE OR REPLACE FUNCTION @schema.outbox_slot(id text, key text) RETURNS smallint
LANGUAGE sql IMMUTABLE AS $$ SELECT (hashtext(coalesce($2, $1)) & 15)::smallint $$;

-- Puts a message in, within the transaction of the caller: its topic, id, key, headers, media type
-- and body. Relays are woken when it commits.
CREATE OR REPLACE FUNCTION @schema.outbox_put(text, text, text, text, text, bytea)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    INSERT INTO @schema.outbox AS o (slot, topic, id, key, headers, content_type, body, put)
    VALUES (
        @schema.outbox_slot($2, $3), $1, $2, $3, $4, $5, $6, extract(epoch FROM clock_timestamp())
    )
    RETURNING o.seq INTO number;
    PERFORM pg_notify('@channel', '');
    RETURN number;
END $$;
