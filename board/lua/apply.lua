-- Writes entries to a board that is served, and to the one that a rebuild fills, unless these have newer ones.
-- KEYS: 1 places (zset)  2 versions (hash)  3 meta (hash)  4, 5 places and versions of a rebuild
-- ARGV: 1 feed  2 board tag  3 JSON, each player once: [[user (12 hex), minus the score, reached at (13 hex of µs),
-- version, hidden], …], all texts but the last, since Lua's numbers lose digits when they become texts
-- 4 '1': only to the board that a rebuild fills, for the rebuild itself  5 and on: trace contexts that the hint bears
-- Returns {'OK', changed}, or {'REBUILD', 0} when there is neither a served board nor a rebuild.
local state = redis.call('HGET', KEYS[3], 'state')
local build = redis.call('HGET', KEYS[3], 'build')
if not state and not build then return {'REBUILD', 0} end

local entries, ids = cjson.decode(ARGV[3]), {}
for i, entry in ipairs(entries) do ids[i] = entry[1] end

-- Few calls of many entries each: a call costs more than what it does to one.
local function put(places, versions)
  local olds = redis.call('HMGET', versions, unpack(ids))
  local gone, placed, written = {}, {}, {}
  for i, entry in ipairs(entries) do
    local id, minus, reached, version, hidden = unpack(entry)
    local known, old = '-1', '-'
    if olds[i] then known, old = string.match(olds[i], '^(%S+) (%S+)$') end
    if tonumber(known) < tonumber(version) then
      if old ~= '-' then gone[#gone + 1] = old end
      local member = '-' -- hidden: the version stays, the place goes
      if not hidden then
        member = reached .. id
        placed[#placed + 1] = minus
        placed[#placed + 1] = member
      end
      written[#written + 1] = id
      written[#written + 1] = version .. ' ' .. member
    end
  end
  if #gone > 0 then redis.call('ZREM', places, unpack(gone)) end
  if #placed > 0 then redis.call('ZADD', places, unpack(placed)) end
  if #written > 0 then redis.call('HSET', versions, unpack(written)) end
  return #written / 2
end

local changed = state and ARGV[4] ~= '1' and put(KEYS[1], KEYS[2]) or 0
if build then put(KEYS[4], KEYS[5]) end
if changed > 0 then
  local seq = redis.call('HINCRBY', KEYS[3], 'seq', 1)
  local hint = {ARGV[2], redis.call('HGET', KEYS[3], 'epoch'), seq, unpack(ARGV, 5)}
  redis.call('PUBLISH', ARGV[1], table.concat(hint, ' '))
end
return {'OK', changed}
