-- `.dump`: a value as Lua text, with the keys of tables in order: numbers, then the rest by kind.
local reserved = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true "
  .. "until while"):gmatch("%a+") do
  reserved[word] = true
end

-- How many spaces, by name. Text is no number here, though `math.tointeger` reads it.
local function spaces(name, count, default)
  if count == nil then count = default end
  local whole = math.type(count) and math.tointeger(count)
  if not whole or whole < 0 then error(name .. " is a whole number, not below zero", 3) end
  return (" "):rep(whole)
end

local write

-- A value that is a key, or stands behind one. What a filter marks as text already is left alone.
local function value_text(value, is_text, depth, margin, how)
  local kind = type(value)
  if kind == "number" or kind == "boolean" or kind == "string" and is_text then return tostring(value) end
  if kind == "table" and not is_text then return write(value, depth + 1, margin, how) end
  return ("%q"):format(tostring(value))
end

-- A key as text, and what it is sorted by.
local function key_text(key, is_text, depth, margin, how)
  local kind = type(key)
  if kind == "number" then return "[" .. tostring(key) .. "]", 1, key end
  if kind == "boolean" then return "[" .. tostring(key) .. "]", 2, key and 1 or 0 end
  if kind == "table" and not is_text then
    local text = "[" .. write(key, depth + 1, margin, how) .. "]"
    return text, 3, text
  end
  local text = tostring(key)
  if kind == "string" and text:match("^[%a_][%w_]*$") and not reserved[text] then return text, 3, text end
  text = ("[%q]"):format(text)
  return text, 3, text
end

function write(t, depth, margin, how)
  if how.within[t] then
    local other, is_text = how.filter(t, depth, "table", "circular", t, how.udata)
    if other ~= nil and other ~= t then return value_text(other, is_text, depth, margin, how) end
    return ('"<Circular %s>"'):format(tostring(t))
  end
  how.within[t] = true
  local inner, lines = margin .. how.indent, {}
  for key, value in pairs(t) do
    local shown_key, key_is_text = how.filter(key, depth, type(key), "key", nil, how.udata)
    local shown, is_text
    if shown_key ~= nil then shown, is_text = how.filter(value, depth, type(value), "val", shown_key, how.udata) end
    if shown ~= nil then
      local text, group, rank = key_text(shown_key, key_is_text, depth, inner, how)
      local line = inner .. text .. " = " .. value_text(shown, is_text, depth, inner, how)
      lines[#lines + 1] = { group = group, rank = rank, line = line }
    end
  end
  how.within[t] = nil
  if #lines == 0 then return "{}" end
  table.sort(lines, function(a, b)
    if a.group ~= b.group then return a.group < b.group end
    return a.rank < b.rank
  end)
  for place, entry in ipairs(lines) do lines[place] = entry.line end
  return "{" .. how.line .. table.concat(lines, "," .. how.line) .. how.line .. margin .. "}"
end

-- `filter(value, depth, type, use, key, udata)` gives what is written instead, or nothing to leave it out; `use` is
-- "key", "val" or "circular".
return function(value, indent, padding, filter, udata)
  local how = { indent = spaces("indent", indent, 4), within = {}, udata = udata }
  local margin = spaces("padding", padding, 0)
  how.line = how.indent == "" and " " or "\n"
  how.filter = filter or function(any) return any end
  if type(how.filter) ~= "function" then error("filter is a function", 2) end
  if type(value) == "table" then return write(value, 1, margin, how) end
  local shown, is_text = how.filter(value, 0, type(value), "val", nil, udata)
  return is_text and tostring(shown) or ("%q"):format(tostring(shown))
end
