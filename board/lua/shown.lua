-- Reads all that the view says of players on a board, in one state.
-- KEYS: 1 places (zset)  2 versions (hash)  3 users (hash)  4 refs (hash)
-- ARGV: users (12 hex)
-- Returns 4 texts each, empty where there is nothing: "version member", minus the score at that place,
-- what `users` says, and whom `refs` has under the user_id in that.
local entries = redis.call('HMGET', KEYS[2], unpack(ARGV))
local names = redis.call('HMGET', KEYS[3], unpack(ARGV))
local shown = {}
for i = 1, #ARGV do
  local member = entries[i] and string.match(entries[i], ' (%S+)$')
  local user_id = names[i] and string.match(names[i], '^[^\31]*\31([^\31]*)')
  shown[#shown + 1] = entries[i] or ''
  shown[#shown + 1] = member and redis.call('ZSCORE', KEYS[1], member) or ''
  shown[#shown + 1] = names[i] or ''
  shown[#shown + 1] = user_id and redis.call('HGET', KEYS[4], user_id) or ''
end
return shown
