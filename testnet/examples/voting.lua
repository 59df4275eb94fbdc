-- Votes weighed by tokens. Spawn it with the tag `Token`. The owner opens polls; who pays in tokens with
-- `X-Action: Vote`, `X-Poll` and `X-Choice` votes with them, as often as he likes, and gets all of them back
-- when the poll is over, whatever came of it. A poll that is over is closed by whoever says `Close`.
local bint = require(".bint")(256)

Token = ao.env.Process.Tags.Token
if not Token then error("it needs the tag Token", 0) end
Polls, LastPoll = Polls or {}, LastPoll or 0
-- What is given back in one message: each may send at most 1,000 others.
local PAID_AT_ONCE, VOTERS_MAX = 200, 10000
local CHOICES = { yes = true, no = true }

local function answer(msg, draft)
  draft.Target, draft["X-Reference"] = msg.From, msg.Reference
  Send(draft)
end

local function pay(to, amount, why)
  Send({ Target = Token, Action = "Transfer", Recipient = to, Quantity = tostring(amount), ["X-Why"] = why })
end

local function is_owner(from) return from == Owner end

-- `Seconds` is how long, `Quorum` how many tokens have to vote, and `Subject` who is told what came of it.
Handlers.add("Open", { Action = "Open", From = is_owner, Seconds = "^%d+$" }, function(msg)
  local quorum = bint.fromstring(msg.Quorum or "0")
  if not quorum or #msg.Seconds > 9 then return answer(msg, { Error = "Quorum and Seconds are whole numbers" }) end
  LastPoll = LastPoll + 1
  Polls[tostring(LastPoll)] = {
    question = tostring(msg.Data), ends = msg.Timestamp + tonumber(msg.Seconds) * 1000, quorum = tostring(quorum),
    subject = msg.Subject, yes = "0", no = "0", voters = {}, count = 0, state = "open",
  }
  answer(msg, { Action = "Opened", Poll = tostring(LastPoll) })
end)

Handlers.add("Vote", { Action = "Credit-Notice", From = Token }, function(msg)
  local poll, choice, amount = Polls[msg.Tags["X-Poll"] or ""], msg.Tags["X-Choice"], bint(msg.Quantity)
  local sound = msg.Tags["X-Action"] == "Vote" and poll and CHOICES[choice]
  if not sound or poll.state ~= "open" or msg.Timestamp >= poll.ends then
    return pay(msg.Sender, amount, "no such vote is open")
  end
  if not poll.voters[msg.Sender] then
    if poll.count >= VOTERS_MAX then return pay(msg.Sender, amount, "no more voters") end
    poll.count = poll.count + 1
  end
  poll[choice] = tostring(bint(poll[choice]) + amount)
  poll.voters[msg.Sender] = tostring(bint(poll.voters[msg.Sender] or "0") + amount)
end)
Handlers.add("Paid", { Action = "Debit-Notice", From = Token }, function() end)

local function decide(poll)
  local yes, no = bint(poll.yes), bint(poll.no)
  if yes + no < bint(poll.quorum) then return "no quorum" end
  return yes > no and "carried" or "lost"
end

-- Decides it the first time, and gives tokens back: with many voters it takes several.
Handlers.add("Close", { Action = "Close", Poll = "_" }, function(msg)
  local poll = Polls[msg.Poll]
  if not poll or msg.Timestamp < poll.ends then return answer(msg, { Error = "it is not over" }) end
  if poll.state == "open" then
    poll.state = decide(poll)
    local told = { Action = "Poll-Result", Poll = msg.Poll, State = poll.state, Yes = poll.yes, No = poll.no }
    if poll.subject then Send({ Target = poll.subject, Tags = told }) end
  end
  local voters = Utils.keys(poll.voters)
  -- In one order for everybody.
  table.sort(voters)
  for place = 1, math.min(#voters, PAID_AT_ONCE) do
    pay(voters[place], poll.voters[voters[place]], "the poll is over")
    poll.voters[voters[place]] = nil
  end
  answer(msg, { Action = "Closed", State = poll.state, Waiting = tostring(math.max(0, #voters - PAID_AT_ONCE)) })
end)

Views.add("polls", function()
  local out = {}
  for id, poll in pairs(Polls) do out[id] = { question = poll.question, state = poll.state, yes = poll.yes, no = poll.no } end
  return out
end)
