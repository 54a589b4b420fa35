-- name: lock
-- Lets one instance at a time make keys, until its transaction ends.
SELECT pg_advisory_xact_lock(7230001);

-- name: keys
-- Every key that is not over, with Postgres's clock: the one that all instances share.
SELECT kid, public_jwk::text, private_key, publish_from, sign_from, retire_at, clock_timestamp() AS now
FROM jwt_keys
WHERE retire_at IS NULL OR retire_at > clock_timestamp()
ORDER BY publish_from, kid;

-- name: add
-- Adds a key that is published from now on.
-- $1 kid  $2 public key as JWK (text)  $3 wrapped private key  $4 publish from  $5 sign from
INSERT INTO jwt_keys (kid, public_jwk, private_key, publish_from, sign_from) VALUES ($1, $2::text::jsonb, $3, $4, $5);

-- name: retire_others
-- Sets the end of every key that has none, but for the new one.
-- $1 kid of the new key  $2 the end
UPDATE jwt_keys SET retire_at = $2 WHERE kid <> $1 AND retire_at IS NULL;

-- name: rewrap
-- Puts a private key that was wrapped with the current master key in place of the older wrapping.
-- $1 kid  $2 wrapped private key
UPDATE jwt_keys SET private_key = $2 WHERE kid = $1;

-- name: remove_retired
-- Destroys the private keys that nothing needs any more.
DELETE FROM jwt_keys WHERE retire_at <= clock_timestamp();
