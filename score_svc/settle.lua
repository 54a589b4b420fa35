-- Keeps results beside the claims that they answer; a claim that is gone stays gone, or it would live for ever.
-- KEYS: claims (hash)     ARGV: 1 claim life s, then the result of each claim
-- Returns how many were kept.
local kept = 0
for i, claim in ipairs(KEYS) do
  if redis.call('EXISTS', claim) == 1 then
    redis.call('HSET', claim, 'result', ARGV[i + 1])
    redis.call('EXPIRE', claim, ARGV[1])
    kept = kept + 1
  end
end
return kept
