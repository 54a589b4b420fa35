-- Chooses a call's region and writes it into a header, by which the routes go: the one that its access token names, the one that
-- its client asks for, the one that the client's address is in.
-- What the token says is not verified: it decides where the call goes and nothing else, as x-region does; the region verifies it.
-- So a token that is over, or whose region is away, still leads to its own region, which alone can say so.
local VALUES = {}
for i = 1, 64 do
  VALUES[string.sub("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", i, i)] = i - 1
end

-- Returns base64url as bytes (RFC 4648, 5, without padding); nil for anything else.
local function decode(text)
  local bytes, rest, bits = {}, 0, 0
  for i = 1, #text do
    local value = VALUES[string.sub(text, i, i)]
    if not value then return nil end
    rest, bits = rest * 64 + value, bits + 6
    if bits >= 8 then
      bits = bits - 8
      bytes[#bytes + 1] = string.char(math.floor(rest / 2 ^ bits))
      rest = rest % 2 ^ bits
    end
  end
  return table.concat(bytes)
end

local function of_token(authorization)
  local payload = authorization and string.match(authorization, "^Bearer [%w_-]+%.([%w_-]+)%.[%w_-]+$")
  local claims = payload and decode(payload)
  return claims and string.match(claims, '"region"%s*:%s*"([a-z][a-z0-9-]*)"')
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local ranges = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.rbac")
  local by_address = ranges and ranges["shadow_effective_policy_id"]
  local region = of_token(headers:get("authorization")) or headers:get("x-region") or by_address
  if region then
    headers:add("x-scoreboard-region", region)
    handle:clearRouteCache()
  end
end
