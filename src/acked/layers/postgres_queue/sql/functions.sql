-- The verbs, each one statement for a batch: so they work through a pool that shares sessions
-- between transactions, within anybody's transaction, from any client, and from triggers. They are
-- replaced with every version.
--
-- What they cost is in proportion whatever the statistics say, and they may have been made of an
-- empty queue: autovacuum does that, and then one plan looks as good as another. So:
--     1. What is named is looked up one by one, by the primary key: in a LATERAL behind a fence (FOR
--        UPDATE, OFFSET 0), where no other index serves, and what is asked beside that stands outside
--        of it; or in a join with index scans off, so that the table can be searched, by a bitmap,
--        and cannot be walked, from whichever side the planner begins.
--     2. What was locked is written by its place (`ctid`) in the next statement, which sees it.
--     3. What is walked has the order of one index and of no other, and nothing may be sorted: thus
--        `due <= 0` and `lane BETWEEN` where an equation would say the same.
--     4. Plans are made once for each session. For arrays of one element the planner believes that it
--        is worth while to plan anew each time, and that costs more than all the rest.
--     5. Who is called by another one says what must be on, too: a plan with what is switched off seems
--        to cost so much that it is compiled, at each call.
--     6. A lone message pays for each statement, so what can be an expression is none: a setting is made
--        in a declaration, a time is by `date_part`, which makes no numeric.

CREATE OR REPLACE FUNCTION @schema.moment() RETURNS double precision
LANGUAGE sql VOLATILE AS $$ SELECT date_part('epoch', clock_timestamp()) $$;

-- Stores records and returns their numbers, in their order; one with a delay is free when so many
-- seconds are over, and one that expires is nobody's after so many. The higher a priority, the
-- earlier it is claimed. `announce` wakes consumers when the transaction commits. The lock, which
-- publishers share, keeps a group from being made meanwhile: it would miss what is committed after
-- it and was published before.
CREATE OR REPLACE FUNCTION @schema.publish(
    topics text[], ids text[], keys text[], headers text[], content_types text[],
    published double precision[], bodies bytea[], announce boolean,
    delays double precision[] DEFAULT NULL, expiries double precision[] DEFAULT NULL,
    priorities smallint[] DEFAULT NULL
) RETURNS bigint[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_nestloop = off SET enable_mergejoin = off
SET enable_hashjoin = on SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now double precision := @schema.moment();
    named text[] := topics;
    numbers bigint[];
    one text;
BEGIN
    IF cardinality(topics) > 1 THEN
        named := ARRAY(SELECT DISTINCT t FROM unnest(topics) AS t ORDER BY t);
    END IF;
    FOREACH one IN ARRAY named LOOP
        PERFORM pg_advisory_xact_lock_shared(@lock, hashtext(one));
    END LOOP;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- Its snapshot may be older than a group: then this fails, and the transaction is retried.
        INSERT INTO @schema.topic AS t (name) SELECT unnest(named) ON CONFLICT DO NOTHING;
        PERFORM FROM @schema.topic AS t WHERE t.name = ANY (named) FOR SHARE;
    END IF;
    FOREACH one IN ARRAY named LOOP
        IF NOT EXISTS (SELECT FROM @schema.grp AS g WHERE g.topic = one AND g.gets) THEN
            INSERT INTO @schema.grp AS g (topic, name, gets) VALUES (one, '', true)
            ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;
    IF cardinality(topics) = 1 THEN
        numbers := ARRAY[nextval('@schema.message_seq')];
    ELSE
        numbers := ARRAY(
            SELECT nextval('@schema.message_seq') FROM generate_series(1, cardinality(topics))
        );
    END IF;
    INSERT INTO @schema.message
        (grp, seq, due, rank, expires, published, id, key, headers, content_type, body, lane)
    SELECT g.id, r.seq, CASE WHEN r.delay > 0 THEN now + r.delay ELSE r.rank END, r.rank,
        CASE WHEN r.expiry > 0 THEN now + r.expiry END, r.published, r.id, r.key, r.headers,
        r.content_type, r.body, CASE WHEN g.in_order THEN md5(r.key) END
    FROM (
        SELECT u.*, -coalesce(u.priority, 0) AS rank FROM unnest(
            numbers, topics, ids, keys, headers, content_types, published, bodies, delays,
            expiries, priorities
        ) AS u (
            seq, topic, id, key, headers, content_type, published, body, delay, expiry, priority
        )
    ) AS r
    JOIN (SELECT * FROM @schema.grp AS o WHERE o.topic = ANY (named) AND o.gets OFFSET 0) AS g
    ON g.topic = r.topic;
    IF announce THEN
        PERFORM pg_notify('@channel', t) FROM unnest(named) AS t;
    END IF;
    RETURN numbers;
END $$;

-- Publishes for a schedule, unless as late a moment is noted for it, and notes `moment`; where nothing
-- is noted and it `begins`, it only notes. Returns what was noted. Who asks meanwhile waits for us.
CREATE OR REPLACE FUNCTION @schema.publish_once(
    schedule text, moment double precision, begins boolean,
    topics text[], ids text[], keys text[], headers text[], content_types text[],
    published double precision[], bodies bytea[]
) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
    noted double precision;
BEGIN
    INSERT INTO @schema.schedule AS s (name) VALUES (schedule) ON CONFLICT DO NOTHING;
    SELECT s.moment INTO noted FROM @schema.schedule AS s WHERE s.name = schedule FOR UPDATE;
    IF noted >= publish_once.moment THEN
        RETURN noted;
    END IF;
    IF noted IS NOT NULL OR NOT begins THEN
        PERFORM @schema.publish(
            topics, ids, keys, headers, content_types, published, bodies, true
        );
    END IF;
    UPDATE @schema.schedule AS s SET moment = publish_once.moment WHERE s.name = schedule;
    RETURN noted;
END $$;

-- The bytes of what its publisher has chosen of a message.
CREATE OR REPLACE FUNCTION @schema.size_of(m @schema.message) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (octet_length(m.body) + octet_length(m.id) + octet_length(m.content_type)
        + coalesce(octet_length(m.key), 0) + coalesce(octet_length(m.headers), 0))::bigint
$$;

-- Returns which of `grps` from `first` to `last` have something free, up to `most`, in the order of
-- their numbers: one hop along the index for each group that has, whosever it is, and none for others.
CREATE OR REPLACE FUNCTION @schema.groups_with_free(
    grps bigint[], first bigint, last bigint, most integer
) RETURNS bigint[] LANGUAGE sql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
    WITH RECURSIVE hop (id) AS (
        (SELECT m.grp FROM @schema.message AS m WHERE m.due <= 0 AND m.grp >= first
        ORDER BY m.grp, m.due, m.seq LIMIT 1)
        UNION ALL
        SELECT n.grp FROM hop, LATERAL (
            SELECT m.grp FROM @schema.message AS m WHERE m.due <= 0 AND m.grp > hop.id
            ORDER BY m.grp, m.due, m.seq LIMIT 1
        ) AS n WHERE hop.id < last
    )
    -- (`IS TRUE`: then it is looked up in a table of hashes, and no join.)
    SELECT ARRAY(
        SELECT hop.id FROM hop
        WHERE hop.id <= last AND (hop.id IN (SELECT unnest(grps))) IS TRUE LIMIT most
    )
$$;

-- Does so for those of which something was due until `now`; one hop for each that has something held.
CREATE OR REPLACE FUNCTION @schema.groups_overdue(
    grps bigint[], now double precision, most integer
) RETURNS bigint[] LANGUAGE sql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
    WITH RECURSIVE hop (id, due) AS (
        (SELECT m.grp, m.due FROM @schema.message AS m WHERE m.due > 0
        ORDER BY m.grp, m.due, m.seq LIMIT 1)
        UNION ALL
        SELECT n.grp, n.due FROM hop, LATERAL (
            SELECT m.grp, m.due FROM @schema.message AS m WHERE m.due > 0 AND m.grp > hop.id
            ORDER BY m.grp, m.due, m.seq LIMIT 1
        ) AS n
    )
    SELECT ARRAY(
        SELECT hop.id FROM hop
        WHERE hop.due <= now AND (hop.id IN (SELECT unnest(grps))) IS TRUE LIMIT most
    )
$$;

-- Returns a page of those of `grps` that may have something, for a claim of many topics: first what is
-- overdue, then what is free, from the first of `grps` on and round, behind `after`, where the page
-- before has ended. It is empty when the round is done.
CREATE OR REPLACE FUNCTION @schema.next_ready(
    grps bigint[], after bigint, most integer, now double precision
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    page bigint[] := '{}';
BEGIN
    IF after < grps[1] THEN
        RETURN @schema.groups_with_free(grps, after + 1, grps[1] - 1, most);
    END IF;
    page := @schema.groups_with_free(
        grps, coalesce(after + 1, grps[1]), 9223372036854775807, most
    );
    IF cardinality(page) < most THEN
        page := page || @schema.groups_with_free(grps, 0, grps[1] - 1, most - cardinality(page));
    END IF;
    IF after IS NULL THEN
        page := @schema.groups_overdue(grps, now, most) || page;
    END IF;
    RETURN page;
END $$;

-- Leases up to `room` messages of `grps` for `seconds`, in equal shares, in the order of their
-- numbers; `number` is the proof of the lease. What is leased under one of `held` is the caller's
-- own and is left alone, though it may have ended. A share stops after `most` bytes. That a lease
-- was given need not be on the disk: after a crash the message is simply free.
-- Where there was room for more, there is one row without a group, which is no message: its `seq` is
-- how many of the groups there are still, its `due` in how many seconds something may be free that
-- nobody tells of, and `waits` says whether a share was cut.
CREATE OR REPLACE FUNCTION @schema.look(
    grps bigint[], room integer, seconds double precision, number bigint, held bigint[],
    most bigint
) RETURNS SETOF @schema.message LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now double precision := @schema.moment();
    are_many boolean := cardinality(grps) > 32;
    ready bigint[] := grps;
    reached bigint;
    full_ones bigint[];
    one bigint;
    wanted integer;
    got integer;
    found_count integer := 0;
    places tid[];
    outlook @schema.message;
    setting text := set_config('synchronous_commit', 'off', true);
BEGIN
    outlook.waits := false;
    IF are_many THEN
        ready := @schema.next_ready(grps, NULL, room, now);
        reached := ready[cardinality(ready)];
    END IF;
    WHILE room > 0 AND cardinality(ready) > 0 LOOP
        full_ones := '{}';
        FOREACH one IN ARRAY ready LOOP
            wanted := least(room, greatest(1, room / cardinality(ready)));
            EXIT WHEN wanted < 1;
            WITH free AS MATERIALIZED (
                SELECT m.ctid AS place, m.rank, m.seq, @schema.size_of(m) AS size
                FROM @schema.message AS m WHERE m.grp = one AND m.due <= 0
                ORDER BY m.due, m.seq LIMIT wanted FOR UPDATE SKIP LOCKED
            ), ended AS MATERIALIZED (
                SELECT m.ctid AS place, m.rank, m.seq, @schema.size_of(m) AS size
                FROM @schema.message AS m
                WHERE m.grp = one AND m.due > 0 AND m.due <= now AND m.lease <> ALL (held)
                ORDER BY m.due, m.seq LIMIT wanted FOR UPDATE SKIP LOCKED
            ), sized AS (
                SELECT u.place, sum(u.size::integer) OVER (ORDER BY u.rank, u.seq) - u.size AS before
                FROM (SELECT * FROM free UNION ALL SELECT * FROM ended) AS u
                ORDER BY u.rank, u.seq LIMIT wanted
            )
            SELECT array_agg(s.place) FILTER (WHERE s.before < most),
                outlook.waits OR coalesce(max(s.before) >= most, false)
            INTO places, outlook.waits FROM sized AS s;
            RETURN QUERY
            UPDATE @schema.message AS m
            SET due = now + seconds, lease = number, attempt = m.attempt + 1,
                alone = m.alone + m.alone % 2
            WHERE m.ctid = ANY (places)
            RETURNING m.*;
            GET DIAGNOSTICS got = ROW_COUNT;
            room := room - got;
            found_count := found_count + got;
            IF got = wanted THEN
                full_ones := full_ones || one;
            END IF;
        END LOOP;
        ready := full_ones;
        IF are_many AND room > 0 AND cardinality(ready) = 0 THEN
            ready := @schema.next_ready(grps, reached, room, now);
            reached := ready[cardinality(ready)];
        END IF;
    END LOOP;
    IF room < 1 THEN
        RETURN;
    END IF;
    SELECT min(soon.due) - now INTO outlook.due FROM unnest(grps) AS g (id), LATERAL (
        SELECT m.due FROM @schema.message AS m
        WHERE m.grp = g.id AND m.due > 0 AND m.due > now ORDER BY m.due, m.seq LIMIT 1
    ) AS soon;
    outlook.seq := cardinality(grps);
    IF found_count = 0 THEN
        SELECT count(*) INTO outlook.seq FROM @schema.grp AS g
        WHERE g.id = ANY (grps) AND g.name IS NOT NULL;
    END IF;
    RETURN NEXT outlook;
END $$;

-- Keeps a message of the lane of `blocker` out of the way of all claims until that is settled: where
-- somebody settles it just now, nothing is changed, and the next claim will see. The note with the
-- blocker is also what a transaction with an older snapshot fails on, which would free nothing.
CREATE OR REPLACE FUNCTION @schema.park(
    of_grp bigint, parked bigint, was_due double precision, blocker bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM @schema.message AS m WHERE m.grp = of_grp AND m.seq = blocker
    FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE @schema.message AS m SET waits = true
        WHERE m.grp = of_grp AND m.seq = blocker AND NOT m.waits;
        UPDATE @schema.message AS m SET due = 'Infinity'
        WHERE m.grp = of_grp AND m.seq = parked AND m.due = was_due AND m.lease = 0;
    END IF;
END $$;

-- Frees the first of a lane when what it waited for is deleted, by whomever. What is parked behind
-- that one waits for it now, also where it was never parked itself: one that was published before
-- the others and committed after them, or with a delay.
CREATE OR REPLACE FUNCTION @schema.unpark() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_sort = off SET enable_indexscan = on AS $$
DECLARE
    earliest record;
BEGIN
    LOOP
        SELECT m.seq, m.waits AND m.due < 'Infinity' AS knows INTO earliest
        FROM @schema.message AS m
        WHERE m.grp = OLD.grp AND m.lane BETWEEN OLD.lane AND OLD.lane
        ORDER BY m.lane, m.seq LIMIT 1;
        EXIT WHEN NOT FOUND OR earliest.knows;
        UPDATE @schema.message AS m
        SET due = CASE WHEN m.due < 'Infinity' THEN m.due ELSE m.rank END, waits = true
        WHERE m.grp = OLD.grp AND m.seq = earliest.seq;
        IF FOUND THEN
            PERFORM pg_notify('@channel', g.topic) FROM @schema.grp AS g WHERE g.id = OLD.grp;
            EXIT;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS unpark ON @schema.message;

CREATE TRIGGER unpark AFTER DELETE ON @schema.message
FOR EACH ROW WHEN (OLD.waits) EXECUTE FUNCTION @schema.unpark();

-- Returns which message keeps the one with the number `of_seq` of a lane waiting, null if none does:
-- one that is leased or was nacked with a delay, or else the first, free or not.
CREATE OR REPLACE FUNCTION @schema.blocker(of_grp bigint, of_lane text, of_seq bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found_seq bigint;
BEGIN
    SELECT m.seq INTO found_seq FROM @schema.message AS m
    WHERE m.grp = of_grp AND m.lane BETWEEN of_lane AND of_lane
    AND m.due > 0 AND m.due < 'Infinity' AND m.attempt > 0 AND m.seq <> of_seq
    ORDER BY m.lane, m.due LIMIT 1;
    IF NOT FOUND THEN
        SELECT m.seq INTO found_seq FROM @schema.message AS m
        WHERE m.grp = of_grp AND m.lane BETWEEN of_lane AND of_lane
        ORDER BY m.lane, m.seq LIMIT 1;
    END IF;
    RETURN nullif(found_seq, of_seq);
END $$;

-- Does what `look` does, of each lane one message at most, the first; it parks a thousand others, and
-- then it is to be called again: `waits` says so, or that somebody settles just now. One at a time for
-- each group: what another one leases must be seen here. (No `jit`: a plan with what is switched off
-- seems to cost so much that it is compiled.)
CREATE OR REPLACE FUNCTION @schema.look_in_order(
    grps bigint[], room integer, seconds double precision, number bigint, held bigint[],
    most bigint
) RETURNS SETOF @schema.message LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now double precision;
    ready bigint[] := grps;
    one bigint;
    blocked bigint;
    bytes bigint;
    share integer;
    parks integer := 1000;
    candidate record;
    leased @schema.message;
    outlook @schema.message;
    setting text := set_config('synchronous_commit', 'off', true);
BEGIN
    IF cardinality(grps) > 32 THEN
        ready := @schema.next_ready(grps, NULL, room, @schema.moment());
    END IF;
    FOR one IN SELECT g FROM unnest(ready) AS g ORDER BY g LOOP
        PERFORM pg_advisory_xact_lock((@lock)::bigint * 4294967296 + one);
    END LOOP;
    now := @schema.moment();
    FOR n IN 1 .. cardinality(ready) LOOP
        one := ready[n];
        bytes := 0;
        share := ceil(room::numeric / (cardinality(ready) - n + 1));
        FOR candidate IN
            (SELECT m.seq, m.lane, m.due, m.attempt FROM @schema.message AS m
            WHERE m.grp = one AND m.due > 0 AND m.due <= now AND m.lease <> ALL (held)
            ORDER BY m.due, m.seq)
            UNION ALL
            (SELECT m.seq, m.lane, m.due, m.attempt FROM @schema.message AS m
            WHERE m.grp = one AND m.due <= 0 ORDER BY m.due, m.seq)
        LOOP
            EXIT WHEN share < 1 OR bytes >= most OR parks < 1;
            blocked := NULL;
            IF candidate.lane IS NOT NULL THEN
                blocked := @schema.blocker(one, candidate.lane, candidate.seq);
            END IF;
            IF blocked IS NULL THEN
                UPDATE @schema.message AS m
                SET due = now + seconds, lease = number, attempt = m.attempt + 1,
                    alone = m.alone + m.alone % 2
                WHERE m.grp = one AND m.seq = candidate.seq AND m.due = candidate.due
                RETURNING m.* INTO leased;
                IF FOUND THEN
                    bytes := bytes + @schema.size_of(leased);
                    share := share - 1;
                    room := room - 1;
                    RETURN NEXT leased;
                END IF;
            ELSIF candidate.due <= 0 OR candidate.attempt = 0 THEN
                parks := parks - 1;
                PERFORM @schema.park(one, candidate.seq, candidate.due, blocked);
            END IF;
        END LOOP;
    END LOOP;
    IF room > 0 THEN
        SELECT o.known, o.due, o.has_free INTO outlook.seq, outlook.due, outlook.waits
        FROM @schema.outlook(grps) AS o;
        RETURN NEXT outlook;
    END IF;
END $$;

DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 130000 THEN  -- it is new there
        ALTER FUNCTION @schema.look_in_order SET enable_incremental_sort = off;
    END IF;
END $$;

-- Lets the messages of a group have their lanes from now on; waits as `join_group` does.
CREATE OR REPLACE FUNCTION @schema.keep_lanes(of_grp bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of_topic text;
BEGIN
    SELECT g.topic INTO of_topic FROM @schema.grp AS g WHERE g.id = of_grp AND NOT g.in_order;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM set_config('lock_timeout', '300ms', true);
    PERFORM pg_advisory_xact_lock(@lock, hashtext(of_topic));
    UPDATE @schema.topic AS t SET changes = t.changes + 1 WHERE t.name = of_topic;
    UPDATE @schema.grp AS g SET in_order = true WHERE g.id = of_grp;
    UPDATE @schema.message AS m SET lane = md5(m.key) WHERE m.grp = of_grp AND m.key IS NOT NULL;
END $$;

-- Settles a batch and returns the places (from 1) of those that were ours. `delays` is null for
-- what is done, else the seconds after which it is free again; below 0 nothing failed, and it is
-- free now. A dead letter, whose member stands in `of_members`, is published in the same step if
-- its member was ours.
CREATE OR REPLACE FUNCTION @schema.settle(
    grps bigint[], seqs bigint[], leases bigint[], delays double precision[],
    of_members integer[], topics text[], ids text[], keys text[], headers text[],
    content_types text[], published double precision[], bodies bytea[], announce boolean
) RETURNS integer[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now double precision := @schema.moment();
    ours integer[];
    again integer[];
BEGIN
    WITH gone AS (
        DELETE FROM @schema.message AS m
        USING unnest(grps, seqs, leases, delays) WITH ORDINALITY AS s (grp, seq, lease, delay, n)
        WHERE m.grp = s.grp AND m.seq = s.seq AND m.lease = s.lease AND s.delay IS NULL
        RETURNING s.n::integer AS n
    )
    SELECT coalesce(array_agg(n), '{}') INTO ours FROM gone;
    IF cardinality(ours) < cardinality(grps) AND array_length(array_remove(delays, NULL), 1) > 0 THEN
        WITH back AS (
            UPDATE @schema.message AS m
            SET due = CASE WHEN s.delay > 0 THEN now + s.delay ELSE m.rank END, lease = 0,
                failures = m.failures + (s.delay >= 0)::integer,
                alone = CASE WHEN s.delay >= 0 THEN 0 ELSE m.alone - m.alone % 2 END
            FROM unnest(grps, seqs, leases, delays) WITH ORDINALITY
                AS s (grp, seq, lease, delay, n)
            WHERE m.grp = s.grp AND m.seq = s.seq AND m.lease = s.lease AND s.delay IS NOT NULL
            RETURNING s.n::integer AS n
        )
        SELECT coalesce(array_agg(n), '{}') INTO again FROM back;
    END IF;
    IF cardinality(of_members) > 0 THEN
        ours := ARRAY(SELECT n FROM unnest(ours) AS n ORDER BY n);
        PERFORM @schema.publish(
            array_agg(l.topic), array_agg(l.id), array_agg(l.key), array_agg(l.headers),
            array_agg(l.content_type), array_agg(l.published), array_agg(l.body), announce
        )
        FROM unnest(of_members, topics, ids, keys, headers, content_types, published, bodies)
            AS l (n, topic, id, key, headers, content_type, published, body)
        WHERE ours[width_bucket(l.n, ours)] = l.n  -- found by halves
        HAVING count(*) > 0;
    END IF;
    RETURN ours || again;
END $$;

-- Lets leases end `seconds` from now and returns the places (from 1) of those that are ours. One
-- that somebody else has locked counts as ours while it has not ended: nobody can claim it, so it
-- is our own settlement, perhaps in a transaction that is still open, and must not be waited for.
CREATE OR REPLACE FUNCTION @schema.extend(
    grps bigint[], seqs bigint[], leases bigint[], seconds double precision
) RETURNS integer[] LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now double precision := @schema.moment();
    places tid[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    places := ARRAY(
        SELECT f.place FROM unnest(grps, seqs, leases) AS s (grp, seq, lease), LATERAL (
            SELECT m.ctid AS place FROM @schema.message AS m
            WHERE m.grp = s.grp AND m.seq = s.seq AND m.lease = s.lease FOR UPDATE SKIP LOCKED
        ) AS f
    );
    UPDATE @schema.message AS m SET due = now + seconds WHERE m.ctid = ANY (places);
    IF cardinality(places) = cardinality(grps) THEN
        RETURN ARRAY(SELECT generate_subscripts(grps, 1));
    END IF;
    RETURN ARRAY(
        SELECT s.n::integer
        FROM unnest(grps, seqs, leases) WITH ORDINALITY AS s (grp, seq, lease, n), LATERAL (
            SELECT m.due FROM @schema.message AS m
            WHERE m.grp = s.grp AND m.seq = s.seq AND m.lease = s.lease OFFSET 0
        ) AS f
        WHERE f.due > now
    );
END $$;

-- Gives back after `delays` seconds what was settled in transactions that were rolled back, and
-- returns the places (from 1) of those whose transactions are still open: nobody waits for them.
CREATE OR REPLACE FUNCTION @schema.nack_unless_committed(
    grps bigint[], seqs bigint[], leases bigint[], delays double precision[]
) RETURNS integer[] LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now double precision := @schema.moment();
    back tid[];
    back_after double precision[];
BEGIN
    SELECT array_agg(f.place), array_agg(s.delay) INTO back, back_after
    FROM unnest(grps, seqs, leases, delays) AS s (grp, seq, lease, delay), LATERAL (
        SELECT m.ctid AS place FROM @schema.message AS m
        WHERE m.grp = s.grp AND m.seq = s.seq AND m.lease = s.lease FOR UPDATE SKIP LOCKED
    ) AS f;
    UPDATE @schema.message AS m
    SET due = CASE WHEN b.delay > 0 THEN now + b.delay ELSE m.rank END, lease = 0,
        failures = m.failures + 1, alone = 0
    FROM unnest(back, back_after) AS b (place, delay) WHERE m.ctid = b.place;
    RETURN ARRAY(
        SELECT s.n::integer
        FROM unnest(grps, seqs, leases) WITH ORDINALITY AS s (grp, seq, lease, n), LATERAL (
            SELECT FROM @schema.message AS m
            WHERE m.grp = s.grp AND m.seq = s.seq AND m.lease = s.lease OFFSET 0
        ) AS f
    );
END $$;

-- Gives leases back, no attempt charged.
CREATE OR REPLACE FUNCTION @schema.release(grps bigint[], seqs bigint[], leases bigint[])
RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE @schema.message AS m
    SET due = m.rank, lease = 0, attempt = m.attempt - 1, alone = m.alone - m.alone % 2
    FROM unnest(grps, seqs, leases) AS s (grp, seq, lease)
    WHERE m.grp = s.grp AND m.seq = s.seq AND m.lease = s.lease;
END $$;

-- Gives whole claims back whose answers never came, no attempt charged.
CREATE OR REPLACE FUNCTION @schema.release_claims(grps bigint[], numbers bigint[])
RETURNS void LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE @schema.message AS m
    SET due = m.rank, lease = 0, attempt = m.attempt - 1, alone = m.alone - m.alone % 2
    WHERE m.grp = ANY (grps) AND m.due > 0 AND m.lease = ANY (numbers);
END $$;

-- Lets no group of a topic owe `seqs` any more, but for those that somebody holds, or has locked at
-- the moment: returns these.
CREATE OR REPLACE FUNCTION @schema.remove(of_topic text, seqs bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    now double precision := @schema.moment();
    grps bigint[] := ARRAY(
        SELECT g.id FROM @schema.grp AS g WHERE g.topic = of_topic AND g.name IS NOT NULL
    );
    places tid[];
    left_alone bigint[];
BEGIN
    SELECT array_agg(o.place) FILTER (WHERE NOT o.stays),
        coalesce(array_agg(DISTINCT o.seq) FILTER (WHERE o.stays), '{}')
    INTO places, left_alone
    FROM (
        SELECT s.seq, f.place,
            bool_or(f.lease <> 0 AND f.due > now OR f.place IS NULL)
                OVER (PARTITION BY s.seq) AS stays
        FROM unnest(seqs) AS s (seq) CROSS JOIN unnest(grps) AS g (id)
        CROSS JOIN LATERAL (
            SELECT FROM @schema.message AS m WHERE m.grp = g.id AND m.seq = s.seq OFFSET 0
        ) AS there
        LEFT JOIN LATERAL (
            SELECT m.ctid AS place, m.lease, m.due FROM @schema.message AS m
            WHERE m.grp = g.id AND m.seq = s.seq FOR UPDATE SKIP LOCKED
        ) AS f ON true
    ) AS o;
    DELETE FROM @schema.message AS m WHERE m.ctid = ANY (places);
    RETURN left_alone;
END $$;

-- Returns how many of the groups there are still, in how many seconds something may be free, and
-- whether something is already: of what a claim in order had no time for, or somebody settles.
CREATE OR REPLACE FUNCTION @schema.outlook(
    grps bigint[], OUT known bigint, OUT due double precision, OUT has_free boolean
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_sort = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    now double precision := @schema.moment();
BEGIN
    SELECT count(*) INTO known FROM @schema.grp AS g WHERE g.id = ANY (grps) AND g.name IS NOT NULL;
    SELECT min(soon.due) - now INTO due FROM unnest(grps) AS g (id), LATERAL (
        SELECT m.due FROM @schema.message AS m
        WHERE m.grp = g.id AND m.due > 0 AND m.due > now ORDER BY m.due, m.seq LIMIT 1
    ) AS soon;
    has_free := EXISTS (
        SELECT FROM unnest(grps) AS g (id), LATERAL (
            SELECT m.due FROM @schema.message AS m
            WHERE m.grp = g.id AND m.due <= 0 ORDER BY m.due, m.seq LIMIT 1
        ) AS free
    ) OR EXISTS (
        SELECT FROM unnest(grps) AS g (id), LATERAL (
            SELECT m.due FROM @schema.message AS m
            WHERE m.grp = g.id AND m.due > 0 AND m.due <= now AND m.attempt = 0
            ORDER BY m.due, m.seq LIMIT 1
        ) AS past
    );
END $$;

-- Returns a group's id and makes the group if it is new. `begins`: earliest, latest, or time.
-- Whoever publishes to the topic is waited for, but not for long: others queue behind us.
CREATE OR REPLACE FUNCTION @schema.join_group(
    of_topic text, named text, begins text, since double precision
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found_id bigint;
    keeper bigint;
    others bigint[];
BEGIN
    SELECT g.id INTO found_id FROM @schema.grp AS g WHERE g.topic = of_topic AND g.name = named;
    IF FOUND THEN
        RETURN found_id;
    END IF;
    PERFORM set_config('lock_timeout', '300ms', true);
    PERFORM pg_advisory_xact_lock(@lock, hashtext(of_topic));
    SELECT g.id INTO found_id FROM @schema.grp AS g WHERE g.topic = of_topic AND g.name = named;
    IF FOUND THEN
        RETURN found_id;
    END IF;
    INSERT INTO @schema.topic AS t (name) VALUES (of_topic)
    ON CONFLICT (name) DO UPDATE SET changes = t.changes + 1;
    SELECT g.id INTO keeper FROM @schema.grp AS g WHERE g.topic = of_topic AND g.name = '';
    others := ARRAY(SELECT g.id FROM @schema.grp AS g WHERE g.topic = of_topic AND g.name <> '');
    IF begins = 'earliest' AND keeper IS NOT NULL AND cardinality(others) = 0 THEN
        UPDATE @schema.grp AS g SET name = named, gets = true WHERE g.id = keeper;
        RETURN keeper;
    END IF;
    UPDATE @schema.grp AS g SET gets = false WHERE g.id = keeper;
    INSERT INTO @schema.grp (topic, name, gets) VALUES (of_topic, named, true)
    RETURNING id INTO found_id;
    IF begins <> 'latest' THEN
        UPDATE @schema.message AS m SET grp = found_id
        WHERE m.grp = keeper AND (begins = 'earliest' OR m.published >= since);
        INSERT INTO @schema.message
            (grp, seq, due, rank, expires, published, id, key, headers, content_type, body)
        SELECT DISTINCT ON (m.seq) found_id, m.seq,
            -- Nobody was given it yet: then that is its publisher's delay.
            CASE WHEN m.attempt = 0 AND m.lease = 0 AND m.due < 'Infinity' THEN m.due
                ELSE m.rank END,
            m.rank, m.expires, m.published, m.id, m.key, m.headers, m.content_type, m.body
        FROM @schema.message AS m
        WHERE m.grp = ANY (others) AND (begins = 'earliest' OR m.published >= since)
        ORDER BY m.seq;
    END IF;
    RETURN found_id;
END $$;

-- Says that a consumer lives.
CREATE OR REPLACE FUNCTION @schema.beat(grps bigint[], of_feed bigint, seconds double precision)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO @schema.consumer AS c (grp, feed, until)
    SELECT g, of_feed, @schema.moment() + seconds FROM unnest(grps) AS g
    ON CONFLICT (grp, feed) DO UPDATE SET until = excluded.until;
END $$;

-- Lets a group owe nothing more; the caller has the topic's lock. Its rows are swept later.
CREATE OR REPLACE FUNCTION @schema.end_group(ending bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of_topic text;
BEGIN
    UPDATE @schema.grp AS g SET name = NULL, gets = false WHERE g.id = ending
    RETURNING g.topic INTO of_topic;
    UPDATE @schema.topic AS t SET changes = t.changes + 1 WHERE t.name = of_topic;
    IF NOT EXISTS (SELECT FROM @schema.grp AS g WHERE g.topic = of_topic AND g.gets) THEN
        INSERT INTO @schema.grp AS g (topic, name, gets) VALUES (of_topic, '', true)
        ON CONFLICT (topic, name) DO UPDATE SET gets = true;
    END IF;
END $$;

-- Forgets a group of all these topics, or returns the one that has a consumer, nothing changed.
CREATE OR REPLACE FUNCTION @schema.remove_group(of_topics text[], named text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    now double precision := @schema.moment();
    one text;
    busy text;
BEGIN
    PERFORM set_config('lock_timeout', '300ms', true);
    FOR one IN SELECT DISTINCT t FROM unnest(of_topics) AS t ORDER BY t LOOP
        PERFORM pg_advisory_xact_lock(@lock, hashtext(one));
    END LOOP;
    SELECT g.topic INTO busy FROM @schema.grp AS g
    WHERE g.topic = ANY (of_topics) AND g.name = named AND (
        EXISTS (SELECT FROM @schema.consumer AS c WHERE c.grp = g.id AND c.until > now)
        OR EXISTS (
            SELECT FROM @schema.message AS m
            WHERE m.grp = g.id AND m.due > now AND m.lease <> 0
        )
    );
    IF busy IS NULL THEN
        PERFORM @schema.end_group(g.id) FROM @schema.grp AS g
        WHERE g.topic = ANY (of_topics) AND g.name = named;
    END IF;
    RETURN busy;
END $$;

-- Ends the groups of listeners (`pattern`) that were silent for so long, and deletes a page of what
-- groups that have ended still keep. Returns whether there is more.
CREATE OR REPLACE FUNCTION @schema.sweep(pattern text, silent double precision, page integer)
RETURNS boolean LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    now double precision := @schema.moment();
    dead record;
    ending bigint;
    places tid[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT pg_try_advisory_xact_lock(@lock, 0) THEN
        RETURN false;  -- another one sweeps
    END IF;
    FOR dead IN
        SELECT g.id, g.topic FROM @schema.grp AS g
        WHERE g.name LIKE pattern AND NOT EXISTS (
            SELECT FROM @schema.consumer AS c WHERE c.grp = g.id AND c.until > now - silent
        )
    LOOP
        IF pg_try_advisory_xact_lock(@lock, hashtext(dead.topic)) THEN
            PERFORM @schema.end_group(dead.id);
        END IF;
    END LOOP;
    DELETE FROM @schema.consumer AS c WHERE c.until < now - silent;
    SELECT g.id INTO ending FROM @schema.grp AS g WHERE g.name IS NULL LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    places := ARRAY(
        SELECT m.ctid FROM @schema.message AS m WHERE m.grp = ending LIMIT page FOR UPDATE
    );
    DELETE FROM @schema.message AS m WHERE m.ctid = ANY (places);
    IF cardinality(places) < page THEN
        DELETE FROM @schema.grp AS g WHERE g.id = ending;
    END IF;
    RETURN true;
END $$;
