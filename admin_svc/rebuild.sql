-- name: is_open
-- Whether a period takes updates, so that its view is in Redis.
-- $1 board id  $2 period start
SELECT EXISTS (SELECT FROM board_periods WHERE board_id = $1 AND period_start = $2 AND state = 0)

-- name: ask
-- Asks for a rebuild and returns its number.
-- $1 board id  $2 period start
INSERT INTO board_rebuilds (board_id, period_start) VALUES ($1, $2) RETURNING id

-- name: look
-- How far a rebuild is.
-- $1 number (bigint)
SELECT done, total, finished_at IS NOT NULL AS is_finished FROM board_rebuilds WHERE id = $1
