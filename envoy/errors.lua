-- Gives every refusal of a service the one error body, and answers their HTTP status.
-- Envoy's own refusals get theirs from local_reply_config (scoreboard/local/local_replies.py).
-- Two tables stand before this: REASONS from reasons.lua, and SENTENCES, a reason's words when Envoy says it itself.

-- The seed's words for a user or action id that is missing, malformed or unknown.
local BAD_ID = {phrase = "Invalid user ID or action ID", message = "The provided userId or actionId is not valid."}

-- A status without a reason of ours is the gRPC library's: its words may tell of our inside, its code says enough.
local NAMELESS = {
  ["400"] = "INVALID_ARGUMENT",
  ["404"] = "NOT_FOUND",
  ["429"] = "TOO_LARGE",
  ["499"] = "SERVICE_AWAY",  -- a stopping server cancels what it holds
  ["501"] = "NOT_FOUND",
  ["503"] = "SERVICE_AWAY",
  ["504"] = "DEADLINE_EXCEEDED",
}

-- What grpc_web makes of the HTTP status of Envoy's own refusals is UNAVAILABLE, which clients take for worth a retry.
local WEB_CODES = {["429"] = "8", ["504"] = "4"}

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

local function is_about_ids(reason, details)
  local field = details:match('"field":"([a-z_]+)"')
  return reason == "UNKNOWN_ACTION" or (reason == "INVALID_ARGUMENT" and (field == "user_id" or field == "action_id"))
end

local function rewrite_refusal(handle)
  local buffer = handle:body(true)
  local body = buffer:getBytes(0, buffer:length())
  local message, at = message_of(body)
  if not message then return end  -- a local reply: in shape already
  local headers = handle:headers()  -- anew: the handle from before body() is dead
  local details = body:sub(at)
  local reason = details:match(',"reason":"([A-Z0-9_]+)"')
  if not reason or not REASONS[reason] then
    reason = NAMELESS[headers:get(":status")] or "INTERNAL"
    message = SENTENCES[reason]
  end
  local phrase, status = REASONS[reason].phrase, REASONS[reason].status
  if is_about_ids(reason, details) then phrase, message = BAD_ID.phrase, BAD_ID.message end
  local retry = details:match('"retryDelay":"(%d+)')
  if retry or status == "429" or status == "503" then headers:replace("retry-after", retry or "1") end
  headers:replace(":status", status)
  buffer:setBytes('{"success":false,"error":"' .. phrase .. '","message":"' .. message
    .. '","reason":"' .. reason .. '"}')
end

local function answer_not_modified(handle)
  handle:body(true):setBytes("")
  local headers = handle:headers()
  headers:remove("content-type")
  headers:remove("content-length")
  headers:replace(":status", "304")
end

local function drop_grpc_headers(headers)
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-accept-encoding")
end

function envoy_on_request(handle)
  local headers = handle:headers()
  -- The transcoder would hand it on, and the service take it for its own request's.
  if headers:get(":path"):sub(1, 5) == "/api/" then headers:remove("grpc-encoding") end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local code = headers:get("x-http-code")
  if code then headers:remove("x-http-code") end
  local kind, status = headers:get("content-type"), headers:get(":status")
  if kind == "text/event-stream" then
    drop_grpc_headers(headers)
  elseif kind ~= "application/json" then
    if WEB_CODES[status] and headers:get("grpc-status") then headers:replace("grpc-status", WEB_CODES[status]) end
  else
    drop_grpc_headers(headers)
    if status >= "400" then
      rewrite_refusal(handle)
    elseif code == "202" then
      headers:replace(":status", "202")
    elseif code == "304" then
      answer_not_modified(handle)
    end
  end
end
