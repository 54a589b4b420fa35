-- name: find_players
-- Who has this id (match 0), has this name (1) or shows it (2), in this order. At most 10.
-- $1 user_id or username (text)  $2 key of the username (text)
SELECT id AS user_ref, user_id, username, state, role, score, created_at,
       (SELECT count(*) FROM sessions s WHERE s.user_ref = u.id AND s.revoked_at IS NULL AND s.expires_at > now())
         AS sessions,
       CASE WHEN user_id = $1 THEN 0 WHEN username_key = $2 THEN 1 ELSE 2 END AS match
FROM users u
WHERE user_id = $1 OR username_key = $2 OR username = $1
ORDER BY match, id LIMIT 10

-- name: staff
-- Everybody with a role, the highest first.
SELECT id AS user_ref, user_id, username, state, role, score, created_at,
       (SELECT count(*) FROM sessions s WHERE s.user_ref = u.id AND s.revoked_at IS NULL AND s.expires_at > now())
         AS sessions
FROM users u WHERE role > 0 ORDER BY role DESC, id

-- name: standings
-- Each period that a player has a place in, or should have: its entry with the exact rank, and the fold of the ledger.
-- The fold follows board/verify.sql. Open periods alone, but with $2 all
-- that are kept.
-- $1 user number (bigint)  $2 closed periods too (boolean)
WITH periods AS (
  SELECT p.board_id, p.period_start, p.period_end, p.closes_at, p.label, b.name, b.operator, b.actions, b.revision
  FROM board_periods p JOIN boards b USING (board_id)
  WHERE p.state < 2 AND ($2 OR (p.state = 0 AND p.closes_at > now()))
), counted AS (
  SELECT p.board_id, p.period_start, p.operator, l.score_change, l.accepted_at,
         coalesce(l.value, l.score_change) AS measure
  FROM score_logs l
  LEFT JOIN score_logs o ON o.id = l.reverses
  JOIN periods p
    ON l.accepted_at >= p.period_start AND l.accepted_at < p.period_end
    -- A reversal counts where the update that it takes back did, however late it comes.
    AND CASE WHEN l.kind = 1 THEN o.applied_at ELSE l.applied_at END < p.closes_at
    AND (p.actions IS NULL OR l.action_id = ANY(p.actions)) AND l.revision >= p.revision
    AND CASE WHEN p.operator = 0 THEN l.score_change <> 0
             ELSE l.kind IN (0, 3)
                  AND NOT EXISTS (SELECT FROM score_logs r WHERE r.reverses = l.id AND r.outcome = 0) END
  WHERE l.user_ref = $1 AND l.outcome = 0
), fold AS (
  SELECT board_id, period_start,
         CASE operator WHEN 0 THEN sum(score_change)
                       WHEN 1 THEN (array_agg(measure ORDER BY measure DESC, accepted_at))[1]
                       ELSE (array_agg(measure ORDER BY accepted_at DESC, measure DESC))[1] END::bigint AS score,
         CASE operator WHEN 1 THEN (array_agg(accepted_at ORDER BY measure DESC, accepted_at))[1]
                       ELSE max(accepted_at) END AS reached_at
  FROM counted GROUP BY board_id, period_start, operator
)
SELECT p.board_id, p.period_start, p.name AS board, p.label AS period,
       fold.score AS ledger_score, fold.reached_at AS ledger_at,
       e.score, e.reached_at, e.version, e.hidden,
       CASE WHEN NOT e.hidden THEN (
         SELECT count(*) + 1 FROM board_entries o
         WHERE o.board_id = e.board_id AND o.period_start = e.period_start AND NOT o.hidden
           AND (-o.score, o.reached_at, o.user_ref) < (-e.score, e.reached_at, e.user_ref)) END AS rank
FROM periods p
LEFT JOIN fold USING (board_id, period_start)
LEFT JOIN board_entries e ON e.board_id = p.board_id AND e.period_start = p.period_start AND e.user_ref = $1
WHERE fold.score IS NOT NULL OR e.user_ref IS NOT NULL
ORDER BY p.board_id, p.period_start

-- name: ledger
-- The ledger rows of a player, the last applied first, with the boards that each counts on.
-- $1 user number (bigint)  $2 at most so many (bigint, NULL: all)
SELECT l.id AS update_id, l.kind, l.action_id, l.outcome, l.reason, l.score_change AS points, l.value, l.score_after,
       l.reporter, l.reverses, l.revision, l.accepted_at, l.applied_at,
       EXISTS (SELECT FROM score_logs r WHERE r.reverses = l.id AND r.outcome = 0) AS is_taken_back,
       ARRAY(
         SELECT b.name || ' ' || p.label
         FROM board_periods p JOIN boards b USING (board_id)
         WHERE l.outcome = 0 AND l.kind <= 3
           AND l.accepted_at >= p.period_start AND l.accepted_at < p.period_end
           AND CASE WHEN l.kind = 1 THEN o.applied_at ELSE l.applied_at END < p.closes_at
           AND (b.actions IS NULL OR l.action_id = ANY(b.actions)) AND l.revision >= b.revision
           AND CASE WHEN b.operator = 0 THEN l.score_change <> 0 ELSE l.kind IN (0, 1, 3) END
         ORDER BY b.board_id, p.period_start) AS counted_on
FROM (SELECT * FROM score_logs WHERE user_ref = $1 ORDER BY applied_at DESC, id DESC LIMIT $2) l
LEFT JOIN score_logs o ON o.id = l.reverses
ORDER BY l.applied_at DESC, l.id DESC

-- name: usage
-- When each of these actions last counted for a player, and how often since an instant.
-- $1 user number (bigint)  $2 action ids (text[])  $3 instants (timestamptz[])
SELECT f.action_id, max(l.accepted_at) AS last_at, count(*) FILTER (WHERE l.accepted_at >= f.since) AS used
FROM unnest($2::text[], $3::timestamptz[]) AS f (action_id, since)
LEFT JOIN score_logs l ON l.user_ref = $1 AND l.action_id = f.action_id AND l.kind = 0 AND l.outcome = 0
GROUP BY f.action_id ORDER BY f.action_id

-- name: dead_letters
-- Jobs that were given up and hold these bytes, the oldest first: those of a player, and perhaps some more.
-- $1 bytes of the user_id (bytea)
SELECT update_id, job, reason, attempts, first_failed_at FROM dead_letters
WHERE position($1::bytea IN job) > 0 ORDER BY first_failed_at, update_id

-- name: sessions
-- When a player's sessions began and ended, the last first.
-- $1 user number (bigint)
SELECT created_at, expires_at, revoked_at FROM sessions WHERE user_ref = $1 ORDER BY created_at DESC, sid

-- name: identities
-- By whom else a player is known.
-- $1 user number (bigint)
SELECT issuer, subject, created_at FROM identities WHERE user_ref = $1 ORDER BY issuer, subject
