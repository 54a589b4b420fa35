-- auth_svc changes what its own statements change and no other column: it can make no session longer, bring no spent
-- refresh token back, and publish no key as an older one.
REVOKE UPDATE ON credentials, sessions, refresh_tokens, jwt_keys FROM auth_svc;
REVOKE DELETE ON refresh_tokens FROM auth_svc; -- they go with their session
GRANT UPDATE (password_hash, changed_at) ON credentials TO auth_svc;
GRANT UPDATE (revoked_at, revoked_why) ON sessions TO auth_svc;
GRANT UPDATE (used_at) ON refresh_tokens TO auth_svc;
GRANT UPDATE (private_key, retire_at) ON jwt_keys TO auth_svc;

-- It adds players, and gives nobody a role. A right less would stop the version before, which names the column.
CREATE OR REPLACE FUNCTION only_the_owner_gives_roles() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only the owner of the database gives roles';
  END IF;
  RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION only_the_owner_gives_roles() FROM PUBLIC;
CREATE OR REPLACE TRIGGER users_role BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.role <> 0)
  EXECUTE FUNCTION only_the_owner_gives_roles();
