-- Counts the players who stand before a score.
-- KEYS: 1 places (zset)  2 meta (hash)
-- ARGV: 1 minus the score  2 the instant, as members begin with: of equal scores only those before it count
-- Returns nil while the board is not ready, else epoch, seq, count.
local m = redis.call('HMGET', KEYS[2], 'state', 'epoch', 'seq')
if m[1] ~= 'ready' then return nil end
local first = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1])
local past = redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[1])
-- Equal scores stand in the order of their members: halve until the first that is not before the instant is found.
while first < past do
  local middle = math.floor((first + past) / 2)
  local member = redis.call('ZRANGE', KEYS[1], middle, middle)[1]
  if string.sub(member, 1, 13) < ARGV[2] then first = middle + 1 else past = middle end
end
return {m[2], m[3], first}
