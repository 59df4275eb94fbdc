-- An arena: who pays the fee is in; when the round begins each player is told whose turn it is, and answers with a
-- blow. Who has no health left is out, and the last one standing is paid all fees.
local bint = require('.bint')(256)
local json = require('json')

Fee = Fee or '10'
State = State or 'waiting'
Players = Players or {}
Pot = Pot or '0'
Log = Log or {}

local function standing()
  local names = {}
  for account, player in pairs(Players) do
    if player.health > 0 then names[#names + 1] = account end
  end
  -- In one order for everybody.
  table.sort(names)
  return names
end

local function announce(event, text)
  Log[#Log + 1] = event
  local names = {}
  for account in pairs(Players) do names[#names + 1] = account end
  table.sort(names)
  for _, account in ipairs(names) do
    Send({ Target = account, Action = 'Announcement', Event = event, Data = text })
  end
end

local function next_turn()
  local names = standing()
  if #names <= 1 then
    State, Winner = 'over', names[1]
    announce('Over', tostring(Winner))
    Send({ Target = Token, Action = 'Transfer', Recipient = Winner, Quantity = Pot })
    return
  end
  Turn = (Turn or 0) + 1
  Current = names[(Turn - 1) % #names + 1]
  Send({ Target = Current, Action = 'Your-Turn', Turn = tostring(Turn), Data = json.encode(Players) })
end

Handlers.add('Set', function (msg) return msg.Action == 'Set' and msg.From == Council end, function (msg)
  assert(msg.Tags.Setting == 'Fee', 'only the fee can be set')
  Fee = tostring(bint(msg.Tags.Value))
end)

Handlers.add('Enter', function (msg)
  return msg.Action == 'Credit-Notice' and msg.From == Token and msg.Tags['X-Action'] == 'Enter'
end, function (msg)
  local player, paid = msg.Tags['X-Player'] or msg.Tags.Sender, bint(msg.Tags.Quantity)
  if State ~= 'waiting' or Players[player] or not bint.__eq(paid, bint(Fee)) then
    Send({ Target = Token, Action = 'Transfer', Recipient = msg.Tags.Sender, Quantity = msg.Tags.Quantity })
    return
  end
  Players[player] = { health = 100, strength = tonumber(msg.Tags['X-Strength'] or '25') }
  Pot = tostring(bint(Pot) + paid)
  announce('Joined', player)
end)

Handlers.add('Start', Handlers.utils.hasMatchingTag('Action', 'Start'), function (msg)
  assert(State == 'waiting' and #standing() > 1, 'two players at least')
  State = 'playing'
  announce('Started', tostring(#standing()))
  next_turn()
end)

Handlers.add('Attack', Handlers.utils.hasMatchingTag('Action', 'Attack'), function (msg)
  local victim = Players[msg.Tags.Victim or '']
  assert(State == 'playing' and msg.From == Current, 'it is not your turn')
  assert(victim and victim.health > 0 and msg.Tags.Victim ~= msg.From, 'no such victim')
  victim.health = math.max(0, victim.health - Players[msg.From].strength)
  if victim.health == 0 then announce('Out', msg.Tags.Victim) end
  next_turn()
end)

Handlers.add('State', Handlers.utils.hasMatchingTag('Action', 'Get-Game-State'), function (msg)
  msg.reply({ Action = 'Game-State', Data = json.encode({ state = State, players = Players, winner = Winner, pot = Pot }) })
end)
