-- Claims nonces within their askers' rates, or tells what an earlier claim holds; stamps the instants that count.
-- KEYS: 1 rate (zset)  2 claim (hash); and so on, a pair an asker
-- ARGV: 1 claim life s; then of each asker:
--       1 digest  2 limit (0: none)  3 window ms  4 update id  5 by (user or client id)
--       6 key of the session's denial, or ''  7 '1': only look, claim nothing
-- Returns of each asker: DENIED | REUSED | SEEN at result | LIMITED µs until there is room | ABSENT | NEW at  (unix µs)
--       | FAILED error: what Redis refused for this asker alone, such as a write without memory
-- The denials are no KEYS: this account may only read them, and Redis takes every KEY of a script for a written one.
local life = ARGV[1]
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]

local function accept(rate, claim, digest, limit, window, update_id, by, denial, only_look)
  if denial ~= '' and redis.call('EXISTS', denial) == 1 then return {'DENIED'} end
  local known = redis.call('HMGET', claim, 'digest', 'at', 'result')
  if known[1] then
    if known[1] ~= digest then return {'REUSED'} end
    return {'SEEN', known[2], known[3] or ''}
  end
  if only_look == '1' then return {'ABSENT'} end
  now = now + 1  -- the clock stands still in a script, and no two claims of a player have one instant
  if tonumber(limit) > 0 then
    redis.call('ZREMRANGEBYSCORE', rate, '-inf', now - window * 1000)
    if redis.call('ZCARD', rate) >= tonumber(limit) then
      local first = redis.call('ZRANGE', rate, 0, 0, 'WITHSCORES')
      return {'LIMITED', string.format('%.0f', tonumber(first[2]) + window * 1000 - now)}
    end
    redis.call('ZADD', rate, now, update_id)
    redis.call('PEXPIRE', rate, window)
  end
  local at = string.format('%.0f', now)
  redis.call('HSET', claim, 'digest', digest, 'at', at, 'by', by)
  redis.call('EXPIRE', claim, life)
  return {'NEW', at}
end

local answers = {}
for i = 1, #KEYS / 2 do
  local worked, answer = pcall(accept, KEYS[2 * i - 1], KEYS[2 * i], unpack(ARGV, 7 * i - 5, 7 * i + 1))
  answers[i] = worked and answer or {'FAILED', type(answer) == 'table' and answer.err or tostring(answer)}
end
return answers
