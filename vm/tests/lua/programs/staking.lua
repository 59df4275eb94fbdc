-- Stakes that are given back some blocks after they were asked for.
local bint = require(".bint")(256)
Stakes, Leaving, Delay = Stakes or {}, Leaving or {}, 3

local function add(book, who, amount) book[who] = tostring(bint(book[who] or 0) + amount) end

Handlers.add("Stake", { Action = "Stake", Quantity = "^%d+$" }, function(msg)
  add(Stakes, msg.From, bint(msg.Quantity))
  msg.reply({ Data = Stakes[msg.From] })
end)
Handlers.add("Unstake", { Action = "Unstake", Quantity = "_" }, function(msg)
  local amount = bint.tobint(msg.Quantity)
  assert(amount and bint.ispos(amount), "what amount?")
  assert(amount <= bint(Stakes[msg.From] or 0), "not so much is staked")
  add(Stakes, msg.From, -amount)
  table.insert(Leaving, { who = msg.From, amount = tostring(amount), at = msg["Block-Height"] + Delay })
  msg.reply({ Data = "at " .. msg["Block-Height"] + Delay })
end)
Handlers.prepend("Release", function() return "continue" end, function(msg)
  local kept = {}
  for _, one in ipairs(Leaving) do
    if one.at <= msg["Block-Height"] then
      Send({ Target = one.who, Action = "Released", Quantity = one.amount })
    else
      table.insert(kept, one)
    end
  end
  Leaving = kept
end)
