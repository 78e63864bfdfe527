-- A claim becomes a row of its own, and what is indexed no longer changes when a session goes the usual way from taken on
-- to canceled: PostgreSQL then writes the new state into the same page and touches no index.
-- Programs of the schema versions 1 and 2 can work beside it: what they claim is registered by a trigger.
-- The table `cancellations` is written anew once, which takes about a minute for ten million rows.

-- One row for each batch that a process holds: who, and until when. `open` tells how many sessions are still held under
-- it; whether one is stands in the session's own row alone. It goes once the lease is over and nothing is held.
CREATE TABLE geft_sweeper.claims (
    token uuid PRIMARY KEY,
    instance text NOT NULL,
    claimed_at timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    session_ids uuid[] NOT NULL,
    open integer NOT NULL
);
CREATE INDEX claims_lease ON geft_sweeper.claims (lease_until);

DROP INDEX geft_sweeper.cancellations_due;
DROP INDEX geft_sweeper.cancellations_leased;
DROP INDEX geft_sweeper.cancellations_claim;
DROP INDEX geft_sweeper.cancellations_completed;
DROP INDEX geft_sweeper.cancellations_waiting;

ALTER TABLE geft_sweeper.cancellations
    -- Null stands for the session's id in its usual spelling; a program of version 2 reads it of pending rows alone.
    ALTER COLUMN source_key DROP NOT NULL,
    DROP CONSTRAINT claimed_while_in_flight,
    ADD CONSTRAINT claimed_while_in_flight CHECK ((state = 'in_flight') = (claim IS NOT NULL)),
    ADD CONSTRAINT key_while_pending CHECK (state <> 'pending' OR source_key IS NOT NULL),
    -- What the indexes are of. Null on the usual way.
    ADD COLUMN due_at timestamptz GENERATED ALWAYS AS (CASE WHEN state = 'pending' THEN next_attempt_at END) STORED,
    ADD COLUMN to_ask_at timestamptz GENERATED ALWAYS AS (
        CASE WHEN state = 'pending' AND waiting_since IS NOT NULL THEN asked_at END) STORED,
    ADD COLUMN paid_at timestamptz GENERATED ALWAYS AS (
        CASE WHEN state = 'already_terminal' AND lower(session_status) = 'completed' THEN finished_at END) STORED;
-- Room for each row's last state in its own page.
ALTER TABLE geft_sweeper.cancellations SET (fillfactor = 50);
CREATE INDEX cancellations_due ON geft_sweeper.cancellations (due_at, session_id) WHERE due_at IS NOT NULL;
CREATE INDEX cancellations_to_ask ON geft_sweeper.cancellations (to_ask_at) WHERE to_ask_at IS NOT NULL;
CREATE INDEX cancellations_paid ON geft_sweeper.cancellations (paid_at) WHERE paid_at IS NOT NULL;

CREATE OR REPLACE VIEW geft_sweeper.paid_after_abandonment AS
SELECT session_id, reference_id, reason, status_details, amount, paid_at AS found_at,
       CASE status_details
           WHEN 'EFT0301' THEN 'scheduled'
           WHEN 'EFT0302' THEN 'awaiting_signature'
           ELSE 'unknown'
       END AS kind
  FROM geft_sweeper.cancellations
 WHERE paid_at IS NOT NULL;

-- What older programs hold and will hold. They keep the lease in the session's row.
INSERT INTO geft_sweeper.claims (token, instance, claimed_at, lease_until, session_ids, open)
SELECT claim, min(claimed_by), min(claimed_at), max(lease_until), array_agg(session_id), count(*)
  FROM geft_sweeper.cancellations WHERE state = 'in_flight' GROUP BY claim;

-- In the owner's name: the role of an older program has no rights on this table.
CREATE FUNCTION geft_sweeper.register_claim() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = geft_sweeper, pg_temp AS $$
BEGIN
    INSERT INTO geft_sweeper.claims AS known (token, instance, claimed_at, lease_until, session_ids, open)
    VALUES (NEW.claim, NEW.claimed_by, NEW.claimed_at, NEW.lease_until, ARRAY[NEW.session_id], 1)
    ON CONFLICT (token) DO UPDATE SET session_ids = known.session_ids || NEW.session_id, open = known.open + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER register_claim AFTER UPDATE ON geft_sweeper.cancellations
    FOR EACH ROW WHEN (NEW.lease_until IS NOT NULL AND OLD.lease_until IS NULL)
    EXECUTE FUNCTION geft_sweeper.register_claim();

-- What joins an audit row with the log: the id of the cancel request, as the process that sent it wrote it down. The rows
-- of older programs have none.
ALTER TABLE geft_sweeper.cancel_attempts ADD COLUMN request_id uuid;

-- The trace that an attempt belongs to, where traces are on, so that an audit row leads to its spans.
ALTER TABLE geft_sweeper.cancel_attempts ADD COLUMN trace_id text;
-- Not validated, for that would read the whole table under a lock, and there is nothing to find in a new column.
ALTER TABLE geft_sweeper.cancel_attempts
    ADD CONSTRAINT trace_id_is_one CHECK (trace_id ~ '^[0-9a-f]{32}$') NOT VALID;
