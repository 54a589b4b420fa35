-- Begins a rebuild: from here on every write goes to its keys too. A rebuild that was under way has lost.
-- KEYS: 1 meta (hash)  2, 3 places and versions of a rebuild  4 boards (set of tags)
-- ARGV: 1 build id  2 '1' to stop serving at once (a board that is suspect)  3 board tag
-- Returns the epoch that was shown last, 0 for none.
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('SADD', KEYS[4], ARGV[3])
redis.call('HSET', KEYS[1], 'build', ARGV[1])
if ARGV[2] == '1' then redis.call('HDEL', KEYS[1], 'state') end
return tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0)
