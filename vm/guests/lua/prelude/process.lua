-- One message: who may speak, which handlers run, what comes out.
local json = require("json")
local stringify = require(".stringify")
local clock = require(".clock")
local views = require(".views")
local drive = require(".drive")

local VERSION = "0.1.0"
-- Messages that the inbox keeps; the oldest go first.
local INBOX_MAX = 10000
-- The action of a dry run that reads state.
local READ = "Weft-Read"

local find = string.find
local handlers, colors, ao = Handlers, Colors, ao
local printed = {}
-- Lines for which there is room from message to message.
local LINES_KEPT = 16

-- The first of each name counts.
function Tab(msg)
  local tags = {}
  for _, tag in ipairs(msg.Tags) do
    if tags[tag.name] == nil then tags[tag.name] = tag.value end
  end
  return tags
end

function Prompt()
  local c = colors
  return c.green .. tostring(Name) .. c.gray .. "@" .. c.blue .. "lua-" .. VERSION .. c.gray .. "[Inbox:" .. c.red
    .. #Inbox .. c.gray .. "]" .. c.reset .. "> "
end

local paints = { boolean = "blue", ["nil"] = "red", number = "green" }

local function shown(value)
  local kind = type(value)
  if kind == "table" and not (getmetatable(value) or {}).__tostring then return stringify.format(value) end
  local paint = paints[kind]
  return paint and colors[paint] .. tostring(value) .. colors.reset or tostring(value)
end

function print(...)
  local parts = table.pack(...)
  if parts.n == 0 then parts = { "", n = 1 } end
  for place = 1, parts.n do parts[place] = shown(parts[place]) end
  printed[#printed + 1] = table.concat(parts, "\t", 1, parts.n)
end

function Send(msg)
  if type(msg) ~= "table" then error("Send: a message is a table", 2) end
  if not msg.Target then
    print("This message has no Target: it is kept on the weave, and no process gets it.")
  end
  local sent = ao.send(msg)
  return { output = "The message is in the outbox.", receive = sent.receive, onReply = sent.onReply }
end

-- `Spawn(tags)` starts another process of this one's module.
function Spawn(...)
  local module, msg = ...
  if select("#", ...) == 1 then module, msg = ao._module, module end
  if type(module) ~= "string" then error("Spawn: the id of a module is missing", 2) end
  if msg ~= nil and type(msg) ~= "table" then error("Spawn: a message is a table", 2) end
  local spawned = ao.spawn(module, msg or {})
  return {
    output = "The spawn is in the outbox.", after = spawned.after, onReply = spawned.onReply,
    receive = spawned.receive,
  }
end

function Receive(pattern) return handlers.receive(pattern) end

function Assign(assignment)
  local problem = ao.whyNotAssigned(assignment)
  if problem then error("Assign: " .. problem, 2) end
  ao.assign(assignment)
  return "The assignment is in the outbox."
end

function Version() print("lua-" .. VERSION) end

-- What an expression is handed to: as the last call of `return`, its errors would lose their line.
local function pass(...) return ... end

-- An expression first, so that `1 + 1` needs no return.
local function eval(msg)
  local text = msg.Data
  if type(text) == "table" then text = json.encode(text) end
  text = text or ""
  local run, problem
  -- What begins so is none.
  if not find(text, "^%s*return%f[^%w_]") then
    run = load("local pass = ... return pass(" .. text .. "\n)", "=eval", "t")
  end
  if not run then run, problem = load(text, "=eval", "t") end
  if not run then error(problem, 0) end
  local value, failure = run(pass)
  if value == nil and failure ~= nil then error(failure, 0) end
  if value == nil then return end
  printed[#printed + 1] = type(value) == "table" and stringify.format(value) or tostring(value)
end

local function boot(msg)
  if #Inbox == 0 then Inbox[1] = msg end
  local source = msg.Tags["On-Boot"]
  if source == "Data" then
    eval(msg)
  elseif source then
    local data, problem = drive.getData(source)
    if not data then error("On-Boot: " .. problem, 0) end
    eval({ Data = data })
  end
end

local function shortened(text)
  return #text > 20 and text:sub(1, 20) .. "..." or text
end

local function keep(msg)
  Inbox[#Inbox + 1] = msg
  if #Inbox > INBOX_MAX then table.remove(Inbox, 1) end
  local c, from, what = colors, msg.From or "nobody", nil
  if msg.Action then
    what = "Action " .. c.blue .. shortened(msg.Action)
  else
    local data = msg.Data
    if type(data) == "table" then data = json.encode(data) end
    what = "Data " .. c.blue .. shortened(data or "")
  end
  print(c.gray .. "Message from " .. c.green .. from:sub(1, 3) .. "..." .. from:sub(-3) .. c.gray .. ": " .. what
    .. c.reset)
end

local function start(env)
  ao.init(env)
  env.Process.TagArray = env.Process.Tags
  env.Process.Tags = Tab(env.Process)
end

local function add_answers(msg)
  function msg.reply(draft)
    if type(draft) ~= "table" then error("reply: a message is a table", 2) end
    draft.Target = msg["Reply-To"] or draft.Target or msg.From
    draft["X-Reference"] = msg["X-Reference"] or msg.Reference
    draft["X-Origin"] = msg["X-Origin"]
    return ao.send(draft)
  end
  function msg.forward(target, draft)
    local copy = ao.sanitize(msg)
    for key, value in pairs(draft or {}) do copy[key] = value end
    copy.Target = target
    copy["Reply-To"] = msg["Reply-To"] or msg.From
    copy["X-Reference"] = msg["X-Reference"] or msg.Reference
    copy["X-Origin"] = msg["X-Origin"] or msg.From
    copy.reply, copy.forward = nil, nil
    ao.send(copy)
  end
end

local function prepare(msg)
  local process = ao.env.Process
  -- The owner is set once: by the process's own item. The node proved whom that is from.
  if process.Id == msg.Id and not Owner then Owner = msg.From end
  Name = Name or process.Tags.Name or "lua"
  clock.set(msg)
  for _, tag in ipairs(msg.Tags) do tag.name = Utils.normalize(tag.name) end
  ao.normalize(msg)
  msg.TagArray = msg.Tags
  msg.Tags = Tab(msg)
  if msg.Tags["Content-Type"] == "application/json" then msg.Data = json.decode(msg.Data or "{}") end
  add_answers(msg)
end

local function is_eval(msg) return msg.Action == "Eval" and Owner == msg.From end
local function is_birth(msg) return msg.Tags.Type == "Process" and Owner == msg.From end
local function is_any() return true end

-- Puts a handler of the runtime where it belongs, whatever a program did to it.
local function stand(name, pattern, handle)
  for _, handler in ipairs(handlers.list) do
    if handler.name == name then
      handler.pattern, handler.handle, handler.maxRuns = pattern, handle, nil
      return
    end
  end
  table.insert(handlers.list, { name = name, pattern = pattern, handle = handle })
end

local function arm(msg)
  stand("_eval", is_eval, eval)
  if ao.env.Process.Id == msg.Id then handlers.once("_boot", is_birth, boot) end
  stand("_default", is_any, keep)
end

-- An error is text: a table as JSON, anything else by its kind, never an address.
local function error_text(problem)
  if type(problem) == "string" or type(problem) == "number" then return tostring(problem) end
  local sound, text = pcall(json.encode, problem)
  return sound and text or "an error that is a " .. type(problem)
end

-- Handlers that wait stay; those that ended go.
local function run(msg)
  local thread = coroutine.create(function() return pcall(handlers.evaluate, msg, ao.env) end)
  local _, sound, problem = coroutine.resume(thread)
  local waits = coroutine.status(thread) ~= "dead"
  if waits or #handlers.coroutines > 0 then
    local waiting = {}
    for _, one in ipairs(handlers.coroutines) do
      if coroutine.status(one) ~= "dead" then waiting[#waiting + 1] = one end
    end
    if waits then waiting[#waiting + 1] = thread end
    handlers.coroutines = waiting
  end
  return sound or waits, problem
end

local function output(msg)
  local out = { data = table.concat(printed, "\n"), prompt = Prompt() }
  if msg.Action ~= "Eval" then out.print = true end
  return out
end

local function refused(msg, what)
  print(what .. " is not trusted: it is from " .. msg.From .. ", and " .. msg.Owner .. " signed it")
  return ao.result({ Output = output(msg) })
end

local function failed(msg, problem)
  local text, c = error_text(problem), colors
  if msg.Action ~= "Eval" then
    print(c.red .. "The message" .. (msg.Action and " with Action " .. msg.Action or "") .. " failed." .. c.reset)
  end
  printed[#printed + 1] = c.red .. "error: " .. c.reset .. text
  return { Error = table.concat(printed, "\n") }
end

local function read_state(msg)
  local sound, value = pcall(views.read, msg.Path, msg)
  if not sound then return { Error = error_text(value) } end
  return { Output = { data = json.encode(value) } }
end

-- Garbage is collected after each message: what is still held then is kept for one message more.
local function forget()
  if #printed > LINES_KEPT then printed = {} end
  for place = #printed, 1, -1 do printed[place] = nil end
  ao.outbox = nil
  clock.forget()
end

local function take(msg, env)
  forget()
  if env then start(env) end
  ao.clearOutbox()
  prepare(msg)
  if msg["Read-Only"] and msg.Action == READ then return read_state(msg) end
  if msg.From ~= msg.Owner and not ao.isTrusted(msg) then return refused(msg, "The message") end
  if ao.isAssignment(msg) and not ao.isAssignable(msg) then
    if msg.From ~= ao.id then
      -- The words are the protocol's.
      ao.send({ Target = msg.From, Data = "Assignment is not trusted by this process!" })
    end
    return refused(msg, "The assignment")
  end
  arm(msg)
  local sound, problem = run(msg)
  if not sound then return failed(msg, problem) end
  ao.Nonce = msg.Nonce
  return ao.result({ Output = output(msg) })
end

return function(msg, env)
  local result = take(msg, env)
  forget()
  return result
end
