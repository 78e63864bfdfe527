-- Three roles with the least rights each, for psql as a superuser, in the database with your payment sessions:
--
--   psql -v table=public.payment_sessions \
--        -v columns='session_id, reference_id, status, created_at' -f deploy/roles.sql shop
--
--   geft_sweeper_owner    owns the schema geft_sweeper; for `geft-sweeper migrate` alone
--   geft_sweeper_runtime  for the program otherwise; it reads the mapped columns of your table and nothing else of yours
--   geft_sweeper_audit    reads all of geft_sweeper and writes nothing; it cannot log in: grant it to your auditors' roles
--
-- Run it, then `geft-sweeper migrate` as the owner, then run it again: only now are there tables to grant rights on. After
-- each later migration run it again. To run it twice changes nothing, and a running daemon does not notice: it is one
-- transaction. It takes over a schema that the daemon's role has made. Passwords are not set here: use \password.
--
-- Variables: owner, runtime, audit (role names); table, written as in SQL, and columns: those under `source.columns` of
-- the configuration, `updated_at` too where it is mapped. With `source.query` leave the table empty (-v table=) and grant
-- what the query reads yourself.

\set ON_ERROR_STOP on
\if :{?owner} \else \set owner geft_sweeper_owner \endif
\if :{?runtime} \else \set runtime geft_sweeper_runtime \endif
\if :{?audit} \else \set audit geft_sweeper_audit \endif
\if :{?table} \else \set table public.payment_sessions \endif
\if :{?columns} \else \set columns 'session_id, reference_id, status, created_at' \endif

BEGIN;

SELECT format('CREATE ROLE %I %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role, login)
  FROM (VALUES (:'owner', 'LOGIN'), (:'runtime', 'LOGIN'), (:'audit', 'NOLOGIN')) AS wanted (role, login)
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
\gexec

GRANT CONNECT ON DATABASE :"DBNAME" TO :"owner", :"runtime", :"audit";
-- What `auto_migrate` needed.
REVOKE CREATE ON DATABASE :"DBNAME" FROM :"runtime";

-- The schema and all that is in it belong to the owner, whoever made them. What does already is not touched: that would
-- lock it against a running daemon.
CREATE SCHEMA IF NOT EXISTS geft_sweeper;
ALTER SCHEMA geft_sweeper OWNER TO :"owner";
SELECT format('ALTER TABLE %s OWNER TO %I', oid::regclass, :'owner')
  FROM pg_class WHERE relnamespace = 'geft_sweeper'::regnamespace AND relkind IN ('r', 'v')
   AND pg_get_userbyid(relowner) <> :'owner'
\gexec
SELECT format('ALTER FUNCTION %s OWNER TO %I', oid::regprocedure, :'owner')
  FROM pg_proc WHERE pronamespace = 'geft_sweeper'::regnamespace AND pg_get_userbyid(proowner) <> :'owner'
\gexec

-- From nothing upwards, so that what an earlier version needed is not left behind.
REVOKE ALL ON SCHEMA geft_sweeper FROM PUBLIC, :"runtime", :"audit";
REVOKE ALL ON ALL TABLES IN SCHEMA geft_sweeper FROM PUBLIC, :"runtime", :"audit";
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA geft_sweeper FROM PUBLIC, :"runtime", :"audit";
-- The same for what a later migration makes. (Rights of PUBLIC on functions cannot be taken away for one schema.)
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA geft_sweeper GRANT SELECT ON TABLES TO :"audit";

GRANT USAGE ON SCHEMA geft_sweeper TO :"runtime", :"audit";
GRANT SELECT ON ALL TABLES IN SCHEMA geft_sweeper TO :"audit";
SELECT format('GRANT %s ON geft_sweeper.%I TO %I', rights, name, :'runtime')
  FROM (VALUES
        ('_sqlx_migrations', 'SELECT'),
        ('schema_compatibility', 'SELECT'),
        ('processes', 'SELECT, INSERT, UPDATE, DELETE'),
        ('sweeps', 'SELECT, INSERT, UPDATE'),
        ('cancellations', 'SELECT, INSERT, UPDATE'),
        ('claims', 'SELECT, INSERT, UPDATE, DELETE'),
        ('cancel_attempts', 'SELECT, INSERT'),
        ('paid_after_abandonment', 'SELECT'),
        ('discovery', 'SELECT, INSERT, UPDATE'),
        ('request_slots', 'SELECT, UPDATE'),
        ('holds', 'SELECT, INSERT, UPDATE, DELETE'),
        ('brakes', 'SELECT, INSERT, UPDATE, DELETE'),
        ('intakes', 'SELECT, INSERT, DELETE'),
        ('allowances', 'SELECT, INSERT, UPDATE'),
        ('accepted_apis', 'SELECT, INSERT, UPDATE')) AS needed (name, rights)
 WHERE to_regclass(format('geft_sweeper.%I', name)) IS NOT NULL
\gexec

-- Of your own: the mapped columns, to read.
SELECT :'table' <> '' AS has_table \gset
\if :has_table
    SELECT format('GRANT USAGE ON SCHEMA %s TO %I', relnamespace::regnamespace, :'runtime')
      FROM pg_class WHERE oid = :'table'::regclass
    \gexec
    REVOKE ALL ON :table FROM :"runtime", :"audit";
    GRANT SELECT (:columns) ON :table TO :"runtime";
\endif

COMMIT;

SELECT to_regclass('geft_sweeper.cancel_attempts') IS NULL AS is_empty \gset
\if :is_empty
    \echo 'The schema geft_sweeper is empty: run `geft-sweeper migrate` as' :"owner" 'and then this file again.'
\endif
