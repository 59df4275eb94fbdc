-- Patterns of messages, and small helpers that programs know from aos.
local utils = { _version = "0.1.0" }

local lower, match, find = string.lower, string.match, string.find

-- Whether one value is what a pattern asks for: `_` anything, a function's word, any of a list,
-- a Lua pattern if it has magic characters, else the same text in any case.
local function value_matches(pattern, value, msg)
  if not pattern then return false end
  if pattern == "_" then return true end
  local kind = type(pattern)
  if kind == "function" then return pattern(value, msg) and true or false end
  if kind == "string" then
    local text = lower(value or "")
    if find(pattern, "[%^%$%(%)%%%.%[%]%*%+%?]") then return match(text, lower(pattern)) ~= nil end
    return text == lower(pattern)
  end
  if kind == "table" then
    for _, one in pairs(pattern) do
      if value_matches(one, value, msg) then return true end
    end
  end
  return false
end
utils.matchesPattern = value_matches

-- What the node says of a message. A tag of such a name is the sender's word, and no pattern takes the one
-- for the other.
local said_by_node = {}
for name in ("From Owner Target Id Data Anchor Signature Timestamp Block-Height Nonce Epoch Hash-Chain Cron "
  .. "Forwarded-By Read-Only Tags TagArray reply forward"):gmatch("%S+") do
  said_by_node[name] = true
end

function utils.matchesSpec(msg, spec)
  local kind = type(spec)
  if kind == "function" then return spec(msg) end
  if kind == "string" then return msg.Action ~= nil and msg.Action == spec end
  if kind ~= "table" then return false end
  local tags = msg.Tags
  for key, pattern in pairs(spec) do
    local value, tag = msg[key], tags and not said_by_node[key] and tags[key]
    -- Only what is there is asked for: a pattern may be one that nothing at all satisfies.
    if not (value and value_matches(pattern, value, msg)) and not (tag and value_matches(pattern, tag, msg)) then
      return false
    end
  end
  return true
end

-- `some_name` as `Some-Name`, as aos writes the names of tags.
utils.normalize = require(".codec").title

function utils.capitalize(text)
  if type(text) ~= "string" or text == "" then return text end
  return text:sub(1, 1):upper() .. text:sub(2):lower()
end

local function curry(fn, arity)
  arity = arity or 2
  if arity < 2 then return fn end
  return function(...)
    local args, count = { ... }, select("#", ...)
    if count >= arity then return fn(...) end
    return curry(function(...)
      local all = table.move({ ... }, 1, select("#", ...), #args + 1, { table.unpack(args) })
      return fn(table.unpack(all))
    end, arity - count)
  end
end
utils.curry = curry

local function is_array(t)
  if type(t) ~= "table" then return false end
  local count = 0
  for key in pairs(t) do
    if math.type(key) ~= "integer" or key < 1 then return false end
    count = math.max(count, key)
  end
  return count == #t
end
utils.isArray = is_array

local function needs(condition, text) if not condition then error(text, 3) end end

utils.concat = curry(function(a, b)
  needs(is_array(a) and is_array(b), "concat: both must be arrays")
  return table.move(b, 1, #b, #a + 1, table.move(a, 1, #a, 1, {}))
end, 2)
utils.reduce = curry(function(fn, value, t)
  needs(type(fn) == "function" and is_array(t), "reduce: a function, a value and an array")
  for index, item in ipairs(t) do
    if value == nil then value = item else value = fn(value, item, index) end
  end
  return value
end, 3)
utils.map = curry(function(fn, t)
  needs(type(fn) == "function" and is_array(t), "map: a function and an array")
  local out = {}
  for index, item in ipairs(t) do out[index] = fn(item, index) end
  return out
end, 2)
utils.filter = curry(function(fn, t)
  needs(type(fn) == "function" and is_array(t), "filter: a function and an array")
  local out = {}
  for _, item in ipairs(t) do
    if fn(item) then out[#out + 1] = item end
  end
  return out
end, 2)
utils.find = curry(function(fn, t)
  needs(type(fn) == "function" and type(t) == "table", "find: a function and a table")
  for _, item in pairs(t) do
    if fn(item) then return item end
  end
end, 2)
utils.propEq = curry(function(name, value, object) return object[name] == value end, 3)
utils.prop = curry(function(name, object) return object[name] end, 2)
utils.includes = curry(function(value, t)
  for _, item in ipairs(t) do
    if item == value then return true end
  end
  return false
end, 2)
function utils.reverse(t)
  local out = {}
  for index = #t, 1, -1 do out[#out + 1] = t[index] end
  return out
end
function utils.compose(...)
  local steps = { ... }
  return function(value)
    for index = #steps, 1, -1 do value = steps[index](value) end
    return value
  end
end
function utils.keys(t)
  local out = {}
  for key in pairs(t) do out[#out + 1] = key end
  return out
end
function utils.values(t)
  local out = {}
  for _, value in pairs(t) do out[#out + 1] = value end
  return out
end

return utils
