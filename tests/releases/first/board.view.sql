-- name: next_epoch
-- The next epoch of any board's view: higher than all before.
SELECT nextval('board_epoch')

-- name: all_entries
-- Every entry of a board, hidden ones too, with what boards show of its player.
-- $1 board id  $2 period start
SELECT e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden,
       u.version AS name_version, u.user_id, u.username
FROM board_entries e JOIN users u ON u.id = e.user_ref
WHERE e.board_id = $1 AND e.period_start = $2
