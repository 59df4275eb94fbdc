-- What the simulator's Lua processes run: the counter's verbs, with time, chance and the order of tables in
-- what they keep and send.
Count, Seen = Count or 0, Seen or {}
local program, own = Inbox[1].Data, ao.env.Process.Tags

Handlers.add("Increment", "Increment", function(msg)
  Count = Count + 1
  Seen["k" .. math.random(20)] = msg.From .. os.time()
end)

Handlers.add("Relay", { Action = "Relay", To = "_" }, function(msg)
  Send({ Target = msg.To, Action = "Increment", Data = table.concat(Utils.keys(Seen), " ") })
end)

Handlers.add("Fail", "Fail", function()
  Count, Seen = 0, {}
  error("on purpose")
end)

Handlers.add("Spawn", { Action = "Spawn", Module = "_" }, function(msg)
  local wishes = { Data = program, ["On-Boot"] = "Data", Grandchild = msg.Tags["Child-Action"] }
  for _, name in ipairs({ "Scheduler", "Compute", "Compute-Quorum" }) do wishes[name] = msg.Tags[name] end
  Spawn(msg.Tags.Module, wishes)
end)

if own.Grandchild then Spawn(own.Module, { Data = program, ["On-Boot"] = "Data" }) end
