-- Begins a new origin: no board is served until it is rebuilt under it, rebuilds under way have lost, names go.
-- KEYS: 1 view (hash)  2 boards (set of tags)  3 users (hash)  4 refs (hash)
-- ARGV: 1 the origin that ends, empty for none  2 the new one  3 its source  4 newest ledger row, empty for none
-- 5 format of a board's meta (hash), of its tag
-- Returns the origin that holds now: that of another worker who was first, or the new one.
local known = redis.call('HGET', KEYS[1], 'origin') or ''
if known ~= ARGV[1] then return known end
for _, tag in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  redis.call('HDEL', string.format(ARGV[5], tag), 'state', 'build')
end
redis.call('UNLINK', KEYS[1], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'origin', ARGV[2], 'source', ARGV[3], 'newest', ARGV[4])
return ARGV[2]
