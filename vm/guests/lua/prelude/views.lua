-- Reading a process without a message: what a program offers by name, and every global by path.
-- Nothing that a reader asks for is kept.
local views = { _version = "0.1.0" }

-- Views by name, and the globals that came with the runtime.
local known, ours = {}, {}
-- Values within values, and pieces in all, that one answer shows.
local DEPTH_MAX, PIECES_MAX = 32, 100000

-- `Views.add(name, function(arguments) ... end)`: what it returns answers the path `name`.
function views.add(name, view)
  if type(name) ~= "string" or name == "" or name:find("%.") then
    error("Views.add: the name is a word without dots", 2)
  end
  if type(view) ~= "function" then error("Views.add: the view is a function", 2) end
  known[name] = view
end

function views.remove(name) known[name] = nil end

function views.list()
  local names = {}
  for name in pairs(known) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- Globals that stand there now are not a program's state.
function views.conceal(globals)
  for name in pairs(globals) do ours[name] = true end
  ours.Owner, ours.Name = nil, nil
end

local function key_text(key)
  return type(key) == "number" and tostring(key) or type(key) == "string" and key or nil
end

-- A value as JSON can have it: functions and threads go, what goes too deep or in circles is named.
local function plain(value, state, depth)
  state.pieces = state.pieces + 1
  if state.pieces > PIECES_MAX then error("this is too much for one answer: give a longer path", 0) end
  local kind = type(value)
  if kind == "number" and (value ~= value or value == math.huge or value == -math.huge) then return tostring(value) end
  if kind == "userdata" then return tostring(value) end
  if kind == "function" or kind == "thread" then return nil end
  if kind ~= "table" then return value end
  if state.open[value] then return "(a circle)" end
  if depth > DEPTH_MAX then return "(too deep)" end
  state.open[value] = true
  local out, length = {}, #value
  local count = 0
  for _ in next, value do count = count + 1 end
  for key, item in next, value do
    local name = count == length and key or key_text(key)
    if name ~= nil then out[name] = plain(item, state, depth + 1) end
  end
  -- An element that cannot be shown would leave a hole.
  if count == length then
    for index = 1, length do
      if out[index] == nil then out[index] = "(a " .. type(value[index]) .. ")" end
    end
  end
  state.open[value] = nil
  return out
end

local function shown(value) return plain(value, { open = {}, pieces = 0 }, 0) end

local function globals()
  local out = {}
  for name, value in next, _G do
    if not ours[name] and type(name) == "string" and type(value) ~= "function" then out[name] = value end
  end
  return out
end

local function overview()
  local kinds = {}
  for name, value in next, globals() do
    local kind = type(value)
    if kind == "table" then
      local count = 0
      for _ in next, value do count = count + 1 end
      kind = "table of " .. count
    elseif kind ~= "userdata" and #tostring(value) <= 64 then
      kind = value
    end
    kinds[name] = kind
  end
  return { globals = kinds, views = views.list() }
end

local function step(value, word)
  if type(value) ~= "table" then return nil end
  local found = rawget(value, word)
  if found == nil and math.tointeger(tonumber(word)) then found = rawget(value, math.tointeger(tonumber(word))) end
  return found
end

-- The answer to a path: nothing gives an overview, `*` all globals, a view's name the view, and
-- names between dots what stands there.
function views.read(path, arguments)
  if path == nil or path == "" then return overview() end
  if path == "*" then return shown(globals()) end
  local first, rest = path:match("^([^.]+)%.?(.*)$")
  if not first then error("there is nothing at '" .. path .. "'", 0) end
  local value
  if known[first] then
    value = known[first](arguments)
  else
    value = rawget(_G, first)
    if ours[first] then value = nil end
  end
  for word in rest:gmatch("[^.]+") do value = step(value, word) end
  local kind = type(value)
  if kind == "nil" or kind == "function" or kind == "thread" then
    error("there is nothing at '" .. path .. "'", 0)
  end
  return shown(value)
end

return views
