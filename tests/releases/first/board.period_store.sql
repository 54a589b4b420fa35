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
-- The periods of a board, newest first.
-- $1 board id  $2 at most so many
SELECT board_id, period_start, period_end, closes_at, label, state
FROM board_periods WHERE board_id = $1 ORDER BY period_start DESC LIMIT $2

-- name: open_periods
-- The periods that still take updates.
SELECT board_id, period_start, period_end, closes_at, label, state
FROM board_periods WHERE state = 0 ORDER BY board_id, period_start

-- name: close_periods
-- Closes the periods whose grace is over and returns them: their view may go.
UPDATE board_periods SET state = 1 WHERE state = 0 AND closes_at <= now()
RETURNING board_id, period_start, period_end, closes_at, label, state
