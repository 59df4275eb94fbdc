-- What a process sends, and whom it trusts.
local json = require("json")
local utils = require(".utils")

local function set(...)
  local out = {}
  for _, name in ipairs({ ... }) do out[name] = true end
  return out
end
local function empty() return { Output = {}, Messages = {}, Spawns = {}, Assignments = {} } end

local ao = {
  _version = "0.1.0", id = "", _module = "", authorities = {}, reference = 0, assignables = {},
  outbox = empty(),
}

-- Tags that do not become fields of a message: what they say would hide what the node says, or the
-- functions of the message.
local kept_in_tags = set("Data-Protocol", "Variant", "From-Process", "From-Module", "Type", "From",
  "Owner", "Anchor", "Target", "Data", "Tags", "Read-Only", "Id", "Signature", "Timestamp", "Block-Height",
  "Nonce", "Epoch", "Hash-Chain", "Cron", "Forwarded-By", "TagArray", "reply", "forward")
-- Fields that are not passed on.
local not_forwarded = set("Data-Protocol", "Variant", "From-Process", "From-Module", "Type", "From",
  "Owner", "Anchor", "Target", "Tags", "TagArray", "Hash-Chain", "Timestamp", "Nonce", "Epoch",
  "Signature", "Forwarded-By", "Pushed-For", "Read-Only", "Cron", "Block-Height", "Reference", "Id",
  "Reply-To")
local not_tags = set("Target", "Data", "Anchor", "Tags", "From")

function ao.clone(value, seen)
  if type(value) ~= "table" then return value end
  seen = seen or {}
  if seen[value] then return seen[value] end
  local copy = {}
  seen[value] = copy
  for key, item in pairs(value) do copy[ao.clone(key, seen)] = ao.clone(item, seen) end
  return setmetatable(copy, getmetatable(value))
end

function ao.normalize(msg)
  for _, tag in ipairs(msg.Tags) do
    if not kept_in_tags[tag.name] then msg[tag.name] = tag.value end
  end
  return msg
end

function ao.sanitize(msg)
  local copy = ao.clone(msg)
  for key in pairs(not_forwarded) do copy[key] = nil end
  return copy
end

function ao.init(env)
  ao.env = env
  ao.id = env.Process.Id
  for _, tag in ipairs(env.Process.Tags) do
    if tag.name == "Module" and ao._module == "" then ao._module = tag.value end
    if tag.name == "Authority" then
      for part in tag.value:gmatch("[^,]+") do
        if not utils.includes(part, ao.authorities) then table.insert(ao.authorities, part) end
      end
    end
  end
end

function ao.clearOutbox() ao.outbox = empty() end

function ao.log(text)
  if type(ao.outbox.Output) == "string" then ao.outbox.Output = { ao.outbox.Output } end
  table.insert(ao.outbox.Output, text)
end

local sort = table.sort
local function text_before(a, b) return tostring(a) < tostring(b) end

-- Names by their text; comparing texts needs no function of ours.
local function arrange(names)
  for place = 1, #names do
    if type(names[place]) ~= "string" then return sort(names, text_before) end
  end
  sort(names)
end

-- Fields and tags of a draft, behind `tags`; fields by name, so that the order is no accident.
local function add_tags(tags, draft)
  local names = {}
  for name in pairs(draft) do
    if not not_tags[name] then names[#names + 1] = name end
  end
  arrange(names)
  for _, name in ipairs(names) do tags[#tags + 1] = { name = name, value = draft[name] } end
  if not draft.Tags then return end
  if utils.isArray(draft.Tags) then
    for _, tag in ipairs(draft.Tags) do tags[#tags + 1] = tag end
    return
  end
  names = utils.keys(draft.Tags)
  arrange(names)
  for _, name in ipairs(names) do tags[#tags + 1] = { name = name, value = draft.Tags[name] } end
end

local function next_reference()
  ao.reference = ao.reference + 1
  return tostring(ao.reference), ("%032d"):format(ao.reference)
end

local function as_text(draft)
  if type(draft.Data) == "table" then
    draft["Content-Type"] = "application/json"
    draft.Data = json.encode(draft.Data)
  end
end

local function added(list, entry)
  local sent = {}
  for key, value in pairs(entry) do sent[key] = value end
  list[#list + 1] = sent
end

function ao.send(msg)
  if type(msg) ~= "table" then error("ao.send: a message is a table", 2) end
  as_text(msg)
  local reference, anchor = next_reference()
  local message = {
    Target = msg.Target, Data = msg.Data, Anchor = anchor,
    Tags = {
      { name = "Data-Protocol", value = "ao" }, { name = "Variant", value = "ao.TN.1" },
      { name = "Type", value = "Message" }, { name = "Reference", value = reference },
    },
  }
  add_tags(message.Tags, msg)
  added(ao.outbox.Messages, message)
  function message.onReply(...)
    local from, resolver = message.Target, ...
    if select("#", ...) == 2 then from, resolver = ... end
    Handlers.once({ From = from, ["X-Reference"] = reference }, resolver)
  end
  function message.receive(...)
    local from = message.Target
    if select("#", ...) == 1 then from = ... end
    return Handlers.receive({ From = from, ["X-Reference"] = reference })
  end
  return message
end

function ao.spawn(module, msg)
  if type(module) ~= "string" then error("ao.spawn: the id of a module is missing", 2) end
  if type(msg) ~= "table" then error("ao.spawn: a message is a table", 2) end
  as_text(msg)
  local reference, anchor = next_reference()
  local spawn = {
    Data = msg.Data or "NODATA", Anchor = anchor,
    Tags = {
      { name = "Data-Protocol", value = "ao" }, { name = "Variant", value = "ao.TN.1" },
      { name = "Type", value = "Process" }, { name = "From-Process", value = ao.id },
      { name = "From-Module", value = ao._module }, { name = "Module", value = module },
      { name = "Reference", value = reference },
    },
  }
  add_tags(spawn.Tags, msg)
  added(ao.outbox.Spawns, spawn)
  local done = { Action = "Spawned", From = ao.id, Reference = reference }
  function spawn.onReply(callback) Handlers.once(done, callback) end
  spawn.after = spawn.onReply
  function spawn.receive() return Handlers.receive(done) end
  return spawn
end

-- What is wrong with an assignment, if anything is.
function ao.whyNotAssigned(assignment)
  if type(assignment) ~= "table" then return "an assignment is a table" end
  if type(assignment.Processes) ~= "table" then return "Processes is a list of ids" end
  if type(assignment.Message) ~= "string" then return "Message is an id" end
end

function ao.assign(assignment)
  local problem = ao.whyNotAssigned(assignment)
  if problem then error("ao.assign: " .. problem, 2) end
  table.insert(ao.outbox.Assignments, assignment)
end

-- By the signer alone: the name under `From` is a claim unless the node proved it, and what it
-- proved has From = Owner.
function ao.isTrusted(msg)
  return utils.includes(msg.Owner, ao.authorities)
end

function ao.result(result)
  if ao.outbox.Error or result.Error then return { Error = result.Error or ao.outbox.Error } end
  local outbox = ao.outbox
  return {
    Output = result.Output or outbox.Output, Messages = outbox.Messages, Spawns = outbox.Spawns,
    Assignments = outbox.Assignments,
  }
end

local function index_of(name)
  for index, one in ipairs(ao.assignables) do
    if one.name == name then return index end
  end
end

function ao.addAssignable(...)
  local name, spec = ...
  if select("#", ...) == 1 then
    name, spec = nil, name
  elseif type(name) ~= "string" then
    error("ao.addAssignable: a name is text", 2)
  end
  local index = name and index_of(name)
  if index then
    ao.assignables[index].pattern = spec
  else
    table.insert(ao.assignables, { name = name, pattern = spec })
  end
end

function ao.removeAssignable(name)
  local index = type(name) == "string" and index_of(name) or name
  if type(name) ~= "string" and type(name) ~= "number" then
    error("ao.removeAssignable: give a name or a place in the list", 2)
  end
  if math.type(index) and ao.assignables[index] then table.remove(ao.assignables, index) end
end

function ao.isAssignment(msg) return msg.Target ~= ao.id end

function ao.isAssignable(msg)
  for _, one in ipairs(ao.assignables) do
    if utils.matchesSpec(msg, one.pattern) then return true end
  end
  return false
end

return ao
