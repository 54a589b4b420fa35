-- name: is_any_asked
-- Whether there is something to build.
SELECT EXISTS (SELECT FROM board_rebuilds WHERE finished_at IS NULL)

-- name: next
-- The board that was asked for first, with the number of the last who asked for it.
SELECT r.*, EXISTS (SELECT FROM board_periods p
                    WHERE p.board_id = r.board_id AND p.period_start = r.period_start AND p.state = 0) AS is_open
FROM (SELECT board_id, period_start, max(id) AS number FROM board_rebuilds WHERE finished_at IS NULL
      GROUP BY board_id, period_start ORDER BY min(id) LIMIT 1) r

-- name: count
-- How many entries a board has.
-- $1 board id  $2 period start
SELECT count(*) FROM board_entries WHERE board_id = $1 AND period_start = $2

-- name: tell
-- Tells all who asked for a board, up to a number, how far it is.
-- $1 board id  $2 period start  $3 number  $4 done  $5 total (bigint)
UPDATE board_rebuilds SET done = $4, total = $5
WHERE board_id = $1 AND period_start = $2 AND id <= $3 AND finished_at IS NULL

-- name: finish
-- Tells them that it is done.
-- $1 board id  $2 period start  $3 number  $4 entries (bigint)
UPDATE board_rebuilds SET done = $4, total = $4, finished_at = now()
WHERE board_id = $1 AND period_start = $2 AND id <= $3 AND finished_at IS NULL
