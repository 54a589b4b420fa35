-- name: add_player
-- Adds a player with a password and returns the inner number; a taken name breaks users_username_key_key.
-- $1 user_id  $2 username  $3 username_key  $4 password hash
WITH added AS (
  INSERT INTO users (user_id, username, username_key, role) VALUES ($1, $2, $3, 0) RETURNING id
)
INSERT INTO credentials (user_ref, password_hash) SELECT id, $4 FROM added RETURNING user_ref;

-- name: find_account
-- The player of a name who can log in.
-- $1 username_key
SELECT u.id, u.user_id, u.role, u.state, c.password_hash
FROM users u JOIN credentials c ON c.user_ref = u.id
WHERE u.username_key = $1;

-- name: set_password_hash
-- Replaces a hash unless the password was changed meanwhile.
-- $1 inner number  $2 new hash  $3 old hash
UPDATE credentials SET password_hash = $2 WHERE user_ref = $1 AND password_hash = $3;

-- name: add_session
-- Adds a session with its first refresh token.
-- $1 sid  $2 inner number  $3 master key id  $4 life (s)  $5 token hash
WITH session AS (
  INSERT INTO sessions (sid, user_ref, master_key_id, expires_at)
  VALUES ($1, $2, $3, now() + $4::double precision * interval '1 second')
  RETURNING sid, expires_at
)
INSERT INTO refresh_tokens (token_hash, sid, seq, expires_at) SELECT $5, sid, 0, expires_at FROM session;

-- name: lock_session
-- Locks the session of a refresh token, so that of two refreshes one comes after the other.
-- $1 token hash
SELECT s.sid, s.master_key_id, u.user_id, u.role
FROM refresh_tokens t JOIN sessions s ON s.sid = t.sid JOIN users u ON u.id = s.user_ref
WHERE t.token_hash = $1
FOR UPDATE OF s;

-- name: read_token
-- What a refresh is decided by; read after the lock, in a statement of its own, to see what the one before wrote.
-- $1 token hash
SELECT t.seq, t.used_at, s.expires_at, s.revoked_at, u.state, clock_timestamp() AS now,
       EXISTS (SELECT FROM refresh_tokens n WHERE n.sid = t.sid AND n.seq = t.seq + 1 AND n.used_at IS NOT NULL)
         AS successor_used
FROM refresh_tokens t JOIN sessions s ON s.sid = t.sid JOIN users u ON u.id = s.user_ref
WHERE t.token_hash = $1;

-- name: rotate
-- Spends a refresh token and adds its successor.
-- $1 token hash  $2 hash of the successor
WITH spent AS (
  UPDATE refresh_tokens SET used_at = clock_timestamp() WHERE token_hash = $1 RETURNING sid, seq, expires_at
)
INSERT INTO refresh_tokens (token_hash, sid, seq, expires_at) SELECT $2, sid, seq + 1, expires_at FROM spent;

-- name: revoke
-- Ends a session; the first reason stays.
-- $1 sid  $2 why
UPDATE sessions SET revoked_at = clock_timestamp(), revoked_why = $2 WHERE sid = $1 AND revoked_at IS NULL;

-- name: revoked_since
-- Sessions that were ended within the last seconds: what the deny-list holds, with the seconds since.
-- $1 seconds
SELECT sid, extract(epoch FROM clock_timestamp() - revoked_at)::double precision AS ago_s
FROM sessions
WHERE revoked_at > clock_timestamp() - $1::double precision * interval '1 second';

-- name: remove_ended
-- Removes some sessions, with their refresh tokens, a day after their end.
-- $1 how many at most
DELETE FROM sessions WHERE sid IN (
  SELECT sid FROM sessions WHERE expires_at < now() - interval '1 day' LIMIT $1 FOR UPDATE SKIP LOCKED
);

-- name: find_client
-- A trusted client's secret and role, unless it is switched off.
-- $1 client_id
SELECT secret_hash, role FROM clients WHERE client_id = $1 AND disabled_at IS NULL;
