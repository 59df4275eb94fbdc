-- A name registry: the first to come owns a name until its lease ends, and may pass it on. Leases end with
-- the time of the messages, so that every node agrees when.
Names = Names or {}
local LEASE = 365 * 24 * 3600 * 1000

local function valid(name) return type(name) == "string" and name:match("^[a-z][a-z0-9%-]*$") and #name <= 32 end

-- The record of a name whose lease runs.
local function record(name, now)
  local found = Names[name]
  return found and found.ends > now and found or nil
end

-- To who asked: `msg.reply` goes where the message says.
local function answer(msg, draft)
  draft.Target, draft["X-Reference"] = msg.From, msg.Reference
  Send(draft)
end

Handlers.add("Register", "Register", function(msg)
  local name = msg.Tags.Name
  if not valid(name) then return answer(msg, { Error = "a name has up to 32 letters a-z, digits and hyphens" }) end
  local found = record(name, msg.Timestamp)
  if found and found.owner ~= msg.From then return answer(msg, { Error = "taken", Owner = found.owner }) end
  Names[name] = { owner = msg.From, to = msg.To or msg.From, ends = msg.Timestamp + LEASE }
  answer(msg, { Action = "Registered", Name = name, Ends = tostring(Names[name].ends) })
end)

Handlers.add("Transfer", { Action = "Transfer", Name = "_", Recipient = "_" }, function(msg)
  local found = record(msg.Tags.Name, msg.Timestamp)
  if not found or found.owner ~= msg.From then return answer(msg, { Error = "not yours" }) end
  found.owner, found.to = msg.Recipient, msg.Recipient
  answer(msg, { Action = "Transferred", Name = msg.Tags.Name })
end)

Handlers.add("Resolve", "Resolve", function(msg)
  local found = record(msg.Tags.Name, msg.Timestamp)
  answer(msg, { Name = msg.Tags.Name, To = found and found.to or "nobody" })
end)

Views.add("resolve", function(msg)
  local found = record(msg.Tags.Name, msg.Timestamp)
  return { name = msg.Tags.Name, to = found and found.to or "nobody" }
end)
