-- What all processes share so that nothing happens by mistake: what holds sending back, and the brakes.
-- A program of schema version 1 can work beside it: it neither reads nor needs any of this.

-- Why nothing is sent for a while, all processes together: the provider's wish, or an API that is down. One that is
-- down is found out about by one process at a time: it moves `until` to the end of its lease while it does.
CREATE TABLE geft_sweeper.holds (
    why text PRIMARY KEY,
    until timestamptz NOT NULL,
    times_found integer NOT NULL CHECK (times_found >= 0),
    instance text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- `closed`, `open` or `half_open`: how the process sees the API as a whole.
ALTER TABLE geft_sweeper.processes ADD COLUMN circuit text NOT NULL DEFAULT 'closed';

-- Brakes that act. `instance` is empty where the brake acts on every process.
CREATE TABLE geft_sweeper.brakes (
    name text NOT NULL,
    instance text NOT NULL DEFAULT '',
    sentence text NOT NULL,
    acting_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, instance)
);

-- How many sessions discovery took on and when; `allowance` names the one that released them.
CREATE TABLE geft_sweeper.intakes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sweep_id uuid NOT NULL,
    sessions bigint NOT NULL CHECK (sessions > 0),
    allowance bigint
);
CREATE INDEX intakes_taken ON geft_sweeper.intakes (taken_at);

-- Sessions that somebody released past the limit, and how many of them have been taken on since.
CREATE TABLE geft_sweeper.allowances (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sessions bigint NOT NULL CHECK (sessions > 0),
    used bigint NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND sessions),
    actor text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);

-- The APIs that these rows may be sent to: one row each time that one is accepted. A retired one keeps its row, so that
-- it is known who did what.
CREATE TABLE geft_sweeper.accepted_apis (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin text NOT NULL,
    client_id text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    accepted_by text NOT NULL,
    retired_at timestamptz,
    retired_by text,
    CONSTRAINT retired_by_somebody CHECK ((retired_at IS NULL) = (retired_by IS NULL))
);
CREATE UNIQUE INDEX accepted_apis_accepted ON geft_sweeper.accepted_apis (origin, client_id) WHERE retired_at IS NULL;

-- The accepted API that a process sends to; none where its API is not accepted.
ALTER TABLE geft_sweeper.processes ADD COLUMN api bigint;

-- Aged sessions that the customer is still at: since when they are waited for, and when they were last asked for.
ALTER TABLE geft_sweeper.cancellations ADD COLUMN waiting_since timestamptz, ADD COLUMN asked_at timestamptz;
CREATE INDEX cancellations_waiting ON geft_sweeper.cancellations (asked_at)
    WHERE state = 'pending' AND waiting_since IS NOT NULL;
ALTER TABLE geft_sweeper.sweeps ADD COLUMN waiting bigint NOT NULL DEFAULT 0;
