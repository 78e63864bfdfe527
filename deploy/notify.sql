-- Lets the daemon hear at once of a session that becomes abandoned, for psql as the owner of your table:
--
--   psql -v table=public.payment_sessions -v status=status -v statuses='{abandoned}' -f deploy/notify.sql shop
--
-- Two triggers on your table, for rows that are inserted with one of these statuses and for rows that change from another
-- into one of them, and a function beside the table. They run `NOTIFY geft_sweeper`, with nothing in it: a notification
-- wakes the daemon, which then looks for itself. Whether one is lost does not matter, the schedule finds what it finds.
-- To run the file twice changes nothing; to take everything away again, run deploy/notify-remove.sql.
--
-- What it costs your commits. A transaction that notifies takes a lock at its commit that is one for the whole server, and
-- keeps it until the commit is on disk: such commits wait for each other, and are not written to disk together. That is
-- so for the transactions that mark a session abandoned, and for no others. Measured where every transaction marks one, which
-- is the worst that can be (commits a second without and with the triggers, on a disk that takes a quarter of a millisecond, and
-- on one that takes about 5 ms; script/bench measures it on yours):
--
--   1 writer 4406, 3622    8 writers 15655, 4472    32 writers 21687, 3985
--   1 writer 87, 88        8 writers 1381, 200      32 writers 2355, 164
--
-- It must never abort a payment. Errors of the function are caught. Three could come at the commit, where nothing catches them:
-- the server's queue of notifications is full; the transaction is to be prepared (PREPARE TRANSACTION refuses it); or the wait
-- for that lock is longer than the session's own time limits. So nothing is notified while the queue is half full, nor where
-- `max_prepared_transactions` is above 0, nor by a session whose lock_timeout, statement_timeout or transaction_timeout is 5 s
-- or less. The tick finds those sessions.
--
-- PostgreSQL refuses to drop a column that a trigger names, or to change its type: before that run deploy/notify-remove.sql.
--
-- Variables: table, written as in SQL, no view; status, the bare name of its column, as in `source.columns.status`; statuses,
-- an array as PostgreSQL writes it, of those in `source.abandoned_statuses`; letter case does not matter. The table is
-- locked against writers for a moment. Where that cannot be had within two seconds nothing is done: run it again.

\set ON_ERROR_STOP on
\if :{?table} \else \set table public.payment_sessions \endif
\if :{?status} \else \set status status \endif
\if :{?statuses} \else \set statuses '{abandoned}' \endif

BEGIN;
SET LOCAL lock_timeout = '2s';

SELECT relnamespace::regnamespace::text AS schema FROM pg_class WHERE oid = :'table'::regclass \gset

CREATE OR REPLACE FUNCTION :schema.geft_sweeper_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_catalog.pg_notification_queue_usage() < 0.5
       AND pg_catalog.current_setting('max_prepared_transactions') = '0'
       AND NOT EXISTS (SELECT FROM unnest(ARRAY['lock_timeout', 'statement_timeout', 'transaction_timeout']) AS name
                        WHERE pg_catalog.current_setting(name, true)::interval BETWEEN '1 us' AND '5 s') THEN
        NOTIFY geft_sweeper;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION :schema.geft_sweeper_notify() IS 'wakes geft-sweeper; see its deploy/notify.sql';

-- The arguments are for people and for `geft-sweeper check`: the column, and the statuses.
WITH named AS (
    SELECT string_agg(format('lower(%L)', status), ', ') AS statuses, string_agg(format('%L', status), ', ') AS arguments
      FROM unnest(:'statuses'::text[]) AS status),
becomes AS (
    SELECT format('lower(NEW.%I::text) IN (%s)', :'status', statuses) AS now,
           format('(lower(OLD.%I::text) IN (%s)) IS NOT TRUE', :'status', statuses) AS before, arguments
      FROM named)
SELECT format('CREATE OR REPLACE TRIGGER geft_sweeper_notify_%s AFTER %1$s ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION %s.geft_sweeper_notify(%L, %s)',
              event, :'table'::regclass, condition, :'schema', :'status', arguments)
  FROM becomes, LATERAL (VALUES ('insert', now), ('update', now || ' AND ' || before)) AS wanted (event, condition)
\gexec

COMMIT;
