-- Runs once, before the first message: makes the globals that programs see, and gives the function
-- that takes each message. What a program could use to see the machine, or to leave Lua, goes.
local chunk, loaded, traceback = ...

local load_any, select, type = load, select, type
-- Text alone: the virtual machine trusts compiled code.
function load(source, name, _, ...)
  if select("#", ...) == 0 then return load_any(source, name, "t") end
  return load_any(source, name, "t", ...)
end
loadfile, dofile, string.dump = nil, nil, nil

-- The collector runs as the state of memory says; a program neither stops nor tunes it.
function collectgarbage() return 0 end

debug = {
  traceback = function(text)
    if text ~= nil and type(text) ~= "string" then return text end
    return (text and text .. "\n" or "") .. traceback(2)
  end,
}
package = { loaded = loaded }

local aliases = { ao = ".ao", [".json"] = "json" }

-- One name for all ways to write it: a chunk that ran twice would take the runtime apart.
local function normal(name)
  if name:sub(1, 1) == "." then name = "." .. name:sub(2):gsub("%.", "-"):gsub("%-init$", "") end
  return aliases[name] or name
end

-- Only what comes with the runtime: there are no files.
function require(given)
  if type(given) ~= "string" then error("require: the name is a string", 2) end
  local name = normal(given)
  -- What a program put there itself goes by the name that it gave it.
  local known = loaded[given]
  if known == nil then known = loaded[name] end
  if known ~= nil then return known end
  local make = name:sub(1, 1) == "." and name ~= ".boot" and chunk(name:sub(2))
  if not make then error("module '" .. given .. "' not found", 2) end
  known = make(name)
  if known == nil then known = true end
  loaded[name] = known
  return known
end

Colors = { red = "\27[31m", green = "\27[32m", blue = "\27[34m", reset = "\27[0m", gray = "\27[90m" }
Bell = "\7"
ao = require(".ao")
Utils = require(".utils")
Handlers = require(".handlers")
Handlers.utils = require(".handlers-utils")
Views = require(".views")
-- Made when it is first asked for: most programs never do.
function Dump(...) return require(".dump")(...) end
Inbox, Errors = {}, {}
local take = require(".process")
Views.conceal(_G)
return take
