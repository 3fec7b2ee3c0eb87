-- Version 2: `alone` counts. It is odd while a delivery is noted as handled with nothing else in
-- flight; a claim after such a lease has ended makes it the next even number, so its half is how
-- many ended like that since the last nack.
ALTER TABLE @schema.message
    ALTER COLUMN alone DROP DEFAULT,
    ALTER COLUMN alone TYPE integer USING alone::integer,
    ALTER COLUMN alone SET DEFAULT 0;
