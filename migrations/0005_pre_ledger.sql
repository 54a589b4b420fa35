-- The ledger, and the idempotency key of every update. Monthly partitions are made by ensure_partitions.
CREATE TABLE score_logs (
  id           uuid NOT NULL,                                   -- UUIDv7 form, derived: (time of nonce, reporter, user, nonce)
  user_ref     bigint NOT NULL,
  action_id    text COLLATE "C" NOT NULL,
  kind         smallint NOT NULL DEFAULT 0,                     -- 0 update, 1 reversal, 2 adjustment, 3 import, 4 ban, 5 unban, 6 delete
  outcome      smallint NOT NULL DEFAULT 0,                     -- 0 applied, 1 refused
  reason       text,
  score_change bigint NOT NULL DEFAULT 0,                       -- what sum boards add
  value        bigint,                                          -- what best and last boards take; NULL: score_change
  score_after  bigint,                                          -- all-time score: the answer to a retry
  reporter     text COLLATE "C",                                -- client id; NULL: the player
  reverses     uuid,
  revision     integer NOT NULL DEFAULT 0,                      -- of the catalogue
  accepted_at  timestamptz NOT NULL,                            -- decides period and tie
  applied_at   timestamptz NOT NULL DEFAULT now(),              -- decides whether a period still took it
  txid         xid8 NOT NULL DEFAULT pg_current_xact_id(),      -- decides the place in the audit chain
  PRIMARY KEY (id),
  CHECK (outcome = 0 OR score_change = 0)
) PARTITION BY RANGE (id);

CREATE INDEX score_logs_user ON score_logs (user_ref, id);

CREATE INDEX score_logs_txid ON score_logs (txid);

CREATE INDEX score_logs_applied ON score_logs USING brin (applied_at); -- the sweep: whom did the last two minutes touch

CREATE TABLE score_logs_other PARTITION OF score_logs DEFAULT;

CREATE TABLE action_usage (                                     -- rebuilt from the ledger
  user_ref     bigint NOT NULL,
  action_id    text COLLATE "C" NOT NULL,
  last_at      timestamptz NOT NULL,                            -- accepted_at of the last applied one
  window_start timestamptz NOT NULL,
  used         integer NOT NULL,
  PRIMARY KEY (user_ref, action_id)
) WITH (fillfactor = 80);

CREATE TABLE dead_letters (                                     -- removed when the id enters the ledger
  update_id       uuid PRIMARY KEY,
  job             bytea NOT NULL,                               -- board.Job
  reason          text NOT NULL,
  attempts        integer NOT NULL,
  first_failed_at timestamptz NOT NULL DEFAULT now()
);
