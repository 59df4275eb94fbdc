-- The list of handlers: which run for a message, in which order, how often.
local utils = require(".utils")

local handlers = { _version = "0.1.0", list = {}, coroutines = {}, onceNonce = 0 }

local function place_of(name)
  for place, handler in ipairs(handlers.list) do
    if handler.name == name then return place end
  end
end

local kinds = { ["function"] = true, table = true, string = true }

-- A table of functions by pattern is a handler that runs the first that matches.
function handlers.generateResolver(resolver)
  if type(resolver) == "function" then return function(msg, env) return resolver(msg, env) end end
  return function(msg)
    for spec, run in pairs(resolver) do
      if utils.matchesSpec(msg, spec) then return run(msg) end
    end
  end
end

-- (name, handle), (name, pattern, handle) or (name, pattern, handle, runs).
local function read(...)
  local name, pattern, handle, runs = ...
  if select("#", ...) == 2 then pattern, handle = name, pattern end
  if type(name) ~= "string" then error("a handler begins with its name", 3) end
  if not kinds[type(pattern)] then
    error("the pattern of handler '" .. name .. "' is an action, a table of fields, or a function of a message", 3)
  end
  if type(handle) ~= "function" and type(handle) ~= "table" then
    error("handler '" .. name .. "' has no function", 3)
  end
  return { name = name, pattern = pattern, handle = handlers.generateResolver(handle), maxRuns = runs }
end

-- One of the same name keeps its place.
local function replaced(handler)
  local place = place_of(handler.name)
  if not place then return false end
  local known = handlers.list[place]
  known.pattern, known.handle, known.maxRuns = handler.pattern, handler.handle, handler.maxRuns
  return true
end

function handlers.add(...)
  local handler = read(...)
  if not replaced(handler) then table.insert(handlers.list, handler) end
  return #handlers.list
end

function handlers.append(...)
  local handler = read(...)
  if not replaced(handler) then table.insert(handlers.list, handler) end
end

function handlers.prepend(...)
  local handler = read(...)
  if not replaced(handler) then table.insert(handlers.list, 1, handler) end
end

function handlers.once(...)
  local name, pattern, handle = ...
  if select("#", ...) < 3 then
    name, pattern, handle = "_once_" .. handlers.onceNonce, name, pattern
    handlers.onceNonce = handlers.onceNonce + 1
  end
  local handler = read(name, pattern, handle, 1)
  if not replaced(handler) then table.insert(handlers.list, 1, handler) end
end

local function beside(name, offset)
  if type(name) ~= "string" then error("give the name of a handler", 3) end
  return {
    add = function(...)
      local handler, place = read(...), place_of(name)
      if place then table.insert(handlers.list, place + offset, handler) end
    end,
  }
end
function handlers.before(name) return beside(name, 0) end
function handlers.after(name) return beside(name, 1) end

function handlers.remove(name)
  if type(name) ~= "string" then error("give the name of a handler", 2) end
  local place = place_of(name)
  if place then table.remove(handlers.list, place).removed = true end
end

-- Pauses the handler until a message matches.
function handlers.receive(pattern)
  local waiting = coroutine.running()
  handlers.once(pattern, function(msg)
    local resumed, sound, problem = coroutine.resume(waiting, msg)
    if not resumed then error(sound, 0) end
    if sound == false then error(problem, 0) end
  end)
  return coroutine.yield(pattern)
end

local words = { [true] = -1, [false] = 0, continue = 1, ["break"] = -1 }

-- Below 0: run and stop; 0: skip; above: run and go on.
local function verdict(msg, handler)
  local found = utils.matchesSpec(msg, handler.pattern)
  local kind = type(found)
  if kind == "number" then return found end
  if kind == "boolean" or kind == "string" then return words[found] or 0 end
  error("the pattern of handler '" .. tostring(handler.name) .. "' gave a " .. kind
    .. ": it gives true, false, a number, \"continue\", \"break\" or \"skip\"", 0)
end

local function count_run(handler)
  local runs = handler.maxRuns
  if runs == nil or runs == "inf" then return end
  handler.maxRuns = runs - 1
  if runs <= 1 then handlers.remove(handler.name) end
end

-- Runs the handlers that a message is for; `_default` takes what no other one ended with. Handlers add and
-- remove others: a copy of the list is gone through, and new ones wait for the next message.
function handlers.evaluate(msg, env)
  local list = handlers.list
  for _, handler in ipairs(table.move(list, 1, #list, 1, {})) do
    if handler.name ~= "_default" and not handler.removed then
      local found = verdict(msg, handler)
      if found ~= 0 then
        handler.handle(msg, env)
        count_run(handler)
      end
      if found < 0 then return true end
    end
  end
  local default = place_of("_default")
  if default then handlers.list[default].handle(msg, env) end
end

return handlers
