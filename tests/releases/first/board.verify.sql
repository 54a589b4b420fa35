-- name: periods
-- Every period of every board, closed ones too, with what its board counts. One whose time is over counts as closed,
-- though a worker may not have got to it: its view is not kept.
SELECT p.board_id, b.name, p.label, p.period_start, p.period_end, p.closes_at,
       CASE WHEN p.closes_at <= now() THEN 1 ELSE p.state END AS state, b.operator, b.actions, b.revision
FROM board_periods p JOIN boards b USING (board_id) ORDER BY p.board_id, p.period_start

-- name: is_open
-- Whether a period still takes updates, and so has a view.
-- $1 board id  $2 period start
SELECT state = 0 FROM board_periods WHERE board_id = $1 AND period_start = $2

-- name: counts
-- What there is to compare.
SELECT (SELECT count(*) FROM score_logs WHERE outcome = 0) AS applied,
       (SELECT count(*) FROM score_logs WHERE outcome = 1) AS refused,
       (SELECT count(*) FROM dead_letters) AS dead_letters,
       (SELECT count(*) FROM board_entries) AS entries

-- name: sum_differences
-- Entries of a sum board that are not the fold of their ledger rows; at most 1,000.
-- $1 board id  $2 period start  $3 period end  $4 closes at  $5 actions (text[], NULL: all)  $6 first revision
WITH f AS (
  SELECT user_ref, sum(score_change)::bigint AS score, max(accepted_at) AS reached_at
  FROM score_logs
  WHERE outcome = 0 AND score_change <> 0 AND accepted_at >= $2 AND accepted_at < $3 AND applied_at < $4
    AND ($5::text[] IS NULL OR action_id = ANY($5::text[])) AND revision >= $6
  GROUP BY user_ref
), e AS (SELECT user_ref, score, reached_at FROM board_entries WHERE board_id = $1 AND period_start = $2)
SELECT user_ref, f.score AS ledger, f.reached_at AS ledger_at, e.score AS entry, e.reached_at AS entry_at
FROM f FULL JOIN e USING (user_ref)
WHERE (f.score, f.reached_at) IS DISTINCT FROM (e.score, e.reached_at) LIMIT 1000

-- name: best_differences
-- The same for a board of best values.
WITH f AS (
  SELECT DISTINCT ON (user_ref) user_ref, coalesce(value, score_change) AS score, accepted_at AS reached_at
  FROM score_logs
  WHERE outcome = 0 AND accepted_at >= $2 AND accepted_at < $3 AND applied_at < $4
    AND ($5::text[] IS NULL OR action_id = ANY($5::text[])) AND revision >= $6
  ORDER BY user_ref, coalesce(value, score_change) DESC, accepted_at
), e AS (SELECT user_ref, score, reached_at FROM board_entries WHERE board_id = $1 AND period_start = $2)
SELECT user_ref, f.score AS ledger, f.reached_at AS ledger_at, e.score AS entry, e.reached_at AS entry_at
FROM f FULL JOIN e USING (user_ref)
WHERE (f.score, f.reached_at) IS DISTINCT FROM (e.score, e.reached_at) LIMIT 1000

-- name: last_differences
-- The same for a board of last values.
WITH f AS (
  SELECT DISTINCT ON (user_ref) user_ref, coalesce(value, score_change) AS score, accepted_at AS reached_at
  FROM score_logs
  WHERE outcome = 0 AND accepted_at >= $2 AND accepted_at < $3 AND applied_at < $4
    AND ($5::text[] IS NULL OR action_id = ANY($5::text[])) AND revision >= $6
  ORDER BY user_ref, accepted_at DESC, coalesce(value, score_change) DESC
), e AS (SELECT user_ref, score, reached_at FROM board_entries WHERE board_id = $1 AND period_start = $2)
SELECT user_ref, f.score AS ledger, f.reached_at AS ledger_at, e.score AS entry, e.reached_at AS entry_at
FROM f FULL JOIN e USING (user_ref)
WHERE (f.score, f.reached_at) IS DISTINCT FROM (e.score, e.reached_at) LIMIT 1000

-- name: score_differences
-- Players whose score is not their entry on the board `all`; at most 1,000.
SELECT u.id AS user_ref, coalesce(e.score, 0) AS entry, u.score
FROM users u
LEFT JOIN boards b ON b.name = 'all'
LEFT JOIN board_entries e ON e.board_id = b.board_id AND e.period_start = '-infinity' AND e.user_ref = u.id
WHERE u.score <> coalesce(e.score, 0) LIMIT 1000

-- name: stray_entries
-- Entries of periods that no board has; at most 1,000.
SELECT e.board_id, e.period_start, e.user_ref, e.score
FROM board_entries e
WHERE NOT EXISTS (SELECT FROM board_periods p WHERE p.board_id = e.board_id AND p.period_start = e.period_start)
LIMIT 1000
