-- name: session
-- Whether a session is over, and what its player may do now.
-- $1 session (uuid)  $2 user id (text)
SELECT s.revoked_at IS NOT NULL AS is_revoked, u.state, u.role
FROM sessions s JOIN users u ON u.id = s.user_ref WHERE s.sid = $1 AND u.user_id = $2

-- name: client
-- Whether a trusted client is switched off, and its role.
-- $1 client id (text)
SELECT role, disabled_at IS NOT NULL AS is_disabled FROM clients WHERE client_id = $1
