-- The ledger: what is to be canceled, every attempt that was made, and who made it.
-- Nothing here refers to the merchant's tables.

-- One row: the oldest program that can work with this schema. A later migration that such a program can live with
-- leaves `oldest_program_schema` as it is; one that it cannot live with raises it to its own version.
CREATE TABLE geft_sweeper.schema_compatibility (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    oldest_program_schema bigint NOT NULL
);
INSERT INTO geft_sweeper.schema_compatibility (oldest_program_schema) VALUES (1);

-- Processes, so that people see who is alive and what holds sending back.
CREATE TABLE geft_sweeper.processes (
    instance text PRIMARY KEY,
    host text NOT NULL,
    pid bigint NOT NULL,
    command text NOT NULL,
    version text NOT NULL,
    held_back_by text,
    held_back_until timestamptz,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE geft_sweeper.sweeps (
    id uuid PRIMARY KEY,
    trigger text NOT NULL,
    instance text NOT NULL,
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'finished', 'stopped', 'interrupted')),
    error text,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    discovered bigint NOT NULL DEFAULT 0,
    canceled bigint NOT NULL DEFAULT 0,
    already_terminal bigint NOT NULL DEFAULT 0,
    retried bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    withdrawn bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    paid_after_abandonment bigint NOT NULL DEFAULT 0,
    -- Of a census of the source, which not every sweep takes.
    left_alone bigint,
    dated_ahead bigint
);
CREATE INDEX sweeps_started ON geft_sweeper.sweeps (started_at);
CREATE INDEX sweeps_running ON geft_sweeper.sweeps (instance) WHERE status = 'running';

-- One row per session taken on. A claim is the pair of `claim` and `lease_until`, set while `in_flight` alone.
CREATE TABLE geft_sweeper.cancellations (
    session_id uuid PRIMARY KEY,
    source_key text NOT NULL,
    reference_id text,
    reason text NOT NULL,
    source_status text,
    source_created_at timestamptz,
    sweep_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'in_flight', 'canceled', 'already_terminal', 'failed', 'withdrawn')),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    counted_attempts integer NOT NULL DEFAULT 0 CHECK (counted_attempts >= 0),
    uncounted_running integer NOT NULL DEFAULT 0 CHECK (uncounted_running >= 0),
    may_have_had_effect boolean NOT NULL DEFAULT false,
    last_outcome text,
    next_attempt_at timestamptz,
    session_status text,
    status_details text,
    amount numeric,
    discovered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    claim uuid,
    claimed_by text,
    claimed_at timestamptz,
    lease_until timestamptz,
    CONSTRAINT claimed_while_in_flight CHECK (
        (state = 'in_flight') = (claim IS NOT NULL AND claimed_by IS NOT NULL
                                 AND claimed_at IS NOT NULL AND lease_until IS NOT NULL)),
    CONSTRAINT due_while_open CHECK ((next_attempt_at IS NOT NULL) = (state IN ('pending', 'in_flight'))),
    CONSTRAINT finished_when_final CHECK ((finished_at IS NULL) = (state IN ('pending', 'in_flight')))
);
CREATE INDEX cancellations_due ON geft_sweeper.cancellations (next_attempt_at, session_id) WHERE state = 'pending';
CREATE INDEX cancellations_leased ON geft_sweeper.cancellations (lease_until) WHERE state = 'in_flight';
CREATE INDEX cancellations_claim ON geft_sweeper.cancellations (claim) WHERE state = 'in_flight';
CREATE INDEX cancellations_completed ON geft_sweeper.cancellations (finished_at)
    WHERE lower(session_status) = 'completed' AND state = 'already_terminal';

-- The audit trail: appended, never changed.
CREATE TABLE geft_sweeper.cancel_attempts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id uuid NOT NULL,
    reference_id text,
    attempt integer NOT NULL CHECK (attempt >= 1),
    reason text NOT NULL,
    sweep_id uuid NOT NULL,
    instance text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    outcome text NOT NULL,
    http_status integer,
    session_status text,
    status_details text,
    error text,
    next_attempt_at timestamptz,
    -- The claim that the attempt was made under; none where another process wrote the row for one that died.
    claim uuid,
    UNIQUE (session_id, attempt)
);

CREATE FUNCTION geft_sweeper.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'geft_sweeper.cancel_attempts is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON geft_sweeper.cancel_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION geft_sweeper.refuse_change();
-- Always, so that a session in replica mode does not slip past.
ALTER TABLE geft_sweeper.cancel_attempts ENABLE ALWAYS TRIGGER append_only;

CREATE VIEW geft_sweeper.paid_after_abandonment AS
SELECT session_id, reference_id, reason, status_details, amount, finished_at AS found_at,
       CASE status_details
           WHEN 'EFT0301' THEN 'scheduled'
           WHEN 'EFT0302' THEN 'awaiting_signature'
           ELSE 'unknown'
       END AS kind
  FROM geft_sweeper.cancellations
 WHERE lower(session_status) = 'completed' AND state = 'already_terminal';

-- How far discovery has read a source with an `updated_at` column; the fingerprint is of the source's settings.
CREATE TABLE geft_sweeper.discovery (
    fingerprint text PRIMARY KEY,
    changes_read_to timestamptz NOT NULL,
    full_pass_at timestamptz NOT NULL
);

-- The next free moment for a request, all processes together.
CREATE TABLE geft_sweeper.request_slots (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    next_slot timestamptz NOT NULL
);
INSERT INTO geft_sweeper.request_slots (next_slot) VALUES ('-infinity');
