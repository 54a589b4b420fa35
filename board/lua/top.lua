-- Reads the rows of a board from one place to another, best first, with the players' names.
-- KEYS: 1 places (zset)  2 meta (hash)  3 users (hash)
-- ARGV: 1 first  2 last (places, counting from 0, inclusive)
-- Returns nil while the board is not ready, else epoch, seq, players, {member, minus score, …}, {user, …} (false: unknown).
local m = redis.call('HMGET', KEYS[2], 'state', 'epoch', 'seq')
if m[1] ~= 'ready' then return nil end
local rows = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'WITHSCORES')
local ids = {}
for i = 1, #rows, 2 do ids[#ids + 1] = string.sub(rows[i], 14) end
local names = #ids > 0 and redis.call('HMGET', KEYS[3], unpack(ids)) or {}
return {m[2], m[3], redis.call('ZCARD', KEYS[1]), rows, names}
