-- Totals: one row per board, period and player. Monthly partitions are made by ensure_partitions.
CREATE TABLE board_entries (
  board_id     integer NOT NULL,
  period_start timestamptz NOT NULL,
  user_ref     bigint NOT NULL,
  score        bigint NOT NULL CHECK (score BETWEEN -9007199254740992 AND 9007199254740992),
  reached_at   timestamptz NOT NULL,
  version      bigint NOT NULL DEFAULT 1,
  hidden       boolean NOT NULL DEFAULT false,
  PRIMARY KEY (board_id, period_start, user_ref)
) PARTITION BY RANGE (period_start);

CREATE INDEX board_entries_place ON board_entries (board_id, period_start, (-score), reached_at, user_ref)
  WHERE NOT hidden;

CREATE INDEX board_entries_user ON board_entries (user_ref);    -- ban, rename, delete, rank over boards

CREATE TABLE board_entries_all PARTITION OF board_entries
  FOR VALUES FROM (MINVALUE) TO ('2020-01-01Z') WITH (fillfactor = 80);

CREATE TABLE board_entries_other PARTITION OF board_entries DEFAULT WITH (fillfactor = 80);
