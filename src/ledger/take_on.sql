/* geft-sweeper ledger.take_on */
WITH candidate AS MATERIALIZED (
    SELECT c.*, c.claim IS NOT NULL AS is_ours, known.state AS known_state
      FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $8::uuid[])
           AS c (session_id, source_key, reference_id, reason, source_status, source_created_at, claim)
      LEFT JOIN geft_sweeper.cancellations known USING (session_id)),
inserted AS (
    INSERT INTO geft_sweeper.cancellations
        (session_id, source_key, reference_id, reason, source_status, source_created_at, sweep_id,
         next_attempt_at, state, attempts, claim)
    SELECT session_id, CASE WHEN NOT is_ours OR source_key <> session_id::text THEN source_key END,
           reference_id, reason, source_status, source_created_at, $7::uuid, now(),
           CASE WHEN is_ours THEN 'in_flight' ELSE 'pending' END, is_ours::int, claim
      FROM candidate
     WHERE known_state IS NULL
    RETURNING session_id, claim),
revived AS (
    UPDATE geft_sweeper.cancellations known SET
        source_key = c.source_key, reference_id = c.reference_id, reason = c.reason,
        source_status = c.source_status, source_created_at = c.source_created_at,
        sweep_id = $7, state = 'pending', next_attempt_at = now(),
        counted_attempts = 0, uncounted_running = 0, discovered_at = clock_timestamp(), finished_at = NULL,
        waiting_since = NULL, asked_at = NULL
      FROM candidate c WHERE c.known_state = 'withdrawn' AND known.session_id = c.session_id AND known.state = 'withdrawn'
    RETURNING known.session_id, NULL::uuid),
taken AS (SELECT * FROM inserted UNION ALL SELECT * FROM revived),
registered AS (
    INSERT INTO geft_sweeper.claims (token, instance, claimed_at, lease_until, session_ids, open)
    SELECT claim, $9, clock_timestamp(), clock_timestamp() + $10::float8 * interval '1 second',
           array_agg(session_id), count(*)
      FROM taken WHERE claim IS NOT NULL GROUP BY claim
    RETURNING session_ids, claimed_at),
tallied AS (
    UPDATE geft_sweeper.sweeps SET discovered = discovered + (SELECT count(*) FROM taken) WHERE id = $7)
SELECT (SELECT count(*) FROM taken) AS "taken!", session_ids AS "session_ids?", claimed_at AS "claimed_at?"
  FROM (VALUES (1)) AS one LEFT JOIN registered ON true
