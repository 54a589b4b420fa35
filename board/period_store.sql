-- name: ensure_periods
-- Makes the periods that are not there yet.
-- $1 board ids (integer[])  $2 starts  $3 ends  $4 closing times (timestamptz[])  $5 labels (text[])
INSERT INTO board_periods (board_id, period_start, period_end, closes_at, label)
SELECT * FROM unnest($1::integer[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::text[]) 
  AS f (b, s, e, c, l)
ORDER BY f.b, f.s
ON CONFLICT DO NOTHING

-- name: read_periods
-- These periods, those that are there.
-- $1 board ids (integer[])  $2 starts (timestamptz[])
SELECT p.board_id, p.period_start, p.period_end, p.closes_at, p.label, p.state
FROM unnest($1::integer[], $2::timestamptz[]) AS f (board_id, period_start) JOIN board_periods p USING (board_id, period_start)

-- name: list_periods
-- The periods of a board that are kept, newest first.
-- $1 board id  $2 at most so many
SELECT board_id, period_start, period_end, closes_at, label, state
FROM board_periods WHERE board_id = $1 AND state < 2 ORDER BY period_start DESC LIMIT $2

-- name: open_periods
-- The periods that still take updates.
SELECT board_id, period_start, period_end, closes_at, label, state
FROM board_periods WHERE state = 0 ORDER BY board_id, period_start

-- name: close_periods
-- Closes the periods whose grace is over and returns them: their view may go.
UPDATE board_periods SET state = 1 WHERE state = 0 AND closes_at <= now()
RETURNING board_id, period_start, period_end, closes_at, label, state

-- name: archive_periods
-- Archives the closed periods that their boards keep no longer, and returns them: their entries may go.
UPDATE board_periods AS p SET state = 2 FROM boards b
WHERE b.board_id = p.board_id AND p.state = 1 AND p.closes_at + b.keep <= now()
RETURNING p.board_id, p.period_start, p.period_end, p.closes_at, p.label, p.state

-- name: archived_with_entries
-- The archived periods that still have entries.
SELECT board_id, period_start, period_end, closes_at, label, state
FROM board_periods p
WHERE state = 2 AND EXISTS (
  SELECT FROM board_entries e WHERE e.board_id = p.board_id AND e.period_start = p.period_start)

-- name: remove_entries
-- Removes some entries of a period and returns how many.
-- $1 board id  $2 period start  $3 at most so many
WITH removed AS (
  DELETE FROM board_entries WHERE board_id = $1 AND period_start = $2 AND user_ref IN (
    SELECT user_ref FROM board_entries WHERE board_id = $1 AND period_start = $2 ORDER BY user_ref LIMIT $3)
  RETURNING 1
)
SELECT count(*) FROM removed
