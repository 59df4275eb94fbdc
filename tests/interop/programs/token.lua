-- A token, against the interface that today's tokens have: `Info`, `Balance`, `Balances`, `Transfer`, `Mint`.
-- Both sides of a transfer are told, with the tags `X-..` of whoever paid.
local bint = require('.bint')(256)
local json = require('json')

Name, Ticker, Denomination = 'Loom', 'LOOM', 12
Balances = Balances or {}

local function whole(text)
  local ok, value = pcall(bint, text)
  assert(ok and value and bint.__lt(0, value), 'Quantity is a whole number above zero')
  return value
end

local function balance(account) return bint(Balances[account] or '0') end

local function add(account, amount) Balances[account] = tostring(balance(account) + amount) end

local function take(account, amount)
  assert(bint.__le(amount, balance(account)), 'the balance is too small')
  Balances[account] = tostring(balance(account) - amount)
end

Handlers.add('Info', Handlers.utils.hasMatchingTag('Action', 'Info'), function (msg)
  msg.reply({ Name = Name, Ticker = Ticker, Denomination = tostring(Denomination) })
end)

Handlers.add('Balance', Handlers.utils.hasMatchingTag('Action', 'Balance'), function (msg)
  local account = msg.Tags.Recipient or msg.From
  msg.reply({ Balance = tostring(balance(account)), Account = account, Data = tostring(balance(account)) })
end)

Handlers.add('Balances', Handlers.utils.hasMatchingTag('Action', 'Balances'), function (msg)
  msg.reply({ Data = json.encode(Balances) })
end)

Handlers.add('Mint', Handlers.utils.hasMatchingTag('Action', 'Mint'), function (msg)
  assert(msg.From == Owner, 'only the owner mints')
  add(msg.Tags.Recipient or msg.From, whole(msg.Tags.Quantity))
end)

Handlers.add('Transfer', Handlers.utils.hasMatchingTag('Action', 'Transfer'), function (msg)
  local amount, to = whole(msg.Tags.Quantity), msg.Tags.Recipient
  assert(type(to) == 'string', 'Recipient is missing')
  if bint.__lt(balance(msg.From), amount) then
    msg.reply({ Action = 'Transfer-Error', Error = 'Insufficient Balance!' })
    return
  end
  take(msg.From, amount)
  add(to, amount)
  if msg.Tags.Cast then return end
  local debit = { Action = 'Debit-Notice', Recipient = to, Quantity = tostring(amount) }
  local credit = { Target = to, Action = 'Credit-Notice', Sender = msg.From, Quantity = tostring(amount) }
  for name, value in pairs(msg.Tags) do
    if name:sub(1, 2) == 'X-' and name ~= 'X-Reference' and name ~= 'X-Origin' then
      debit[name], credit[name] = value, value
    end
  end
  msg.reply(debit)
  Send(credit)
end)
