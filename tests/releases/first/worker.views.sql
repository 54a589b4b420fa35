-- name: read_source
-- Which database this is: the cluster's identifier and its timeline, which changes when a backup or a standby takes over.
SELECT system_identifier || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()

-- name: try_lock
-- Takes the right to rebuild until the session gives it back; false: another worker has it.
-- $1 number of the lock
SELECT pg_try_advisory_lock($1)

-- name: unlock
-- Gives the right to rebuild back.
-- $1 number of the lock
SELECT pg_advisory_unlock($1)
