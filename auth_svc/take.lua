-- Takes one attempt from every bucket, or from none when one of them is full; auth_svc/bucket.py explains the number.
-- KEYS: the buckets     ARGV: two each: interval (µs), burst
-- Returns the µs to wait, 0 when taken.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local filled, wait = {}, 0
for i, key in ipairs(KEYS) do
  local interval, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  filled[i] = math.max(tonumber(redis.call('GET', key) or 0), now) + interval
  wait = math.max(wait, filled[i] - burst * interval - now)
end
if wait > 0 then return wait end
for i, key in ipairs(KEYS) do
  redis.call('SET', key, string.format('%.0f', filled[i]), 'PX', math.ceil((filled[i] - now) / 1000))
end
return 0
