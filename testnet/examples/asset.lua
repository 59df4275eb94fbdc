-- A work of its creators, owned in 100 shares. Spawn it with the tags `Token` (what people pay in), `Title`,
-- `Royalty` (of 1,000 parts of each sale), `Fee` (of a licence) and a tag `Creator` for each of them, with his
-- weight: `ADDRESS 70`. The owner holds all shares at first.
--
-- Shares are given away (`Transfer`) or offered for a price (`Offer`); of each sale the creators get their
-- royalty by weight. Who pays the fee of a licence has one, and all who hold shares are paid by them.
local bint = require(".bint")(512)

local tags = ao.env.Process.Tags
local SHARES = 100
Token, Title = tags.Token, tags.Title
Royalty, Fee = tonumber(tags.Royalty or ""), bint.fromstring(tags.Fee or "")
Shares = Shares or { [Owner] = SHARES }
Offers, LastOffer, Licences = Offers or {}, LastOffer or 0, Licences or {}
if not (Token and Title) then error("it needs the tags Token and Title", 0) end
if not math.tointeger(Royalty) or Royalty < 0 or Royalty > 1000 then error("Royalty is 0 to 1000", 0) end
if not Fee or not bint.ispos(Fee) then error("Fee is a whole number above zero", 0) end

-- In the order of the tags; one who has no weight has 1.
Creators = {}
for _, tag in ipairs(ao.env.Process.TagArray) do
  if tag.name == "Creator" then
    local address, weight = tag.value:match("^(%S+)%s*(%d*)$")
    local parts = tonumber(weight) or 1
    if not address or parts < 1 or parts > 1000 then error("a Creator is an address and a weight", 0) end
    table.insert(Creators, { address = address, weight = parts })
  end
end

local function answer(msg, draft)
  draft.Target, draft["X-Reference"] = msg.From, msg.Reference
  Send(draft)
end

local function pay(to, amount, why)
  if not bint.ispos(amount) then return end
  Send({ Target = Token, Action = "Transfer", Recipient = to, Quantity = tostring(amount), ["X-Why"] = why })
end

-- Pays an amount out by weights. What does not divide goes to the first, so that nothing is left here.
local function split(amount, parts, why)
  local total, paid = 0, bint(0)
  for _, part in ipairs(parts) do total = total + part.weight end
  for place = #parts, 1, -1 do
    local due = place > 1 and amount * parts[place].weight // total or amount - paid
    paid = paid + due
    pay(parts[place].address, due, why)
  end
end

-- Who owns shares, those on offer too.
local function holders()
  local owned, out = {}, {}
  for address, shares in pairs(Shares) do owned[address] = shares end
  for _, offer in pairs(Offers) do owned[offer.seller] = (owned[offer.seller] or 0) + offer.shares end
  for address, shares in pairs(owned) do out[#out + 1] = { address = address, weight = shares } end
  -- In one order for everybody.
  table.sort(out, function(a, b) return a.address < b.address end)
  return out
end

local function add(account, shares)
  local left = (Shares[account] or 0) + shares
  Shares[account] = left > 0 and left or nil
end

-- A number of shares that the sender has, or nothing.
local function of_his_own(msg)
  local shares = math.tointeger(tonumber(msg.Quantity or ""))
  return shares and shares > 0 and shares <= (Shares[msg.From] or 0) and shares or nil
end

Handlers.add("Transfer", { Action = "Transfer", Recipient = "_" }, function(msg)
  local shares = of_his_own(msg)
  if not shares then return answer(msg, { Action = "Transfer-Error", Error = "not so many shares" }) end
  add(msg.From, -shares)
  add(msg.Recipient, shares)
  answer(msg, { Action = "Debit-Notice", Recipient = msg.Recipient, Quantity = tostring(shares) })
  Send({ Target = msg.Recipient, Action = "Credit-Notice", Sender = msg.From, Quantity = tostring(shares) })
end)

-- `Price` is for all of them together. What is offered is not the seller's until he takes it back.
Handlers.add("Offer", { Action = "Offer", Price = "^%d+$" }, function(msg)
  local shares, price = of_his_own(msg), bint.fromstring(msg.Price)
  if not shares or not bint.ispos(price) or #msg.Price > 77 then
    return answer(msg, { Action = "Offer-Error", Error = "not so many shares, or no price" })
  end
  add(msg.From, -shares)
  LastOffer = LastOffer + 1
  Offers[tostring(LastOffer)] = { seller = msg.From, shares = shares, price = tostring(price) }
  answer(msg, { Action = "Offered", Offer = tostring(LastOffer) })
end)

Handlers.add("Take-Back", { Action = "Take-Back", Offer = "_" }, function(msg)
  local offer = Offers[msg.Offer]
  if not offer or offer.seller ~= msg.From then return answer(msg, { Action = "Take-Back-Error", Error = "not yours" }) end
  Offers[msg.Offer] = nil
  add(offer.seller, offer.shares)
  answer(msg, { Action = "Taken-Back", Offer = msg.Offer })
end)

local function buy(msg, amount)
  local id = msg.Tags["X-Offer"] or ""
  local offer = Offers[id]
  if not offer or bint(offer.price) ~= amount then return pay(msg.Sender, amount, "there is no such offer at this price") end
  Offers[id] = nil
  add(msg.Sender, offer.shares)
  local royalty = #Creators > 0 and amount * Royalty // 1000 or bint(0)
  pay(offer.seller, amount - royalty, "sold")
  if bint.ispos(royalty) then split(royalty, Creators, "royalty") end
  Send({ Target = msg.Sender, Action = "Credit-Notice", Sender = offer.seller, Quantity = tostring(offer.shares) })
end

local function license(msg, amount)
  if amount ~= Fee then return pay(msg.Sender, amount, "the fee is " .. tostring(Fee)) end
  Licences[msg.Sender] = (Licences[msg.Sender] or 0) + 1
  split(amount, holders(), "licence")
  Send({ Target = msg.Sender, Action = "Licensed", Title = Title, Holder = msg.Sender })
end

local wishes = { Buy = buy, License = license }

Handlers.add("Payment", { Action = "Credit-Notice", From = Token }, function(msg)
  local amount, wish = bint(msg.Quantity), wishes[msg.Tags["X-Action"] or ""]
  if not wish then return pay(msg.Sender, amount, "no X-Action") end
  wish(msg, amount)
end)
Handlers.add("Paid", { Action = "Debit-Notice", From = Token }, function() end)

Handlers.add("Info", "Info", function(msg)
  answer(msg, { Title = Title, Royalty = tostring(Royalty), Fee = tostring(Fee), Shares = tostring(SHARES) })
end)

Views.add("asset", function() return { title = Title, shares = Shares, offers = Offers, licences = Licences } end)
