-- Gives every refusal of a service the one error body, and JSON answers their HTTP status.
-- Envoy's own refusals get theirs from local_reply_config. REASONS stands before this, from reasons.lua.
local SEEDS_PHRASE = "Invalid user ID or action ID"

-- The transcoder's own rendering of a google.rpc.Status: message and position behind its closing quote.
local function message_of(body)
  local from = body:match('^{"code":%d+,"message":"()')
  if not from then return nil end
  local at = from
  while true do
    at = body:find('["\\]', at)
    if not at or body:byte(at) == 34 then break end
    at = at + 2
  end
  if not at then return nil end
  return body:sub(from, at - 1), at
end

local function phrase_of(reason, details)
  local field = details:match('"field":"([a-z_]+)"')
  if reason == "UNKNOWN_ACTION" or (reason == "INVALID_ARGUMENT" and (field == "user_id" or field == "action_id")) then
    return SEEDS_PHRASE
  end
  return REASONS[reason].phrase
end

local function rewrite_refusal(handle)
  local buffer = handle:body(true)
  local body = buffer:getBytes(0, buffer:length())
  local message, at = message_of(body)
  if not message then return end  -- a local reply: in shape already
  local details = body:sub(at)
  local reason = details:match(',"reason":"([A-Z0-9_]+)"')
  if not reason or not REASONS[reason] then
    reason, message = "INTERNAL", "An internal error occurred; try again."
  end
  local headers = handle:headers()  -- anew: the handle from before body() is dead
  local retry = details:match('"retryDelay":"(%d+)')
  if retry then headers:replace("retry-after", retry) end
  headers:replace(":status", REASONS[reason].status)
  buffer:setBytes('{"success":false,"error":"' .. phrase_of(reason, details) .. '","message":"' .. message
    .. '","reason":"' .. reason .. '"}')
end

local function answer_not_modified(handle)
  handle:body(true):setBytes("")
  local headers = handle:headers()
  headers:remove("content-type")
  headers:remove("content-length")
  headers:replace(":status", "304")
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local code = headers:get("x-http-code")
  if code then headers:remove("x-http-code") end
  if headers:get("content-type") ~= "application/json" then return end
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-accept-encoding")
  if headers:get(":status") >= "400" then
    rewrite_refusal(handle)
  elseif code == "202" then
    headers:replace(":status", "202")
  elseif code == "304" then
    answer_not_modified(handle)
  end
end
