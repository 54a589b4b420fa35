-- name: add_player
-- Adds a player with a password and returns the inner number; a taken name breaks users_username_key_key.
-- $1 user_id  $2 username  $3 username_key  $4 password hash
WITH added AS (
  INSERT INTO users (user_id, username, username_key) VALUES ($1, $2, $3) RETURNING id
)
INSERT INTO credentials (user_ref, password_hash) SELECT id, $4 FROM added RETURNING user_ref;

-- name: add_guest
-- Adds a player who has no password and no name of his own, and returns the inner number.
-- $1 user_id  $2 name to show
INSERT INTO users (user_id, username) VALUES ($1, $2) RETURNING id;

-- name: find_account
-- The player of a name who can log in.
-- $1 username_key
SELECT u.id, u.user_id, u.role, u.state, c.password_hash, c.changed_at
FROM users u JOIN credentials c ON c.user_ref = u.id
WHERE u.username_key = $1;

-- name: set_password_hash
-- Replaces a hash unless the password was changed meanwhile.
-- $1 inner number  $2 new hash  $3 old hash
UPDATE credentials SET password_hash = $2 WHERE user_ref = $1 AND password_hash = $3;

-- name: add_session
-- Adds a session with its first refresh token and returns its sid; nothing when the password that it was begun with is
-- the player's no more. The lock makes a new password wait for us, so that it ends this session too, or us for it.
-- $1 sid  $2 inner number  $3 master key id  $4 life (s)  $5 token hash  $6 the password's changed_at; NULL: none
WITH password AS (
  SELECT changed_at FROM credentials WHERE user_ref = $2 FOR SHARE
), session AS (
  INSERT INTO sessions (sid, user_ref, master_key_id, expires_at)
  SELECT $1, $2, $3, now() + $4::double precision * interval '1 second'
  WHERE $6::timestamptz IS NULL OR $6 = (SELECT changed_at FROM password)
  RETURNING sid, expires_at
)
INSERT INTO refresh_tokens (token_hash, sid, seq, expires_at) SELECT $5, sid, 0, expires_at FROM session RETURNING sid;

-- name: find_by_session
-- Whose a session is, and what he could change.
-- $1 sid
SELECT u.id, u.user_id, u.username, u.username_key, u.state, c.password_hash, s.revoked_at IS NOT NULL AS is_ended,
       EXISTS (SELECT FROM identities i WHERE i.user_ref = u.id) AS is_vouched
FROM sessions s JOIN users u ON u.id = s.user_ref LEFT JOIN credentials c ON c.user_ref = u.id
WHERE s.sid = $1;

-- name: is_erased
-- Whether there is no such player any more.
-- $1 user_id
SELECT NOT EXISTS (SELECT FROM users WHERE user_id = $1 AND state <> 2);

-- name: sessions_of
-- All sessions of a player.
-- $1 inner number
SELECT sid FROM sessions WHERE user_ref = $1;

-- name: add_password
-- Gives a player a first password; returns nothing when there is one already.
-- $1 inner number  $2 hash
INSERT INTO credentials (user_ref, password_hash) VALUES ($1, $2) ON CONFLICT (user_ref) DO NOTHING RETURNING user_ref;

-- name: read_state
-- A player's state.
-- $1 inner number
SELECT state FROM users WHERE id = $1;

-- name: change_password
-- Replaces a password unless it was replaced meanwhile, or the player erased: then it returns nothing.
-- $1 inner number  $2 new hash  $3 old hash
UPDATE credentials SET password_hash = $2, changed_at = clock_timestamp()
WHERE user_ref = $1 AND password_hash = $3
RETURNING user_ref;

-- name: revoke_others
-- Ends all sessions of a player but one and returns them.
-- $1 inner number  $2 sid of the one  $3 why
UPDATE sessions SET revoked_at = clock_timestamp(), revoked_why = $3
WHERE user_ref = $1 AND sid <> $2 AND revoked_at IS NULL
RETURNING sid;

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

-- name: find_vouched
-- The player whom an issuer knows by a subject.
-- $1 issuer  $2 subject
SELECT u.id, u.user_id, u.role, u.state
FROM identities i JOIN users u ON u.id = i.user_ref
WHERE i.issuer = $1 AND i.subject = $2;

-- name: add_vouched
-- Adds a player whom an issuer vouches for; nothing when anybody has the id, after waiting for whoever is adding it.
-- $1 user_id  $2 name to show  $3 issuer  $4 subject
WITH added AS (
  INSERT INTO users (user_id, username) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING RETURNING id
)
INSERT INTO identities (issuer, subject, user_ref) SELECT $3, $4, id FROM added;

-- name: find_client
-- A trusted client's secret and role, unless it is switched off.
-- $1 client_id
SELECT secret_hash, role FROM clients WHERE client_id = $1 AND disabled_at IS NULL;
