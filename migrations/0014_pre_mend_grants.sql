-- A look for what a value was made of needs the ids of its instant: with them it reads one month of the ledger.
GRANT EXECUTE ON FUNCTION first_ledger_id(timestamptz) TO worker;

-- An erased player keeps no role. The worker erases, and may give nobody one: all that it can do is this.
CREATE FUNCTION end_role_of_erased(player bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
  UPDATE public.users SET role = 0 WHERE id = player AND state = 2 AND role <> 0
$$;
REVOKE ALL ON FUNCTION end_role_of_erased(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION end_role_of_erased(bigint) TO worker;

-- Periods are made by workers alone; ApplyConfig never wrote them.
REVOKE INSERT, UPDATE ON board_periods FROM admin_svc;
