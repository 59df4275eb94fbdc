-- Prediction markets, each a process of its own. Without a tag `Question` this program is the house: its
-- owner opens markets, and the house spawns a process of the same program for each. With it, it is a market.
--
-- In a market people pay in tokens for `yes` or `no` (`X-Action: Bet`, `X-Side`) until it closes. Then its
-- judge says which it was, and who was right shares all of it by what he paid in. Where nobody was right, or
-- the judge says nothing for a week, everybody gets his own back.
local bint = require(".bint")(512)

local tags = ao.env.Process.Tags
local WEEK = 7 * 24 * 3600 * 1000

local function answer(msg, draft)
  draft.Target, draft["X-Reference"] = msg.From, msg.Reference
  Send(draft)
end

local function is_owner(from) return from == Owner end

local function house()
  -- By the id of the process.
  Markets = Markets or {}
  -- What this process booted from is what its markets boot from: its own data, or an item of the weave.
  local source = tags["On-Boot"]
  if not source then error("a house boots from its program: it needs the tag On-Boot", 0) end
  local program = source == "Data" and Inbox[1].Data or nil

  Handlers.add("Open", { Action = "Open", From = is_owner, Token = "_", Judge = "_", Seconds = "^%d+$" }, function(msg)
    if #msg.Seconds > 9 then return answer(msg, { Error = "Seconds is a whole number" }) end
    local closes = msg.Timestamp + tonumber(msg.Seconds) * 1000
    Spawn({
      Data = program, ["On-Boot"] = source, Question = tostring(msg.Data):sub(1, 500), Token = msg.Token,
      Judge = msg.Judge, Closes = tostring(closes),
    })
  end)
  -- The tags of the spawn come back with the id of what was spawned.
  Handlers.add("Spawned", { Action = "Spawned", From = ao.id }, function(msg)
    Markets[msg.Process] = { question = msg.Question, closes = msg.Closes, state = "open" }
    Send({ Target = Owner, Action = "Opened", Market = msg.Process })
  end)
  Handlers.add("Settled", { Action = "Settled", From = function(from) return Markets[from] ~= nil end }, function(msg)
    Markets[msg.From].state = msg.State
  end)
  Views.add("markets", function() return Markets end)
end

local function market()
  Question, Token, Judge, Closes = tags.Question, tags.Token, tags.Judge, tonumber(tags.Closes or "")
  if not (Token and Judge and Closes) then error("it needs the tags Token, Judge and Closes", 0) end
  -- What was paid in: in all for each side, and by whom.
  State, Pools, Bets = State or "open", Pools or { yes = "0", no = "0" }, Bets or { yes = {}, no = {} }
  -- Bets of one on one side: what a market keeps has an end.
  Bettors = Bettors or 0
  local BETTORS_MAX = 10000

  local function pay(to, amount, why)
    if not bint.ispos(amount) then return end
    Send({ Target = Token, Action = "Transfer", Recipient = to, Quantity = tostring(amount), ["X-Why"] = why })
  end

  Handlers.add("Bet", { Action = "Credit-Notice", From = Token }, function(msg)
    local side, amount = msg.Tags["X-Side"], bint(msg.Quantity)
    if msg.Tags["X-Action"] ~= "Bet" or not Bets[side or ""] or msg.Timestamp >= Closes then
      return pay(msg.Sender, amount, "no such bet is open")
    end
    if not Bets[side][msg.Sender] then
      if Bettors >= BETTORS_MAX then return pay(msg.Sender, amount, "no more bettors") end
      Bettors = Bettors + 1
    end
    Pools[side] = tostring(bint(Pools[side]) + amount)
    Bets[side][msg.Sender] = tostring(bint(Bets[side][msg.Sender] or "0") + amount)
  end)
  Handlers.add("Paid", { Action = "Debit-Notice", From = Token }, function() end)

  -- The house is this process's owner.
  local function settle(state)
    State = state
    Send({ Target = Owner, Action = "Settled", State = state })
  end

  local function is_judge(from) return from == Judge end

  Handlers.add("Judge", { Action = "Judge", From = is_judge, Side = "_" }, function(msg)
    if State ~= "open" or msg.Timestamp < Closes or not Bets[msg.Side] then
      return answer(msg, { Error = "it is not closed, is settled, or Side is neither yes nor no" })
    end
    settle(Pools[msg.Side] == "0" and "void" or msg.Side)
  end)

  -- What somebody gets, once.
  local function claim(from)
    local total, due = bint(Pools.yes) + bint(Pools.no), bint(0)
    for side, bets in pairs(Bets) do
      local paid = bint(bets[from] or "0")
      if State == "void" then due = due + paid end
      if State == side then due = due + paid * total // bint(Pools[side]) end
      bets[from] = nil
    end
    return due
  end

  Handlers.add("Claim", "Claim", function(msg)
    if State == "open" and msg.Timestamp >= Closes + WEEK then settle("void") end
    if State == "open" then return answer(msg, { Error = "it is not settled" }) end
    local due = claim(msg.From)
    pay(msg.From, due, State)
    answer(msg, { Action = "Claimed", Quantity = tostring(due), State = State })
  end)

  Views.add("market", function() return { question = Question, state = State, yes = Pools.yes, no = Pools.no } end)
end

if tags.Question then market() else house() end
