-- A constant-product exchange of two tokens. Spawn it with the tags `Token-A` and `Token-B`.
--
-- It knows a deposit by the `Credit-Notice` of one of its tokens alone: those come with proof from the
-- token's own process. `X-Action: Deposit` adds to the reserve, `X-Action: Swap` buys the other token, and
-- gives the payment back if less than `X-Least` would come out.
local bint = require(".bint")(512)

local tags = ao.env.Process.Tags
Tokens = Tokens or { A = tags["Token-A"], B = tags["Token-B"] }
if not (Tokens.A and Tokens.B) or Tokens.A == Tokens.B then error("it needs the tags Token-A and Token-B, two tokens", 0) end
Reserves = Reserves or { A = "0", B = "0" }
-- Of a thousand parts of what comes in.
Fee = 3

local other = { A = "B", B = "A" }

local function side_of(token)
  for side, id in pairs(Tokens) do
    if id == token then return side end
  end
end

local function pay(side, to, amount, why)
  Send({ Target = Tokens[side], Action = "Transfer", Recipient = to, Quantity = tostring(amount), ["X-Why"] = why })
end

-- What comes out for an amount that comes in: the product of the reserves never shrinks.
local function output(side, amount)
  local into, out = bint(Reserves[side]), bint(Reserves[other[side]])
  local paid = amount * (1000 - Fee)
  return out * paid // (into * 1000 + paid)
end

local function add(side, amount) Reserves[side] = tostring(bint(Reserves[side]) + amount) end

local function from_token(msg) return msg.Action == "Credit-Notice" and side_of(msg.From) ~= nil end

Handlers.add("Payment", from_token, function(msg)
  local side, amount = side_of(msg.From), bint(msg.Quantity)
  local wish = msg.Tags["X-Action"]
  if wish == "Deposit" then
    add(side, amount)
  elseif wish == "Swap" then
    local out, least = output(side, amount), bint.fromstring(msg.Tags["X-Least"] or "1")
    if not least or out < least or not bint.ispos(out) then
      pay(side, msg.Sender, amount, "too little would come out")
      return
    end
    add(side, amount)
    add(other[side], -out)
    pay(other[side], msg.Sender, out, "swap")
  else
    pay(side, msg.Sender, amount, "no X-Action")
  end
end)

-- The tokens say what was paid out; nobody needs to keep that.
Handlers.add("Paid", { Action = "Debit-Notice", From = function(from) return side_of(from) ~= nil end }, function() end)

-- To who asked: `msg.reply` goes where the message says, and would be believed there.
Handlers.add("Quote", { Action = "Quote", Side = { "A", "B" } }, function(msg)
  local side = msg.Side:upper()
  Send({
    Target = msg.From, ["X-Reference"] = msg.Reference, Quantity = tostring(output(side, bint(msg.Quantity))),
    Of = Tokens[other[side]],
  })
end)

Views.add("price", function()
  local a, b = bint(Reserves.A), bint(Reserves.B)
  return { reserves = Reserves, milli = bint.ispos(a) and tostring(b * 1000 // a) or "none" }
end)
