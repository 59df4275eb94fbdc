-- Everybody who registered hears what is said.
Members = Members or {}

Handlers.add("Register", "Register", function(msg)
  if Utils.includes(msg.From, Members) then return msg.reply({ Data = "already here" }) end
  table.insert(Members, msg.From)
  msg.reply({ Data = "welcome, number " .. #Members })
end)
Handlers.add("Leave", { Action = "leave" }, function(msg)
  Members = Utils.filter(function(one) return one ~= msg.From end, Members)
  msg.reply({ Data = #Members .. " left" })
end)
Handlers.prepend("Count", function(msg) return msg.Action == "Broadcast" and "continue" or false end, function()
  Said = (Said or 0) + 1
end)
Handlers.add("Broadcast", { Action = "Broadcast", From = function(from) return Utils.includes(from, Members) end },
  function(msg)
    for place, member in ipairs(Members) do
      Send({ Target = member, Action = "Said", Place = tostring(place), Number = tostring(Said), Data = msg.Data })
    end
  end)
Handlers.once("Farewell", { Action = "Close" }, function(msg)
  Utils.map(function(member) Send({ Target = member, Data = "closed by " .. msg.From }) end, Members)
  Members = {}
end)
