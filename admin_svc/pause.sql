-- name: set_paused
-- Sets whether the workers rest; no row where it is so already.
-- $1 paused (boolean)
UPDATE operation SET paused = $1, changed_at = now() WHERE paused <> $1 RETURNING paused

-- name: read_paused
-- Whether the workers are to rest.
SELECT paused FROM operation
