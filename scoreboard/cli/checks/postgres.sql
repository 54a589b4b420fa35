-- name: facts
-- What the server says of itself, and where a role or a database has a setting of its own.
SELECT current_setting('server_version_num')::integer AS version, current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('full_page_writes') AS full_page_writes,
       ARRAY(SELECT one FROM pg_db_role_setting, unnest(setconfig) AS one WHERE one LIKE 'synchronous_commit=%')
         AS overrides

-- name: clock
-- The server's clock.
SELECT clock_timestamp()

-- name: migrations
-- The migrations that were applied, as yoyo keeps them.
SELECT migration_id FROM _yoyo_migration ORDER BY migration_id

-- name: missing_partitions
-- The months from this one to some months ahead that a table has no partition for.
-- $1 months ahead (integer)
SELECT t || '_' || to_char(month, 'YYYY_MM') AS name
FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                     now() AT TIME ZONE 'UTC' + make_interval(months => $1), interval '1 month') AS month,
     unnest(ARRAY['score_logs', 'board_entries']) AS t
WHERE to_regclass('public.' || t || '_' || to_char(month, 'YYYY_MM')) IS NULL
ORDER BY name

-- name: counts
-- What waits for an operator or a worker.
SELECT (SELECT count(*) FROM dead_letters) AS dead_letters,
       (SELECT count(*) FROM board_rebuilds WHERE finished_at IS NULL) AS rebuilds,
       (SELECT now() - min(asked_at) FROM board_rebuilds WHERE finished_at IS NULL) AS oldest_rebuild

-- name: operation
-- Whether the workers rest, and since when.
SELECT paused, changed_at FROM operation

-- name: seals
-- Seals, the age of the oldest ledger row that has none, and the process whose transaction is open since before it.
SELECT (SELECT max(seal_no) FROM audit_seals) AS seals, now() - r.applied_at AS behind,
       -- pg_stat_activity would hide from us what others do.
       (SELECT l.pid FROM pg_locks l
        WHERE r.txid >= x.min AND l.locktype = 'transactionid' AND l.granted
          AND l.transactionid::text = (x.min::text::numeric % 4294967296)::text LIMIT 1) AS holder
FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS min) x
LEFT JOIN LATERAL (
  SELECT txid, applied_at FROM score_logs
  WHERE txid >= coalesce((SELECT to_txid FROM audit_seals ORDER BY seal_no DESC LIMIT 1), '0')
  ORDER BY txid LIMIT 1
) r ON true

-- name: signing_key
-- The key that signs tokens now, and its age in seconds.
SELECT kid, extract(epoch FROM clock_timestamp() - sign_from)::double precision AS age_s
FROM jwt_keys
WHERE sign_from <= clock_timestamp() AND (retire_at IS NULL OR retire_at > clock_timestamp())
ORDER BY sign_from DESC, kid DESC LIMIT 1

-- name: open_periods
-- The open periods of the boards, by name.
SELECT p.board_id, p.period_start, b.name || ' ' || p.label AS name
FROM board_periods p JOIN boards b USING (board_id)
WHERE p.state = 0 AND p.closes_at > now() ORDER BY p.board_id, p.period_start

-- name: identity
-- Which database this is: the cluster and its timeline, which changes when a backup or a standby takes over.
SELECT system_identifier || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()
