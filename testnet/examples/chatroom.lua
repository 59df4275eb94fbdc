-- A chatroom: whoever joined hears what is said, and late comers get what was said last.
Members = Members or {}
History = History or {}
local HISTORY_MAX = 20

local function is_member(from) return Members[from] ~= nil end

Handlers.add("Join", "Join", function(msg)
  local known = is_member(msg.From)
  Members[msg.From] = { name = msg.Name or msg.From:sub(1, 6), since = msg.Timestamp }
  for _, said in ipairs(known and {} or History) do
    Send({ Target = msg.From, Action = "Said", By = said.by, Data = said.text })
  end
end)

Handlers.add("Leave", "Leave", function(msg) Members[msg.From] = nil end)

Handlers.add("Say", { Action = "Say", From = is_member }, function(msg)
  local said = { by = Members[msg.From].name, text = tostring(msg.Data):sub(1, 500) }
  table.insert(History, said)
  if #History > HISTORY_MAX then table.remove(History, 1) end
  local targets = Utils.keys(Members)
  -- In one order for everybody.
  table.sort(targets)
  for _, member in ipairs(targets) do
    Send({ Target = member, Action = "Said", By = said.by, Data = said.text })
  end
end)

Views.add("room", function()
  local names = {}
  for _, member in pairs(Members) do names[#names + 1] = member.name end
  table.sort(names)
  return { members = names, last = History[#History] }
end)
