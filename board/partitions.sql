-- name: ensure_partitions
-- Makes the partitions of the coming months and returns how many were missing.
-- $1 until (timestamptz)
SELECT ensure_partitions($1)

-- name: count_unplaced
-- Ledger rows and entries that found no partition: more than 0 asks for upkeep.
SELECT (SELECT count(*) FROM score_logs_other) + (SELECT count(*) FROM board_entries_other)

-- name: oldest_partition
-- Where the oldest attached partition of the ledger begins; a job before it is too old.
SELECT min(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([0-9a-f-]{36})''\)')::text)::uuid
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'score_logs'::regclass
