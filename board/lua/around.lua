-- Reads a player's place and the rows on each side of it, best first, with names; with 0 rows, the place alone.
-- KEYS: 1 places (zset)  2 versions (hash)  3 meta (hash)  4 users (hash)  5 refs (hash)
-- ARGV: 1 user_id  2 rows on each side
-- Returns nil while the board is not ready, {} for a player who is not on it, else what top.lua returns and the place
-- (from 0) of the first row.
local m = redis.call('HMGET', KEYS[3], 'state', 'epoch', 'seq')
if m[1] ~= 'ready' then return nil end
local id = redis.call('HGET', KEYS[5], ARGV[1])
local entry = id and redis.call('HGET', KEYS[2], id)
local member = entry and string.match(entry, ' (%S+)$')
if not member or member == '-' then return {} end
local place = redis.call('ZRANK', KEYS[1], member)
local first = math.max(0, place - tonumber(ARGV[2]))
local rows = redis.call('ZRANGE', KEYS[1], first, place + tonumber(ARGV[2]), 'WITHSCORES')
local ids = {}
for i = 1, #rows, 2 do ids[#ids + 1] = string.sub(rows[i], 14) end
return {m[2], m[3], redis.call('ZCARD', KEYS[1]), rows, redis.call('HMGET', KEYS[4], unpack(ids)), first}
