-- Gives one attempt back to every bucket that is still there.
-- KEYS: the buckets     ARGV: two each: interval (µs), burst
-- Returns 0.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
for i, key in ipairs(KEYS) do
  local empty = tonumber(redis.call('GET', key) or 0) - ARGV[2 * i - 1]
  if empty > now then
    redis.call('SET', key, string.format('%.0f', empty), 'PX', math.ceil((empty - now) / 1000))
  else
    redis.call('DEL', key)
  end
end
return 0
