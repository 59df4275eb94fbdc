-- An agent with a strategy: on every tick of its cron it asks an exchange for the price, and buys while
-- that is below its limit. Spawn it with `Cron-Interval: 1-minute`, `Exchange`, `Token`, `Budget`, `Step` and `Least`.
local bint = require(".bint")(256)
local tags = ao.env.Process.Tags
Exchange, Token, Budget = tags.Exchange, tags.Token, Budget or tags.Budget
-- It pays so much at once, and wants at least so much for it.
Step, Least = tags.Step, tags.Least
if not (Exchange and Token and Budget and Step and Least) then
  error("it needs the tags Exchange, Token, Budget, Step and Least", 0)
end
Bought = Bought or 0

local function give_back(amount) Budget = tostring(bint(Budget) + bint(amount)) end

-- The clock's ticks, and those by which its owner tries it out.
local function is_tick(msg) return msg.Cron == true or msg.Action == "Cron" and msg.From == Owner end

Handlers.add("Tick", is_tick, function()
  if bint(Budget) < bint(Step) then return end
  -- Set aside before it asks: many ticks may run before the first answer comes.
  Budget = tostring(bint(Budget) - bint(Step))
  Send({ Target = Exchange, Action = "Quote", Side = "A", Quantity = Step }).onReply(function(quote)
    if bint(quote.Quantity) < bint(Least) then return give_back(Step) end
    Bought = Bought + 1
    Send({
      Target = Token, Action = "Transfer", Recipient = Exchange, Quantity = Step, ["X-Action"] = "Swap", ["X-Least"] = Least,
    })
  end)
end)

-- What could not be swapped comes back, and what could not be paid was never spent.
Handlers.add("Back", { Action = "Credit-Notice", From = Token, Sender = Exchange }, function(msg)
  give_back(msg.Quantity)
end)
Handlers.add("Unpaid", { Action = "Transfer-Error", From = Token }, function() give_back(Step) end)

Views.add("agent", function() return { budget = Budget, bought = Bought } end)
