-- name: entries_after
-- The next entries of a board in the order of players, hidden ones too, with what boards show of them.
-- $1 board id  $2 period start  $3 the player before the first  $4 at most so many
SELECT e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden,
       u.version AS name_version, u.user_id, u.username
FROM board_entries e JOIN users u ON u.id = e.user_ref
WHERE e.board_id = $1 AND e.period_start = $2 AND e.user_ref > $3
ORDER BY e.user_ref LIMIT $4

-- name: entries_of
-- The entries of some players, as entries_after returns them.
-- $1 board id  $2 period start  $3 users (bigint[])
SELECT e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden,
       u.version AS name_version, u.user_id, u.username
FROM board_entries e JOIN users u ON u.id = e.user_ref
WHERE e.board_id = $1 AND e.period_start = $2 AND e.user_ref = ANY($3::bigint[])
ORDER BY e.user_ref

-- name: count_entries
-- How many entries a board has, and how many of them have a place.
-- $1 board id  $2 period start
SELECT count(*) AS known, count(*) FILTER (WHERE NOT hidden) AS places
FROM board_entries WHERE board_id = $1 AND period_start = $2
