-- name: find_player
-- $1 user id (text)
SELECT id, user_id, username, state, role, version, created_at FROM users WHERE user_id = $1

-- name: read_player
-- $1 user number (bigint)
SELECT id, user_id, username, state, role, version, created_at FROM users WHERE id = $1

-- name: count_sessions
-- How many sessions of a player have not ended.
-- $1 user number (bigint)
SELECT count(*) FROM sessions WHERE user_ref = $1 AND revoked_at IS NULL AND expires_at > now()
