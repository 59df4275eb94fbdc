-- A coin that is worth one unit of account, made against collateral. Spawn it with the tags `Collateral` (a
-- token), `Oracle` (who says what one of the collateral is worth, in thousandths) and `Cron-Interval`.
--
-- Who has paid in collateral draws coins against it, while it is worth half as much again as they are. On every
-- tick the oracle is asked, and vaults that are worth too little are called: until its owner pays in or back,
-- anyone may buy a called vault's debt with coins, for collateral at a discount. A price that is too old
-- decides nothing: then nobody draws, takes out or buys.
local bint = require(".bint")(512)

local tags = ao.env.Process.Tags
Collateral, Oracle = tags.Collateral, tags.Oracle
if not (Collateral and Oracle) then error("it needs the tags Collateral and Oracle", 0) end
Balances, Supply, Vaults, Price = Balances or {}, Supply or "0", Vaults or {}, Price or nil
-- Collateral for each debt in percent: what a vault needs to draw, below what it is called, and what its buyer gets.
local SAFE, CALLED, SOLD = 150, 130, 110
local PRICE_AGE = tonumber(tags["Price-Age"] or "") or 600000
-- Ticks look at all vaults, so that there is an end to them and no room for worthless ones.
local VAULTS_MAX, DEPOSIT_MIN = 500, bint(tags["Deposit-Min"] or "1000")

local function answer(msg, draft)
  draft.Target, draft["X-Reference"] = msg.From, msg.Reference
  Send(draft)
end
local function refuse(msg, why) answer(msg, { Action = msg.Action .. "-Error", Error = why }) end

local function of(account) return bint(Balances[account] or "0") end
local function set(account, amount) Balances[account] = not bint.iszero(amount) and tostring(amount) or nil end
local function give(account, amount)
  set(account, of(account) + amount)
  Supply = tostring(bint(Supply) + amount)
end

local function pay(to, amount, why)
  Send({ Target = Collateral, Action = "Transfer", Recipient = to, Quantity = tostring(amount), ["X-Why"] = why })
end

-- What one of the collateral is worth, in thousandths; nothing if nobody knows.
local function price(msg) return Price and msg.Timestamp - Price.at <= PRICE_AGE and bint(Price.value) or nil end

-- Whether a vault has so much percent.
local function covers(vault, percent, worth)
  return bint(vault.collateral) * worth * 100 >= bint(vault.debt) * 1000 * percent
end

-- A whole number above zero that is not wider than a token's.
local function quantity(msg)
  local amount = #(msg.Quantity or "") <= 77 and bint.fromstring(msg.Quantity or "")
  return amount and bint.ispos(amount) and amount or nil
end

local function close_if_empty(owner)
  local vault = Vaults[owner]
  if vault.collateral == "0" and vault.debt == "0" then Vaults[owner] = nil end
end

Handlers.add("Deposit", { Action = "Credit-Notice", From = Collateral }, function(msg)
  local owner, amount = msg.Sender, bint(msg.Quantity)
  if msg.Tags["X-Action"] ~= "Deposit" then return pay(owner, amount, "no X-Action") end
  if not Vaults[owner] then
    if amount < DEPOSIT_MIN or #Utils.keys(Vaults) >= VAULTS_MAX then return pay(owner, amount, "no room for it") end
    Vaults[owner] = { collateral = "0", debt = "0" }
  end
  Vaults[owner].collateral = tostring(bint(Vaults[owner].collateral) + amount)
end)
Handlers.add("Paid", { Action = "Debit-Notice", From = Collateral }, function() end)

Handlers.add("Draw", "Draw", function(msg)
  local vault, amount, worth = Vaults[msg.From], quantity(msg), price(msg)
  if not vault or not amount then return refuse(msg, "there is no vault, or no Quantity") end
  if not worth then return refuse(msg, "the price is too old") end
  local debt = tostring(bint(vault.debt) + amount)
  if not covers({ collateral = vault.collateral, debt = debt }, SAFE, worth) then
    return refuse(msg, "the collateral is worth too little")
  end
  vault.debt = debt
  give(msg.From, amount)
  answer(msg, { Action = "Drawn", Quantity = tostring(amount), Debt = debt })
end)

Handlers.add("Repay", "Repay", function(msg)
  local vault, amount = Vaults[msg.From], quantity(msg)
  if not vault or not amount or amount > bint(vault.debt) or amount > of(msg.From) then
    return refuse(msg, "that is more than the debt or the balance")
  end
  give(msg.From, -amount)
  vault.debt = tostring(bint(vault.debt) - amount)
  answer(msg, { Action = "Repaid", Quantity = tostring(amount), Debt = vault.debt })
end)

Handlers.add("Withdraw", "Withdraw", function(msg)
  local vault, amount = Vaults[msg.From], quantity(msg)
  if not vault or not amount or amount > bint(vault.collateral) then return refuse(msg, "there is not so much") end
  local rest = bint(vault.collateral) - amount
  local left = tostring(rest)
  if not bint.iszero(rest) and rest < DEPOSIT_MIN then return refuse(msg, "leave nothing, or a whole deposit") end
  if vault.debt ~= "0" then
    local worth = price(msg)
    if not worth then return refuse(msg, "the price is too old") end
    if not covers({ collateral = left, debt = vault.debt }, SAFE, worth) then
      return refuse(msg, "what is left would be worth too little")
    end
  end
  vault.collateral = left
  close_if_empty(msg.From)
  pay(msg.From, amount, "withdrawn")
end)

-- `At` is when the oracle looked, in milliseconds: what was long on its way is as old as it is.
Handlers.add("Price", { Action = "Price", From = Oracle }, function(msg)
  local value, at = bint.fromstring(msg.Price or ""), math.tointeger(tonumber(msg.At or ""))
  if not value or not bint.ispos(value) or #msg.Price > 38 or not at then
    return refuse(msg, "a price has Price and At, whole numbers")
  end
  -- Clocks differ: a time to come is now.
  at = math.min(at, msg.Timestamp)
  if not Price or at >= Price.at then Price = { value = tostring(value), at = at } end
end)

local function is_tick(msg) return msg.Cron == true or msg.Action == "Cron" and msg.From == Owner end

Handlers.add("Tick", is_tick, function(msg)
  Send({ Target = Oracle, Action = "Get-Price" })
  local worth, owners = price(msg), Utils.keys(Vaults)
  if not worth then return end
  table.sort(owners)
  for _, owner in ipairs(owners) do
    local vault = Vaults[owner]
    local low = not covers(vault, CALLED, worth)
    if low and not vault.called then
      Send({ Target = owner, Action = "Called", Collateral = vault.collateral, Debt = vault.debt })
    end
    vault.called = low and (vault.called or msg.Timestamp) or nil
  end
end)

-- `Quantity` of the debt of the vault of `Vault`, all of it at most.
Handlers.add("Buy", { Action = "Buy", Vault = "_" }, function(msg)
  local vault, amount, worth = Vaults[msg.Vault], quantity(msg), price(msg)
  if not worth then return refuse(msg, "the price is too old") end
  if not vault or not vault.called or covers(vault, CALLED, worth) then return refuse(msg, "it is not for sale") end
  if not amount or amount > bint(vault.debt) or amount > of(msg.From) then
    return refuse(msg, "that is more than the debt or the balance")
  end
  local out, held = amount * 1000 * SOLD // (worth * 100), bint(vault.collateral)
  -- Where the collateral does not even cover the debt, each coin buys its part of it.
  local share = held * amount // bint(vault.debt)
  if not covers(vault, SOLD, worth) then out = share end
  give(msg.From, -amount)
  vault.debt, vault.collateral = tostring(bint(vault.debt) - amount), tostring(held - out)
  close_if_empty(msg.Vault)
  if bint.ispos(out) then pay(msg.From, out, "bought") end
end)

Handlers.add("Transfer", { Action = "Transfer", Recipient = "_" }, function(msg)
  local amount = quantity(msg)
  if not amount or of(msg.From) < amount then return refuse(msg, "the balance is too small") end
  set(msg.From, of(msg.From) - amount)
  set(msg.Recipient, of(msg.Recipient) + amount)
  answer(msg, { Action = "Debit-Notice", Recipient = msg.Recipient, Quantity = tostring(amount) })
  Send({ Target = msg.Recipient, Action = "Credit-Notice", Sender = msg.From, Quantity = tostring(amount) })
end)

Handlers.add("Balance", "Balance", function(msg)
  local account = msg.Recipient or msg.From
  answer(msg, { Account = account, Balance = Balances[account] or "0" })
end)

Views.add("coin", function()
  local called = 0
  for _, vault in pairs(Vaults) do called = called + (vault.called and 1 or 0) end
  return { supply = Supply, vaults = #Utils.keys(Vaults), called = called, price = Price and Price.value or "none" }
end)
