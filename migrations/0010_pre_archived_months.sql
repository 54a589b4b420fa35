-- A month of the ledger that was archived is never made again: an empty partition in its place would let every job of
-- that month count once more.

CREATE OR REPLACE FUNCTION ensure_partitions(until timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '5s'
SET timezone = 'UTC'
AS $$
DECLARE
  made  integer := 0;
  month timestamptz;
  part  text;
  -- Where the ledger's oldest attached partition begins, the same as ledger.oldest_id reads.
  oldest uuid := (
    SELECT min(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([0-9a-f-]{36})''\)')::text)::uuid
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'public.score_logs'::regclass);
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('scoreboard.ensure_partitions'));
  FOR month IN
    SELECT generate_series(date_trunc('month', now()) - interval '1 month', until, interval '1 month')
  LOOP
    part := 'score_logs_' || to_char(month, 'YYYY_MM');
    IF to_regclass('public.' || part) IS NULL AND (oldest IS NULL OR public.first_ledger_id(month) > oldest) THEN
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
