-- Writes what boards show of players, unless it has a newer version. Runs before the places that need it.
-- KEYS: 1 users (hash)  2 refs (hash)
-- ARGV: 1 JSON, each player once: [[user (12 hex), version (text), user_id, username], …]
-- Returns how many it wrote.
local names, ids = cjson.decode(ARGV[1]), {}
for i, name in ipairs(names) do ids[i] = name[1] end
local olds = redis.call('HMGET', KEYS[1], unpack(ids))
local written, refs, gone = {}, {}, {}
for i, name in ipairs(names) do
  local id, version, user_id, username = unpack(name)
  local known, old = string.match(olds[i] or '-1\31', '^([^\31]+)\31([^\31]*)')
  if tonumber(known) < tonumber(version) then
    -- An erased player's id goes, unless a new player has it by now.
    if old ~= '' and old ~= user_id and redis.call('HGET', KEYS[2], old) == id then gone[#gone + 1] = old end
    written[#written + 1] = id
    written[#written + 1] = version .. '\31' .. user_id .. '\31' .. username
    refs[#refs + 1] = user_id
    refs[#refs + 1] = id
  end
end
if #gone > 0 then redis.call('HDEL', KEYS[2], unpack(gone)) end
if #written > 0 then
  redis.call('HSET', KEYS[1], unpack(written))
  redis.call('HSET', KEYS[2], unpack(refs))
end
return #written / 2
