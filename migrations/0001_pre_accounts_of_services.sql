-- A role a service, without login until the supervisor or the operator gives it a password.
-- Where they are there already, the owner needs no right to make roles.
-- Roles belong to the whole server, and a neighbour database's migration may make them at the same moment.
DO $$
DECLARE
  service text;
BEGIN
  FOREACH service IN ARRAY ARRAY['auth_svc', 'score_svc', 'worker', 'leaderboard_svc', 'stream_svc'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', service);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
      END;
    END IF;
  END LOOP;
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO auth_svc, score_svc, worker, leaderboard_svc, stream_svc',
                 current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;

GRANT USAGE ON SCHEMA public TO auth_svc, score_svc, worker, leaderboard_svc, stream_svc;
