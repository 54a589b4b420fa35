-- Ends a rebuild: its keys become the board, which is readable from here on.
-- KEYS: 1 places  2 versions  3 meta  4, 5 places and versions of the rebuild  6, 7 names for what goes
-- ARGV: 1 build id  2 epoch  3 feed  4 board tag  5 the origin that it was built under
-- Returns 1, or 0 when another rebuild has begun since (or Redis was emptied): then nothing changes.
if redis.call('HGET', KEYS[3], 'build') ~= ARGV[1] then return 0 end
for i = 1, 2 do -- RENAME onto a big key would free it in place, and hold everyone up
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('RENAME', KEYS[i], KEYS[i + 5]) end
  if redis.call('EXISTS', KEYS[i + 3]) == 1 then redis.call('RENAME', KEYS[i + 3], KEYS[i]) end
end
redis.call('UNLINK', KEYS[6], KEYS[7])
redis.call('HSET', KEYS[3], 'state', 'ready', 'epoch', ARGV[2], 'seq', 0, 'origin', ARGV[5])
redis.call('HDEL', KEYS[3], 'build')
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' ' .. ARGV[2] .. ' 0')
return 1
