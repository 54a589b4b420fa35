-- name: file_dead_letters
-- Files jobs that cannot be applied; one that is filed already keeps its first time and takes the newer reason.
-- A job whose row the ledger has meanwhile is not filed.
-- $1 update ids (uuid[])  $2 jobs (bytea[])  $3 reasons (text[])  $4 attempts (integer[])
INSERT INTO dead_letters (update_id, job, reason, attempts)
SELECT f.* FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::integer[]) AS f (update_id, job, reason, attempts)
WHERE NOT EXISTS (SELECT FROM score_logs l WHERE l.id = f.update_id)
ORDER BY f.update_id
ON CONFLICT (update_id) DO UPDATE SET reason = EXCLUDED.reason, attempts = EXCLUDED.attempts

-- name: find_dead_letters
-- The dead letters of these updates, those that are there.
-- $1 update ids (uuid[])
SELECT update_id, job, reason, attempts, first_failed_at FROM dead_letters WHERE update_id = ANY($1::uuid[])

-- name: remove_dead_letters
-- Removes the dead letters whose ids have entered the ledger.
-- $1 update ids (uuid[])
DELETE FROM dead_letters WHERE update_id = ANY($1::uuid[])
