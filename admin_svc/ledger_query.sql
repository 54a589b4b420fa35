-- name: bounds
-- The lowest id of the ledger and an instant after all that was applied; no row for an empty ledger.
SELECT id AS lowest, now() + interval '1 second' AS now FROM score_logs ORDER BY id LIMIT 1

-- name: page
-- The rows that were applied from one instant on and before a row, the latest first.
-- $1 from (timestamptz)  $2, $3 before this applied_at and id (timestamptz, uuid)  $4 action id (text, NULL: any)
-- $5 at most so many (bigint)
SELECT l.id, l.user_ref, u.user_id, u.username, l.action_id, l.kind, l.outcome, l.reason, l.score_change, l.score_after,
       l.reporter, l.accepted_at, l.applied_at, l.value, l.revision, l.reverses,
       (SELECT s.seal_no FROM audit_seals s WHERE s.to_txid > l.txid AND s.from_txid <= l.txid ORDER BY s.to_txid LIMIT 1)
         AS seal_no
FROM (
  SELECT * FROM score_logs
  WHERE applied_at BETWEEN $1 AND $2 AND (applied_at, id) < ($2, $3::uuid) AND ($4::text IS NULL OR action_id = $4)
  ORDER BY applied_at DESC, id DESC LIMIT $5
) l JOIN users u ON u.id = l.user_ref
ORDER BY l.applied_at DESC, l.id DESC

-- name: page_of_player
-- The same of one player.
-- $1 to $5 as in page  $6 user number (bigint)
SELECT l.id, l.user_ref, u.user_id, u.username, l.action_id, l.kind, l.outcome, l.reason, l.score_change, l.score_after,
       l.reporter, l.accepted_at, l.applied_at, l.value, l.revision, l.reverses,
       (SELECT s.seal_no FROM audit_seals s WHERE s.to_txid > l.txid AND s.from_txid <= l.txid ORDER BY s.to_txid LIMIT 1)
         AS seal_no
FROM (
  SELECT * FROM score_logs
  WHERE user_ref = $6
    AND applied_at BETWEEN $1 AND $2 AND (applied_at, id) < ($2, $3::uuid) AND ($4::text IS NULL OR action_id = $4)
  ORDER BY applied_at DESC, id DESC LIMIT $5
) l JOIN users u ON u.id = l.user_ref
ORDER BY l.applied_at DESC, l.id DESC
