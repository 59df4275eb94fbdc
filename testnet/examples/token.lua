-- A token: balances as big integers, transfers that tell both sides, and a view of the whole.
-- The owner mints. `Transfer` with a tag `X-..` passes that tag on to the receiver.
local bint = require(".bint")(256)

Ticker, Denomination = "EXA", 12
Balances = Balances or {}
Supply = Supply or "0"

local function of(account) return bint(Balances[account] or "0") end
local function set(account, amount) Balances[account] = not bint.iszero(amount) and tostring(amount) or nil end

-- A whole number above zero, or an error that names the tag.
local function quantity(msg)
  local amount = bint.fromstring(msg.Quantity or "")
  if not amount or not bint.ispos(amount) then error("Quantity is a whole number above zero", 0) end
  return amount
end

-- To the sender himself, and for the message that he sent: `msg.reply` goes where the sender says, so that
-- somebody else could be told in the token's name what never was.
local function answer(msg, draft)
  draft.Target, draft["X-Reference"] = msg.From, msg.Reference
  Send(draft)
end

-- Not those by which others know the answer to a question of theirs.
local kept = { ["X-Reference"] = true, ["X-Origin"] = true }

local function passed_on(msg)
  local tags = {}
  for name, value in pairs(msg.Tags) do
    if name:sub(1, 2) == "X-" and not kept[name] then tags[name] = value end
  end
  return tags
end

Handlers.add("Info", "Info", function(msg)
  answer(msg, { Ticker = Ticker, Denomination = tostring(Denomination), Supply = Supply })
end)

Handlers.add("Balance", "Balance", function(msg)
  local account = msg.Recipient or msg.From
  answer(msg, { Account = account, Balance = Balances[account] or "0" })
end)

Handlers.add("Mint", { Action = "Mint", From = function(from) return from == Owner end }, function(msg)
  local amount, account = quantity(msg), msg.Recipient or msg.From
  set(account, of(account) + amount)
  Supply = tostring(bint(Supply) + amount)
  answer(msg, { Action = "Minted", Quantity = msg.Quantity })
end)

Handlers.add("Transfer", { Action = "Transfer", Recipient = "_" }, function(msg)
  local amount, from, to = quantity(msg), msg.From, msg.Recipient
  if of(from) < amount then
    answer(msg, { Action = "Transfer-Error", Error = "the balance is too small" })
    return
  end
  set(from, of(from) - amount)
  set(to, of(to) + amount)
  local extra = passed_on(msg)
  answer(msg, { Action = "Debit-Notice", Recipient = to, Quantity = tostring(amount), Tags = extra })
  Send({ Target = to, Action = "Credit-Notice", Sender = from, Quantity = tostring(amount), Tags = extra })
end)

Views.add("holders", function() return { holders = #Utils.keys(Balances), supply = Supply, ticker = Ticker } end)
