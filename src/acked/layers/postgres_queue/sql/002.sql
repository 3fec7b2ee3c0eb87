-- Version 2: the order of keys, in groups of which a consumer has asked for it (`in_order`). `lane`
-- is the key of a message there, hashed, since an index takes no long ones; for all others it is
-- null and in no index. `waits` notes that something is parked behind a message of its lane:
--     due infinite    parked: an earlier one of its lane is owed, or another one was out

ALTER TABLE @schema.grp ADD COLUMN in_order boolean NOT NULL DEFAULT false;

ALTER TABLE @schema.message ADD COLUMN lane text, ADD COLUMN waits boolean NOT NULL DEFAULT false;

CREATE INDEX message_lane ON @schema.message (grp, lane, seq) WHERE lane IS NOT NULL;

CREATE INDEX message_out ON @schema.message (grp, lane)
WHERE lane IS NOT NULL AND due > 0 AND due < 'Infinity';

-- `alone` counts. It is odd while a delivery is noted as handled with nothing else in
-- flight; a claim after such a lease has ended makes it the next even number, so its half is how
-- many ended like that since the last nack.
ALTER TABLE @schema.message
    ALTER COLUMN alone DROP DEFAULT,
    ALTER COLUMN alone TYPE integer USING alone::integer,
    ALTER COLUMN alone SET DEFAULT 0;
