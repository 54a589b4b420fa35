-- name: list_letters
-- The jobs that were given up first, without the bytes of what is too long to be a job.
-- $1 at most so many (bigint)
SELECT update_id, CASE WHEN length(job) <= 16384 THEN job END AS job, reason, attempts, first_failed_at
FROM dead_letters ORDER BY first_failed_at, update_id LIMIT $1

-- name: find_letters
-- These jobs, those that are there.
-- $1 update ids (uuid[])
SELECT update_id, CASE WHEN length(job) <= 16384 THEN job END AS job FROM dead_letters
WHERE update_id = ANY($1::uuid[]) ORDER BY update_id

-- name: next_letters
-- The jobs after an id.
-- $1 id (uuid)  $2 at most so many (bigint)
SELECT update_id, CASE WHEN length(job) <= 16384 THEN job END AS job FROM dead_letters
WHERE update_id > $1 ORDER BY update_id LIMIT $2

-- name: count_letters
SELECT count(*) FROM dead_letters
