-- Claims a nonce within its asker's rate, or tells what an earlier claim of it holds; stamps the instant that counts.
-- KEYS: 1 rate (zset)  2 claim (hash)
-- ARGV: 1 digest  2 limit (0: none)  3 window ms  4 claim life s  5 update id  6 by (user or client id)
--       7 key of the session's denial, or ''  8 '1': only look, claim nothing
-- Returns DENIED | REUSED | SEEN at result | LIMITED µs until there is room | ABSENT | NEW at   (at: unix µs)
-- The denial is no KEY: this account may only read it, and Redis takes every KEY of a script for a written one.
if ARGV[7] ~= '' and redis.call('EXISTS', ARGV[7]) == 1 then return {'DENIED'} end
local claim = redis.call('HMGET', KEYS[2], 'digest', 'at', 'result')
if claim[1] then
  if claim[1] ~= ARGV[1] then return {'REUSED'} end
  return {'SEEN', claim[2], claim[3] or ''}
end
if ARGV[8] == '1' then return {'ABSENT'} end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local limit, window = tonumber(ARGV[2]), ARGV[3] * 1000
if limit > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
  if redis.call('ZCARD', KEYS[1]) >= limit then
    local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    return {'LIMITED', string.format('%.0f', tonumber(first[2]) + window - now)}
  end
  redis.call('ZADD', KEYS[1], now, ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local at = string.format('%.0f', now)
redis.call('HSET', KEYS[2], 'digest', ARGV[1], 'at', at, 'by', ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {'NEW', at}
