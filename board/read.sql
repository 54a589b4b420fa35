-- name: top
-- The rows of a board from one place on, best first.
-- $1 board id  $2 period start  $3 rows to skip  $4 rows at most
SELECT u.user_id, u.username, e.score, e.reached_at
FROM board_entries e JOIN users u ON u.id = e.user_ref
WHERE e.board_id = $1 AND e.period_start = $2 AND NOT e.hidden
ORDER BY -e.score, e.reached_at, e.user_ref
OFFSET $3 LIMIT $4

-- name: players
-- How many players are on a board.
-- $1 board id  $2 period start
SELECT count(*) FROM board_entries WHERE board_id = $1 AND period_start = $2 AND NOT hidden

-- name: entry
-- One player's entry on a board.
-- $1 board id  $2 period start  $3 user_id
SELECT u.user_id, u.username, e.score, e.reached_at, e.user_ref
FROM users u JOIN board_entries e ON e.user_ref = u.id
WHERE e.board_id = $1 AND e.period_start = $2 AND NOT e.hidden AND u.user_id = $3

-- name: better
-- How many players stand before an entry, counted up to a bound.
-- $1 board id  $2 period start  $3 minus its score  $4 its reached_at  $5 its user number  $6 bound
SELECT count(*) FROM (
  SELECT 1 FROM board_entries
  WHERE board_id = $1 AND period_start = $2 AND NOT hidden AND (-score, reached_at, user_ref) < ($3, $4, $5)
  LIMIT $6
) better

-- name: before
-- The neighbours before an entry, nearest first.
-- $1 board id  $2 period start  $3 minus its score  $4 its reached_at  $5 its user number  $6 rows at most
SELECT u.user_id, u.username, e.score, e.reached_at
FROM board_entries e JOIN users u ON u.id = e.user_ref
WHERE e.board_id = $1 AND e.period_start = $2 AND NOT e.hidden AND (-e.score, e.reached_at, e.user_ref) < ($3, $4, $5)
ORDER BY -e.score DESC, e.reached_at DESC, e.user_ref DESC
LIMIT $6

-- name: after
-- The neighbours after an entry, nearest first.
-- $1 board id  $2 period start  $3 minus its score  $4 its reached_at  $5 its user number  $6 rows at most
SELECT u.user_id, u.username, e.score, e.reached_at
FROM board_entries e JOIN users u ON u.id = e.user_ref
WHERE e.board_id = $1 AND e.period_start = $2 AND NOT e.hidden AND (-e.score, e.reached_at, e.user_ref) > ($3, $4, $5)
ORDER BY -e.score, e.reached_at, e.user_ref
LIMIT $6
