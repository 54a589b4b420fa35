-- Writes entries to a board that is served, and to the one that a rebuild fills, unless these have newer ones.
-- KEYS: 1 places (zset)  2 versions (hash)  3 meta (hash)  4, 5 places and versions of a rebuild
-- ARGV: 1 feed  2 board tag, then 5 each: user (12 hex), minus the score, reached at (13 hex of µs), version, hidden 0|1
-- Returns {'OK', changed}, or {'REBUILD', 0} when there is neither a served board nor a rebuild.
local state = redis.call('HGET', KEYS[3], 'state')
local build = redis.call('HGET', KEYS[3], 'build')
if not state and not build then return {'REBUILD', 0} end

local function put(places, versions, i)
  local id, version = ARGV[i], tonumber(ARGV[i + 3])
  local old = redis.call('HGET', versions, id)
  if old then
    local known, member = string.match(old, '^(%d+) (%S+)$')
    if tonumber(known) >= version then return 0 end
    if member ~= '-' then redis.call('ZREM', places, member) end
  end
  local member = '-' -- hidden: the version stays, the place goes
  if ARGV[i + 4] == '0' then
    member = ARGV[i + 2] .. id
    redis.call('ZADD', places, ARGV[i + 1], member)
  end
  redis.call('HSET', versions, id, ARGV[i + 3] .. ' ' .. member)
  return 1
end

local changed = 0
for i = 3, #ARGV, 5 do
  if state then changed = changed + put(KEYS[1], KEYS[2], i) end
  if build then put(KEYS[4], KEYS[5], i) end
end
if changed > 0 then
  local seq = redis.call('HINCRBY', KEYS[3], 'seq', 1)
  redis.call('PUBLISH', ARGV[1], ARGV[2] .. ' ' .. redis.call('HGET', KEYS[3], 'epoch') .. ' ' .. seq)
end
return {'OK', changed}
