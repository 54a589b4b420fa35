-- name: finished
-- Below which number every transaction has ended, whatever its order: no row of a lower one can still appear.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS below, system_identifier AS cluster,
       clock_timestamp() AS now
FROM pg_control_system()

-- name: try_lock
-- One sealer at a time, until its transaction ends: Postgres ends one whose process was stopped.
-- $1 number of the lock  $2 milliseconds that it may be idle (text)
SELECT set_config('idle_in_transaction_session_timeout', $2, true), pg_try_advisory_xact_lock($1) AS is_mine

-- name: last_seal
-- The newest seal.
SELECT seal_no, cluster, from_txid::text::bigint AS from_txid, to_txid::text::bigint AS to_txid, row_count, root, seal,
       signature, kid, sealed_at
FROM audit_seals ORDER BY seal_no DESC LIMIT 1

-- name: seals_after
-- The next seals after a number.
-- $1 seal number  $2 at most so many
SELECT seal_no, cluster, from_txid::text::bigint AS from_txid, to_txid::text::bigint AS to_txid, row_count, root, seal,
       signature, kid, sealed_at
FROM audit_seals WHERE seal_no > $1 ORDER BY seal_no LIMIT $2

-- name: cut
-- The transaction of the first row of a range, and that of the row after so many; none where there are fewer.
-- $1 from, $2 to (transaction numbers as text)  $3 rows
SELECT (SELECT txid FROM score_logs WHERE txid >= $1::text::xid8 AND txid < $2::text::xid8
        ORDER BY txid LIMIT 1)::text::bigint AS first,
       (SELECT txid FROM score_logs WHERE txid >= $1::text::xid8 AND txid < $2::text::xid8
        ORDER BY txid OFFSET $3 LIMIT 1)::text::bigint AS cut

-- name: ledger_page
-- Ledger rows of a range of transactions from a place on, in the order of the seal.
-- $1, $2 from this row on (transaction number as text, uuid)  $3 to (transaction number as text)  $4 at most so many
SELECT txid::text::bigint AS txid, id, user_ref, action_id, kind, outcome, reason, score_change, value, score_after,
       reporter, reverses, revision, accepted_at, applied_at
FROM score_logs l
WHERE txid >= $1::text::xid8 AND txid < $3::text::xid8 AND (l.txid, id) >= ($1::text::xid8, $2::uuid)
ORDER BY l.txid, id LIMIT $4

-- name: admin_page
-- The same of the admin log.
-- $1, $2 from this row on (transaction number as text, bigint)  $3 to (transaction number as text)  $4 at most so many
SELECT txid::text::bigint AS txid, id, actor, action, target, reason, before, after, at
FROM admin_log a
WHERE txid >= $1::text::xid8 AND txid < $3::text::xid8 AND (a.txid, id) >= ($1::text::xid8, $2::bigint)
ORDER BY a.txid, id LIMIT $4

-- name: add_seal
-- Adds the next seal; of two sealers that made the same one, one fails.
INSERT INTO audit_seals (seal_no, cluster, from_txid, to_txid, row_count, root, seal, signature, kid, sealed_at)
VALUES ($1, $2, $3::text::xid8, $4::text::xid8, $5, $6, $7, $8, $9, $10)

-- name: add_leaves
-- Keeps what the seal's rows hashed to.
-- $1 seal number  $2 leaves (bytea)
INSERT INTO audit_leaves (seal_no, leaves) VALUES ($1, $2)

-- name: leaves
-- What the rows of a seal hashed to.
-- $1 seal number
SELECT leaves FROM audit_leaves WHERE seal_no = $1

-- name: unsealed
-- Ledger rows that no seal covers: how many, since when, and how many say that a transaction to come has written them.
-- $1 from (transaction number as text)
SELECT count(*) AS rows, min(applied_at) AS since,
       count(*) FILTER (WHERE txid >= pg_snapshot_xmax(pg_current_snapshot())) AS from_the_future
FROM score_logs WHERE txid >= $1::text::xid8

-- name: where_now
-- The transactions of rows that are not where their seal has them.
-- $1 ids (uuid[])
SELECT id, txid::text::bigint AS txid FROM score_logs WHERE id = ANY($1::uuid[])
