-- name: read_database
-- Which database this is (the cluster's identifier and its timeline, which changes when a backup or a standby takes
-- over), what its clock says, the ledger row of the newest nonce, and how many of these it has.
-- $1 update ids (uuid[])
SELECT system_identifier || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8) AS identity,
       clock_timestamp() AS now,
       (SELECT id FROM score_logs ORDER BY id DESC LIMIT 1) AS newest,
       (SELECT count(*) FROM score_logs WHERE id = ANY($1::uuid[])) AS known
FROM pg_control_system()
