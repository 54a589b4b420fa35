-- name: next_epoch
-- The next epoch of any board's view: higher than all before, and than the one that Redis shows, of which a database
-- that was restored knows nothing.
-- $1 the epoch that Redis shows
SELECT max(nextval('board_epoch'))
FROM (SELECT coalesce(pg_sequence_last_value('board_epoch'), 0) AS last) s, generate_series(s.last, greatest(s.last, $1))

-- name: all_entries
-- Every entry of a board, hidden ones too, with what boards show of its player.
-- $1 board id  $2 period start
SELECT e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden,
       u.version AS name_version, u.user_id, u.username
FROM board_entries e JOIN users u ON u.id = e.user_ref
WHERE e.board_id = $1 AND e.period_start = $2

-- name: recent_entries
-- The entries on open boards of the players whom the ledger touched of late, with what boards show of them.
-- $1 applied after (timestamptz)
SELECT e.board_id, e.period_start, e.user_ref, e.score, e.reached_at, e.version, e.hidden,
       u.version AS name_version, u.user_id, u.username
FROM (SELECT DISTINCT user_ref FROM score_logs WHERE applied_at > $1 AND outcome = 0) t
JOIN board_entries e USING (user_ref) JOIN board_periods p USING (board_id, period_start) JOIN users u ON u.id = e.user_ref
WHERE p.state = 0
