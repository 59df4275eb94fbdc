-- Tables as people read them. Keys in one order for all: numbers, then texts by their bytes.
local stringify = { _version = "0.1.0" }

local red, green, blue, reset = "\27[31m", "\27[32m", "\27[34m", "\27[0m"

local function sorted(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if math.type(a) and math.type(b) then return a < b end
    if math.type(a) or math.type(b) then return math.type(a) ~= nil end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function leaf(value)
  if type(value) == "string" then return green .. '"' .. value .. '"' .. reset end
  return blue .. tostring(value) .. reset
end

function stringify.isSimpleArray(t)
  local count = 0
  for key, value in pairs(t) do
    count = count + 1
    if math.type(key) ~= "integer" or (type(value) ~= "number" and type(value) ~= "string") then return false end
  end
  return count == #t
end

function stringify.format(t, indent, seen)
  indent, seen = indent or 0, seen or {}
  if seen[t] then return "<circular reference>" end
  local parts, keys = {}, sorted(t)
  if stringify.isSimpleArray(t) then
    for index, value in ipairs(t) do parts[index] = leaf(value) end
    return "{ " .. table.concat(parts, ", ") .. " }"
  end
  seen[t] = true
  local room, array = (" "):rep(indent + 2), #keys == #t
  for _, key in ipairs(keys) do
    local value = t[key]
    local text = type(value) == "table" and stringify.format(value, indent + 2, seen) or leaf(value)
    parts[#parts + 1] = room .. (array and "" or red .. tostring(key) .. reset .. " = ") .. text
  end
  seen[t] = nil
  local close = "\n" .. (" "):rep(indent)
  if array then return "{\n" .. table.concat(parts, ",\n") .. close .. " }" end
  return "{\n " .. table.concat(parts, ",\n ") .. close .. "}"
end

return stringify
