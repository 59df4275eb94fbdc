-- A player of the arena: when it is its turn it strikes whoever is weakest.
local json = require('json')

Heard = Heard or {}

Handlers.add('Announcement', function (msg) return msg.Action == 'Announcement' and msg.From == Arena end, function (msg)
  Heard[#Heard + 1] = msg.Tags.Event
end)

Handlers.add('Your-Turn', function (msg) return msg.Action == 'Your-Turn' and msg.From == Arena end, function (msg)
  local weakest
  for account, player in pairs(json.decode(msg.Data)) do
    local is_target = account ~= ao.id and player.health > 0
    local is_weaker = not weakest or player.health < weakest.health
      or (player.health == weakest.health and account < weakest.account)
    if is_target and is_weaker then weakest = { account = account, health = player.health } end
  end
  Send({ Target = Arena, Action = 'Attack', Victim = weakest.account })
end)
