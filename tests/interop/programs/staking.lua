-- Stakes: who pays with `X-Action: Stake` has a stake; `Unstake` gives it back after a while. What is due is paid
-- with whatever message comes next, and the handlers go on with it.
local bint = require('.bint')(256)
local json = require('json')

Stakes = Stakes or {}
Leaving = Leaving or {}

local function stake(account) return bint(Stakes[account] or '0') end

Handlers.prepend('due', function () return 'continue' end, function (msg)
  local rest = {}
  for _, leaver in ipairs(Leaving) do
    if leaver.due <= msg.Timestamp then
      Send({ Target = Token, Action = 'Transfer', Recipient = leaver.account, Quantity = leaver.quantity })
    else
      rest[#rest + 1] = leaver
    end
  end
  Leaving = rest
end)

Handlers.add('Stake', function (msg)
  return msg.Action == 'Credit-Notice' and msg.From == Token and msg.Tags['X-Action'] == 'Stake'
end, function (msg)
  Stakes[msg.Tags.Sender] = tostring(stake(msg.Tags.Sender) + bint(msg.Tags.Quantity))
end)

Handlers.add('Unstake', Handlers.utils.hasMatchingTag('Action', 'Unstake'), function (msg)
  local amount = bint(msg.Tags.Quantity)
  assert(bint.__le(amount, stake(msg.From)), 'the stake is too small')
  Stakes[msg.From] = tostring(stake(msg.From) - amount)
  Leaving[#Leaving + 1] = { account = msg.From, quantity = tostring(amount), due = msg.Timestamp + UnstakeMs }
  msg.reply({ Action = 'Unstaking', Quantity = tostring(amount) })
end)

Handlers.add('Stakers', Handlers.utils.hasMatchingTag('Action', 'Stakers'), function (msg)
  msg.reply({ Action = 'Stakers-Are', Data = json.encode(Stakes) })
end)
