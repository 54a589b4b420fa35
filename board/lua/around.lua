-- Reads players' places and the rows on each side of each, best first, with names; with 0 rows, the place alone.
-- KEYS: 1 users (hash)  2 refs (hash); then of each player's board: 1 places (zset)  2 versions (hash)  3 meta (hash)
-- ARGV: of each player: 1 user_id  2 rows on each side
-- Returns of each player: false while his board is not ready, {} when he is not on it, else what top.lua returns and the
-- place (from 0) of the first row.
local boards = {}  -- by the key of meta: epoch, seq, players; false while it is not ready

local function board(places, meta)
  if boards[meta] == nil then
    local m = redis.call('HMGET', meta, 'state', 'epoch', 'seq')
    boards[meta] = m[1] == 'ready' and {m[2], m[3], redis.call('ZCARD', places)}
  end
  return boards[meta]
end

local function around(places, versions, meta, user_id, each_side)
  local b = board(places, meta)
  if not b then return false end
  local id = redis.call('HGET', KEYS[2], user_id)
  local entry = id and redis.call('HGET', versions, id)
  local member = entry and string.match(entry, ' (%S+)$')
  if not member or member == '-' then return {} end
  local place = redis.call('ZRANK', places, member)
  if not place then return false end  -- something was lost
  local first = math.max(0, place - each_side)
  local rows = redis.call('ZRANGE', places, first, place + each_side, 'WITHSCORES')
  local ids = {}
  for i = 1, #rows, 2 do ids[#ids + 1] = string.sub(rows[i], 14) end
  return {b[1], b[2], b[3], rows, redis.call('HMGET', KEYS[1], unpack(ids)), first}
end

local found = {}
for i = 1, #ARGV / 2 do
  found[i] = around(KEYS[3 * i], KEYS[3 * i + 1], KEYS[3 * i + 2], ARGV[2 * i - 1], tonumber(ARGV[2 * i]))
end
return found
