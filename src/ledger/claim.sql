/* geft-sweeper ledger.claim */
-- Each limit is the parameter itself: from one that is worked out the planner expects a tenth of the table.
WITH preferred AS (
    SELECT session_id, due_at FROM geft_sweeper.cancellations
     WHERE session_id = ANY($7) AND due_at <= now()
       AND (reason <> 'aged' OR $5 OR waiting_since <= now() - $6::float8 * interval '1 second')
     ORDER BY due_at, session_id
     LIMIT $1
     FOR UPDATE SKIP LOCKED),
due AS (
    SELECT session_id, due_at FROM geft_sweeper.cancellations
     WHERE due_at <= now()
       AND (reason <> 'aged' OR $5 OR waiting_since <= now() - $6::float8 * interval '1 second')
       AND session_id <> ALL ($7)
     ORDER BY due_at, session_id
     LIMIT $1
     FOR UPDATE SKIP LOCKED),
ours AS (
    SELECT session_id FROM (
        SELECT *, true AS comes_first FROM preferred UNION ALL SELECT *, false FROM due) AS found
     ORDER BY comes_first DESC, due_at, session_id
     LIMIT $1),
claimed AS (
    UPDATE geft_sweeper.cancellations c SET state = 'in_flight', attempts = attempts + 1, claim = $2
      FROM ours WHERE c.session_id = ours.session_id
    RETURNING c.*),
registered AS (
    INSERT INTO geft_sweeper.claims (token, instance, claimed_at, lease_until, session_ids, open)
    SELECT $2, $3, clock_timestamp(), clock_timestamp() + $4::float8 * interval '1 second',
           array_agg(session_id), count(*)
      FROM claimed HAVING count(*) > 0
    RETURNING claimed_at)
SELECT session_id AS "session_id!", coalesce(source_key, session_id::text) AS "source_key!", reason AS "reason!", sweep_id AS "sweep_id!",
       attempts AS "attempts!", counted_attempts AS "counted_attempts!", uncounted_running AS "uncounted_running!",
       may_have_had_effect AS "may_have_had_effect!", registered.claimed_at, next_attempt_at AS "due!",
       coalesce(uncounted_running > 0 AND last_outcome NOT IN ('unauthorized', 'rate_limited'), false) AS "after_outage!",
       coalesce(last_outcome = 'interrupted', false) AS "after_interruption!"
  FROM claimed, registered
