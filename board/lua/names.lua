-- Writes what boards show of players, unless it has a newer version. Runs before the places that need it.
-- KEYS: 1 users (hash)  2 refs (hash)
-- ARGV: 4 each: user (12 hex), version, user_id, username
-- Returns how many it wrote.
local wrote = 0
for i = 1, #ARGV, 4 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if not old or tonumber(string.match(old, '^%d+')) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. '\31' .. ARGV[i + 2] .. '\31' .. ARGV[i + 3])
    redis.call('HSET', KEYS[2], ARGV[i + 2], ARGV[i])
    wrote = wrote + 1
  end
end
return wrote
