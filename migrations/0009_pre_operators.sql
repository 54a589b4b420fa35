-- Operators' hands, guests and foreign identities, and what jobs other than updates write.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'admin_svc') THEN
    BEGIN
      CREATE ROLE admin_svc NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO admin_svc', current_database());
END
$$;
GRANT USAGE ON SCHEMA public TO admin_svc;

-- Players whom a studio's own identity provider vouches for (token exchange, RFC 8693).
CREATE TABLE identities (
  issuer     text NOT NULL,
  subject    text NOT NULL,
  user_ref   bigint NOT NULL REFERENCES users ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_ref);

-- Whether the workers rest: one row.
CREATE TABLE operation (
  only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  paused     boolean NOT NULL DEFAULT false,
  changed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO operation DEFAULT VALUES;

-- Boards that an operator wants built anew: asked by admin_svc, done by a worker, which tells how far it is.
CREATE TABLE board_rebuilds (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  board_id     integer NOT NULL,
  period_start timestamptz NOT NULL,
  asked_at     timestamptz NOT NULL DEFAULT now(),
  total        bigint NOT NULL DEFAULT 0,
  done         bigint NOT NULL DEFAULT 0,
  finished_at  timestamptz
);
CREATE INDEX board_rebuilds_open ON board_rebuilds (id) WHERE finished_at IS NULL;

-- The admin log's target is a players' inner number or an update's id, and `before` and `after` hold no names:
-- the log is sealed, and an erased player must not stay in it.
CREATE INDEX admin_log_target ON admin_log (target, id);

-- What was taken back, for the fold of boards that keep a best or a last value.
CREATE INDEX score_logs_reverses ON score_logs (reverses) WHERE reverses IS NOT NULL;

-- An act on a player writes the player's row; an erasure takes passwords, sessions and identities with it, in the same
-- transaction. What a password's hash is, a worker cannot read.
GRANT UPDATE (user_id, username, username_key, state, version) ON users TO worker;
GRANT SELECT (user_ref), DELETE ON credentials, sessions, identities TO worker;
GRANT INSERT ON admin_log TO worker;
GRANT SELECT ON operation TO worker;
GRANT SELECT, UPDATE (total, done, finished_at) ON board_rebuilds TO worker;

-- To ask the ledger what became of a job of its own.
GRANT SELECT ON score_logs, dead_letters TO auth_svc;
GRANT SELECT, INSERT ON identities TO auth_svc;

GRANT SELECT (id, user_id, username, username_key, score, role, state, version, created_at, updated_at)
  ON users TO admin_svc;
GRANT SELECT (sid, user_ref, created_at, expires_at, revoked_at) ON sessions TO admin_svc;
GRANT SELECT ON score_logs, dead_letters, board_entries, audit_seals, admin_log TO admin_svc;
GRANT INSERT ON admin_log TO admin_svc;
GRANT SELECT, UPDATE (paused, changed_at) ON operation TO admin_svc;
GRANT SELECT, INSERT ON board_rebuilds TO admin_svc;
-- ApplyConfig.
GRANT SELECT, INSERT, UPDATE ON catalogue_revisions, actions, boards, board_periods TO admin_svc;
