-- name: try_lock
-- Takes a lock until the session gives it back; false: another has it.
-- $1 number of the lock
SELECT pg_try_advisory_lock($1)
