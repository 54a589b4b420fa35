-- What each sealed row hashed to, in the order of its seal: 49 bytes a row (table, id, SHA-256). It tells which row was
-- changed, and stands for the rows of months that were archived.
CREATE TABLE audit_leaves (
  seal_no bigint PRIMARY KEY REFERENCES audit_seals,
  leaves  bytea NOT NULL
);
ALTER TABLE audit_leaves ALTER COLUMN leaves SET STORAGE EXTERNAL; -- hashes do not compress

-- Which seal covers a row, by the row's transaction.
CREATE UNIQUE INDEX audit_seals_to ON audit_seals (to_txid);
CREATE INDEX admin_log_txid ON admin_log (txid);

-- A worker seals; what is sealed it cannot change.
GRANT SELECT, INSERT ON audit_seals, audit_leaves TO worker;
GRANT SELECT ON admin_log TO worker;
