-- A token with 12 digits after the point.
local bint = require(".bint")(256)
local json = require("json")

Ticker, Denomination = "TOK", 12
Balances = Balances or { [Owner] = tostring(bint.ipow(10, 18)) }

local function balance(who) return bint(Balances[who] or "0") end

Handlers.add("Info", { Action = "Info" }, function(msg)
  msg.reply({ Ticker = Ticker, Denomination = tostring(Denomination), Data = "" })
end)
Handlers.add("Balance", { Action = "Balance" }, function(msg)
  local who = msg.Tags.Recipient or msg.From
  msg.reply({ Balance = Balances[who] or "0", Account = who, Data = Balances[who] or "0" })
end)
Handlers.add("Balances", { Action = "Balances" }, function(msg) msg.reply({ Data = json.encode(Balances) }) end)
Handlers.add("Transfer", { Action = "Transfer" }, function(msg)
  assert(type(msg.Recipient) == "string", "a recipient is needed")
  local ok, quantity = pcall(bint, msg.Quantity)
  assert(ok and bint.ispos(quantity), "a quantity above zero is needed")
  if balance(msg.From) < quantity then
    msg.reply({ Action = "Transfer-Error", ["Message-Id"] = msg.Id, Error = "too little" })
    return
  end
  Balances[msg.From] = tostring(balance(msg.From) - quantity)
  Balances[msg.Recipient] = tostring(balance(msg.Recipient) + quantity)
  if msg.Cast then return end
  local debit = { Action = "Debit-Notice", Recipient = msg.Recipient, Quantity = tostring(quantity), Data = "sent" }
  local credit = {
    Target = msg.Recipient, Action = "Credit-Notice", Sender = msg.From, Quantity = tostring(quantity), Data = "got",
  }
  for name, value in pairs(msg) do
    if type(name) == "string" and name:sub(1, 2) == "X-" and type(value) == "string" then
      debit[name], credit[name] = value, value
    end
  end
  msg.reply(debit)
  Send(credit)
end)
Handlers.add("Mint", Handlers.utils.hasMatchingTag("Action", "Mint"), function(msg)
  if msg.From ~= Owner then return msg.reply({ Action = "Mint-Error", Error = "only the owner mints" }) end
  Balances[msg.From] = tostring(balance(msg.From) + bint(msg.Quantity))
  msg.reply({ Data = "minted " .. msg.Quantity })
end)
