-- name: read_paused
-- Whether the workers are to rest.
SELECT paused FROM operation
