/* geft-sweeper ledger.record */
WITH result AS (
    SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[],
                         $8::text[], $9::text[], $10::bool[], $11::bool[], $12::timestamptz[],
                         $13::timestamptz[], $14::timestamptz[], $17::uuid[], $18::text[])
      AS r(session_id, claim, outcome, http_status, session_status, status_details, amount, error, state,
           counted, may_have_had_effect, started_at, finished_at, next_attempt_at, request_id, trace_id)),
moved AS (
    UPDATE geft_sweeper.cancellations c
       SET state = r.state, source_key = CASE WHEN r.state IN ('pending', 'failed') THEN coalesce(c.source_key, c.session_id::text) ELSE c.source_key END,
           last_outcome = r.outcome, next_attempt_at = r.next_attempt_at,
           finished_at = CASE WHEN r.next_attempt_at IS NULL THEN r.finished_at END,
           counted_attempts = c.counted_attempts + r.counted::int,
           uncounted_running = CASE WHEN r.counted THEN 0 ELSE c.uncounted_running + 1 END,
           may_have_had_effect = c.may_have_had_effect OR r.may_have_had_effect,
           session_status = coalesce(r.session_status, c.session_status),
           status_details = CASE WHEN r.session_status IS NULL THEN c.status_details ELSE r.status_details END,
           amount = coalesce(r.amount::numeric, c.amount),
           claim = NULL
      FROM result r
     WHERE c.session_id = r.session_id AND c.claim = r.claim AND c.state = 'in_flight'
    RETURNING c.session_id, c.reference_id, c.attempts, c.reason, c.sweep_id),
audited AS (
    INSERT INTO geft_sweeper.cancel_attempts
        (session_id, reference_id, attempt, reason, sweep_id, instance, started_at, finished_at, outcome,
         http_status, session_status, status_details, error, next_attempt_at, claim, request_id, trace_id)
    SELECT m.session_id, m.reference_id, m.attempts, m.reason, m.sweep_id, $15, r.started_at, r.finished_at, r.outcome,
           r.http_status, r.session_status, r.status_details, r.error, r.next_attempt_at, r.claim, r.request_id, r.trace_id
      FROM moved m JOIN result r USING (session_id)
     ORDER BY r.finished_at
    RETURNING session_id),
let_go AS (
    UPDATE geft_sweeper.claims k SET open = open - gone.sessions
      FROM (SELECT r.claim, count(*) AS sessions FROM moved m JOIN result r USING (session_id) GROUP BY r.claim) gone
     WHERE k.token = gone.claim),
tallied AS (
    UPDATE geft_sweeper.sweeps s
       SET canceled = s.canceled + t.canceled, already_terminal = s.already_terminal + t.already_terminal,
           retried = s.retried + t.retried, failed = s.failed + t.failed,
           paid_after_abandonment = s.paid_after_abandonment + t.paid
      FROM (SELECT count(*) FILTER (WHERE r.state = 'canceled') AS canceled,
                   count(*) FILTER (WHERE r.state = 'already_terminal') AS already_terminal,
                   count(*) FILTER (WHERE r.state = 'pending') AS retried,
                   count(*) FILTER (WHERE r.state = 'failed') AS failed,
                   count(*) FILTER (WHERE r.state = 'already_terminal'
                                      AND lower(r.session_status) = 'completed') AS paid
              FROM moved m JOIN result r USING (session_id)) t
     WHERE s.id = $16)
SELECT session_id FROM audited
