-- Makes the monthly partitions (UTC) of the ledger and of the entries, from the month before now up to `until`, and
-- returns how many were missing. Rows that had to go to the DEFAULT partition meanwhile move along.
-- A partition is filled before it is attached: that locks the DEFAULT partition alone against writers, not the table.
-- The ledger comes first, as in a worker's transaction, so that the two never wait for each other.
CREATE FUNCTION ensure_partitions(until timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '5s'
SET timezone = 'UTC'
AS $$
DECLARE
  made  integer := 0;
  month timestamptz;
  part  text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('scoreboard.ensure_partitions'));
  FOR month IN
    SELECT generate_series(date_trunc('month', now()) - interval '1 month', until, interval '1 month')
  LOOP
    part := 'score_logs_' || to_char(month, 'YYYY_MM');
    IF to_regclass('public.' || part) IS NULL THEN
      LOCK TABLE public.score_logs_other IN ACCESS EXCLUSIVE MODE;
      EXECUTE format('CREATE TABLE public.%I (LIKE public.score_logs INCLUDING ALL)', part);
      EXECUTE format(
        'WITH moved AS (DELETE FROM public.score_logs_other WHERE id >= %1$L AND id < %2$L RETURNING *) '
        'INSERT INTO public.%3$I SELECT * FROM moved',
        public.first_ledger_id(month), public.first_ledger_id(month + interval '1 month'), part);
      EXECUTE format('ALTER TABLE public.score_logs ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
        part, public.first_ledger_id(month), public.first_ledger_id(month + interval '1 month'));
      made := made + 1;
    END IF;
    part := 'board_entries_' || to_char(month, 'YYYY_MM');
    IF to_regclass('public.' || part) IS NULL THEN
      LOCK TABLE public.board_entries_other IN ACCESS EXCLUSIVE MODE;
      EXECUTE format('CREATE TABLE public.%I (LIKE public.board_entries INCLUDING ALL) WITH (fillfactor = 80)', part);
      EXECUTE format(
        'WITH moved AS (DELETE FROM public.board_entries_other '
        'WHERE period_start >= %1$L AND period_start < %2$L RETURNING *) '
        'INSERT INTO public.%3$I SELECT * FROM moved',
        month, month + interval '1 month', part);
      EXECUTE format('ALTER TABLE public.board_entries ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
        part, month, month + interval '1 month');
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END
$$;

-- The lowest ledger id of an instant's millisecond: board/update_id.py has the same.
CREATE FUNCTION first_ledger_id(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT (lpad(to_hex(floor(extract(epoch FROM instant) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;

REVOKE ALL ON FUNCTION ensure_partitions(timestamptz), first_ledger_id(timestamptz) FROM PUBLIC;

GRANT EXECUTE ON FUNCTION ensure_partitions(timestamptz) TO worker;

DO $$ BEGIN PERFORM ensure_partitions(now() + interval '24 months'); END $$;
