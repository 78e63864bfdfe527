-- Takes away what deploy/notify.sql made, for psql as the owner of your table:
--
--   psql -v table=public.payment_sessions -f deploy/notify-remove.sql shop
--
-- The daemon goes on by its schedule. The table is locked for a moment. Where that cannot be had within two seconds nothing
-- is done: run it again.

\set ON_ERROR_STOP on
\if :{?table} \else \set table public.payment_sessions \endif

BEGIN;
SET LOCAL lock_timeout = '2s';

DROP TRIGGER IF EXISTS geft_sweeper_notify_insert ON :table;
DROP TRIGGER IF EXISTS geft_sweeper_notify_update ON :table;

-- Another table of the same schema may still use the function.
SELECT format('DROP FUNCTION %s', p.oid::regprocedure)
  FROM pg_proc p JOIN pg_class c ON c.relnamespace = p.pronamespace
 WHERE c.oid = :'table'::regclass AND p.proname = 'geft_sweeper_notify'
   AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = p.oid)
\gexec

COMMIT;
