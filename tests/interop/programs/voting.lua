-- Votes, weighed by stakes that another process knows: it is asked, and the count goes on with its answer. What is
-- carried changes a setting of the process that the poll is about, which takes orders from here alone.
local bint = require('.bint')(256)
local json = require('json')

Polls = Polls or {}

Handlers.add('Propose', Handlers.utils.hasMatchingTag('Action', 'Propose'), function (msg)
  Polls[msg.Tags.Poll] = {
    target = msg.Tags.Subject, name = msg.Tags.Setting, value = msg.Tags.Value, votes = {}, state = 'open',
  }
  msg.reply({ Action = 'Proposed', Poll = msg.Tags.Poll })
end)

Handlers.add('Vote', Handlers.utils.hasMatchingTag('Action', 'Vote'), function (msg)
  local poll = Polls[msg.Tags.Poll]
  assert(poll and poll.state == 'open', 'no such poll is open')
  assert(msg.Tags.Side == 'yay' or msg.Tags.Side == 'nay', 'Side is yay or nay')
  poll.votes[msg.From] = msg.Tags.Side
end)

Handlers.add('Tally', Handlers.utils.hasMatchingTag('Action', 'Tally'), function (msg)
  local poll = Polls[msg.Tags.Poll]
  assert(poll and poll.state == 'open', 'no such poll is open')
  poll.state = 'counting'
  local stakes = json.decode(Send({ Target = Staking, Action = 'Stakers' }).receive().Data)
  local yay, nay = bint(0), bint(0)
  for account, side in pairs(poll.votes) do
    local weight = bint(stakes[account] or '0')
    if side == 'yay' then yay = yay + weight else nay = nay + weight end
  end
  poll.yay, poll.nay = tostring(yay), tostring(nay)
  poll.state = bint.__lt(nay, yay) and 'carried' or 'lost'
  if poll.state == 'carried' then
    Send({ Target = poll.target, Action = 'Set', Setting = poll.name, Value = poll.value })
  end
end)
