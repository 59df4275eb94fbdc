-- Makers of patterns and of handlers.
local utils = require(".utils")

local made = { _version = "0.1.0" }

function made.hasMatchingTag(name, value)
  if type(name) ~= "string" or type(value) ~= "string" then error("hasMatchingTag: a name and a value", 2) end
  return function(msg) return msg.Tags[name] == value end
end

function made.hasMatchingTagOf(name, values)
  if type(name) ~= "string" or type(values) ~= "table" then error("hasMatchingTagOf: a name and values", 2) end
  return function(msg)
    for _, value in ipairs(values) do
      if msg.Tags[name] == value then return true end
    end
    return false
  end
end

function made.hasMatchingData(value)
  if type(value) ~= "string" then error("hasMatchingData: a text", 2) end
  return function(msg) return msg.Data == value end
end

function made.reply(input)
  if type(input) ~= "string" and type(input) ~= "table" then error("reply: a text or a message", 2) end
  return function(msg)
    -- A copy, for the reply gets a target and a reference.
    local draft = {}
    if type(input) == "string" then
      draft.Data = input
    else
      for key, value in pairs(input) do draft[key] = value end
    end
    msg.reply(draft)
  end
end

-- The same pattern, after which other handlers run too.
function made.continue(pattern)
  return function(msg)
    local found = utils.matchesSpec(msg, pattern)
    if not found or found == 0 or found == "skip" then return found end
    return 1
  end
end

return made
