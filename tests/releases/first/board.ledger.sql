-- name: lock_users
-- Locks the players in the order of their inner numbers, so that two workers never wait for each other. The instant is
-- the transaction's: what its ledger rows carry as applied_at.
-- $1 user ids (text[])
SELECT id, user_id, username, state, score, version, now() AS applied_at
FROM users WHERE user_id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE

-- name: read_rows
-- The ledger rows of these updates, those that are there.
-- $1 update ids (uuid[])
SELECT l.id, l.user_ref, u.user_id, u.username, l.action_id, l.kind, l.outcome, l.reason, l.score_change, l.score_after,
       l.reporter, l.accepted_at
FROM score_logs l JOIN users u ON u.id = l.user_ref WHERE l.id = ANY($1::uuid[])

-- name: read_usage
-- How often the players used these actions; all pairs of both lists.
-- $1 user numbers (bigint[])  $2 action ids (text[])
SELECT user_ref, action_id, last_at, window_start, used
FROM action_usage WHERE user_ref = ANY($1::bigint[]) AND action_id = ANY($2::text[])

-- name: add_rows
-- Adds the ledger rows that are not there yet and returns their ids; a redelivered job adds none.
-- $1 ids (uuid[])  $2 user numbers (bigint[])  $3 action ids (text[])  $4 outcomes (smallint[])  $5 reasons (text[])
-- $6 score changes (bigint[])  $7 values (bigint[])  $8 scores after (bigint[])  $9 reporters (text[])
-- $10 accepted at (timestamptz[])  $11 revision of the catalogue (integer)  $12 applied at (timestamptz)
INSERT INTO score_logs (id, user_ref, action_id, outcome, reason, score_change, value, score_after, reporter,
                        accepted_at, revision, applied_at)
SELECT f.id, f.user_ref, f.action_id, f.outcome, f.reason, f.score_change, f.value, f.score_after, f.reporter,
       f.accepted_at, $11, $12
FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::smallint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::text[], $10::timestamptz[])
  AS f (id, user_ref, action_id, outcome, reason, score_change, value, score_after, reporter, accepted_at)
ORDER BY f.id
ON CONFLICT (id) DO NOTHING RETURNING id

-- name: put_usage
-- Writes how often the players used these actions.
-- $1 user numbers (bigint[])  $2 action ids (text[])  $3 last at (timestamptz[])  $4 window starts (timestamptz[])
-- $5 used (integer[])
INSERT INTO action_usage (user_ref, action_id, last_at, window_start, used)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[])
ON CONFLICT (user_ref, action_id) DO UPDATE
SET last_at = EXCLUDED.last_at, window_start = EXCLUDED.window_start, used = EXCLUDED.used

-- name: put_sum_entries
-- Adds points to entries and returns these as they are now: exactly what goes to Redis. One row a key.
-- $1 board ids (integer[])  $2 period starts (timestamptz[])  $3 user numbers (bigint[])  $4 points (bigint[])
-- $5 reached at (timestamptz[])
INSERT INTO board_entries AS e (board_id, period_start, user_ref, score, reached_at)
SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::timestamptz[])
ON CONFLICT (board_id, period_start, user_ref) DO UPDATE
SET score = e.score + EXCLUDED.score, reached_at = greatest(e.reached_at, EXCLUDED.reached_at), version = e.version + 1
RETURNING board_id, period_start, user_ref, score, reached_at, version, hidden

-- name: put_best_entries
-- Raises entries to a better value, or to an equal one reached before. Parameters and result as put_sum_entries.
INSERT INTO board_entries AS e (board_id, period_start, user_ref, score, reached_at)
SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::timestamptz[])
ON CONFLICT (board_id, period_start, user_ref) DO UPDATE
SET score = greatest(e.score, EXCLUDED.score), version = e.version + 1,
    reached_at = CASE WHEN EXCLUDED.score > e.score THEN EXCLUDED.reached_at
                      WHEN EXCLUDED.score = e.score THEN least(e.reached_at, EXCLUDED.reached_at)
                      ELSE e.reached_at END
RETURNING board_id, period_start, user_ref, score, reached_at, version, hidden

-- name: put_last_entries
-- Sets entries to a newer value; of two of one instant the higher stays. Parameters and result as put_sum_entries.
INSERT INTO board_entries AS e (board_id, period_start, user_ref, score, reached_at)
SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::timestamptz[])
ON CONFLICT (board_id, period_start, user_ref) DO UPDATE
SET version = e.version + 1, reached_at = greatest(e.reached_at, EXCLUDED.reached_at),
    score = CASE WHEN (EXCLUDED.reached_at, EXCLUDED.score) > (e.reached_at, e.score) THEN EXCLUDED.score
                 ELSE e.score END
RETURNING board_id, period_start, user_ref, score, reached_at, version, hidden

-- name: copy_scores
-- Copies the all-time scores to the locked players.
-- $1 user numbers (bigint[])  $2 scores (bigint[])
UPDATE users AS u SET score = f.score, updated_at = now()
FROM unnest($1::bigint[], $2::bigint[]) AS f (id, score) WHERE u.id = f.id

-- name: read_entries
-- The players' entries on these boards, as they are now.
-- $1 board ids (integer[])  $2 period starts (timestamptz[])  $3 user numbers (bigint[])
SELECT e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden
FROM unnest($1::integer[], $2::timestamptz[]) AS b (board_id, period_start)
CROSS JOIN unnest($3::bigint[]) AS p (user_ref)
JOIN board_entries e USING (board_id, period_start, user_ref)

-- name: touched_since
-- The players whom ledger rows of the last while touched; for the sweep that writes them to the view again.
-- $1 applied after (timestamptz)
SELECT DISTINCT user_ref FROM score_logs WHERE applied_at > $1 AND outcome = 0

-- name: read_names
-- What boards show of these players.
-- $1 user numbers (bigint[])
SELECT id, version, user_id, username FROM users WHERE id = ANY($1::bigint[])

-- name: ensure_partitions
-- Makes the partitions of the coming months and returns how many were missing.
-- $1 until (timestamptz)
SELECT ensure_partitions($1)

-- name: count_unplaced
-- Ledger rows and entries that found no partition: more than 0 asks for upkeep.
SELECT (SELECT count(*) FROM score_logs_other) + (SELECT count(*) FROM board_entries_other)

-- name: oldest_partition
-- Where the oldest attached partition of the ledger begins; a job before it is too old.
SELECT min(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([0-9a-f-]{36})''\)')::text)::uuid
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'score_logs'::regclass

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
