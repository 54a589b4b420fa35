-- name: clients
-- All trusted clients, without their secrets.
SELECT client_id, actions, updates_per_second, disabled_at IS NOT NULL AS disabled
FROM clients;
