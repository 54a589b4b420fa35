CREATE TABLE audit_seals (
  seal_no   bigint PRIMARY KEY,
  cluster   bigint NOT NULL,                                    -- pg_control_system().system_identifier
  from_txid xid8 NOT NULL,
  to_txid   xid8 NOT NULL,                                      -- exclusive
  row_count bigint NOT NULL,
  root      bytea NOT NULL,
  seal      bytea NOT NULL UNIQUE,                              -- SHA-256(previous seal, range, count, root)
  signature bytea NOT NULL,
  kid       text NOT NULL,
  sealed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE admin_log (
  id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  actor  text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  reason text NOT NULL,
  before jsonb,
  after  jsonb,
  at     timestamptz NOT NULL DEFAULT now(),
  txid   xid8 NOT NULL DEFAULT pg_current_xact_id()             -- sealed like the ledger
);

CREATE SEQUENCE board_epoch AS integer;
