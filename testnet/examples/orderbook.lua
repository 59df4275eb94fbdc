-- An order book of two tokens. Spawn it with the tags `Token-A` and `Token-B`.
--
-- Who pays A with `X-Action: Order` offers it for `X-Price` of B each or more; who pays B buys A for
-- `X-Price` each or less. What matches is traded at once, at the price of the order that stood there; the
-- best price goes first, and of one price the oldest order. The rest stands in the book until `Cancel`, or
-- until a book that is full of better ones gives it back.
local bint = require(".bint")(512)

local tags = ao.env.Process.Tags
Tokens = Tokens or { A = tags["Token-A"], B = tags["Token-B"] }
if not (Tokens.A and Tokens.B) or Tokens.A == Tokens.B then error("it needs the tags Token-A and Token-B, two tokens", 0) end
-- Orders with what is left of them, in A; the best first.
Asks, Bids, LastOrder = Asks or {}, Bids or {}, LastOrder or 0
-- Of each side: one order is filled by no more than these, and a message sends at most 1,000 others.
local ORDERS_MAX = 200
-- Digits of a price, so that no product of two numbers is too wide.
local DIGITS_MAX = 38
-- By the token that an order of the side holds.
local books = {
  A = { orders = Asks, better = function(a, b) return a < b end },
  B = { orders = Bids, better = function(a, b) return a > b end },
}

local function pay(side, to, amount, why, order)
  if not bint.ispos(amount) then return end
  Send({
    Target = Tokens[side], Action = "Transfer", Recipient = to, Quantity = tostring(amount), ["X-Why"] = why,
    ["X-Order"] = order and tostring(order),
  })
end

-- Puts an order behind all that are as good.
local function insert(book, order, better)
  local place = #book + 1
  while place > 1 and better(bint(order.price), bint(book[place - 1].price)) do place = place - 1 end
  table.insert(book, place, order)
end

-- What an order holds of its side's token.
local function held(side, order) return bint(order.left) * (side == "A" and 1 or bint(order.price)) end

-- In a full book a better order puts out the worst: worthless ones keep nobody out.
local function stand(side, from, price, left)
  local book, better = books[side].orders, books[side].better
  if #book >= ORDERS_MAX then
    local worst = book[#book]
    if not better(price, bint(worst.price)) then
      return pay(side, from, left * (side == "A" and 1 or price), "the book is full")
    end
    table.remove(book)
    pay(side, worst.owner, held(side, worst), "the book is full", worst.id)
  end
  LastOrder = LastOrder + 1
  insert(book, { id = LastOrder, owner = from, price = tostring(price), left = tostring(left) }, better)
  Send({ Target = from, Action = "Order-Placed", Order = tostring(LastOrder), Left = tostring(left) })
end

-- Takes so much of the best order; gives its owner what he traded for.
local function fill(book, amount, side, given)
  local order = book[1]
  local left = bint(order.left) - amount
  order.left = tostring(left)
  if bint.iszero(left) then table.remove(book, 1) end
  pay(side, order.owner, given, "filled", order.id)
end

local function least(a, b) return a < b and a or b end

local function sell(from, amount, price)
  local earned = bint(0)
  while bint.ispos(amount) and Bids[1] and bint(Bids[1].price) >= price do
    local trade, at = least(amount, bint(Bids[1].left)), bint(Bids[1].price)
    fill(Bids, trade, "A", trade)
    amount, earned = amount - trade, earned + trade * at
  end
  pay("B", from, earned, "sold")
  if not bint.ispos(amount) then return end
  stand("A", from, price, amount)
end

local function buy(from, money, price)
  local bought = bint(0)
  while Asks[1] and bint(Asks[1].price) <= price do
    local at = bint(Asks[1].price)
    local trade = least(money // at, bint(Asks[1].left))
    if bint.iszero(trade) then break end
    fill(Asks, trade, "B", trade * at)
    money, bought = money - trade * at, bought + trade
  end
  pay("A", from, bought, "bought")
  local want = money // price
  if bint.ispos(want) then stand("B", from, price, want) end
  pay("B", from, money - want * price, "too little for one more")
end

local function side_of(token)
  for side, id in pairs(Tokens) do
    if id == token then return side end
  end
end

local function from_token(msg) return msg.Action == "Credit-Notice" and side_of(msg.From) ~= nil end

Handlers.add("Payment", from_token, function(msg)
  local side, amount = side_of(msg.From), bint(msg.Quantity)
  local wish, text = msg.Tags["X-Action"], msg.Tags["X-Price"] or ""
  local price = #text <= DIGITS_MAX and bint.fromstring(text) or nil
  if wish ~= "Order" or not price or not bint.ispos(price) then
    return pay(side, msg.Sender, amount, "an order has X-Action: Order and X-Price, a whole number")
  end
  local trade = side == "A" and sell or buy
  trade(msg.Sender, amount, price)
end)

-- The tokens say what was paid out; nobody needs to keep that.
Handlers.add("Paid", { Action = "Debit-Notice", From = function(from) return side_of(from) ~= nil end }, function() end)

Handlers.add("Cancel", { Action = "Cancel", Order = "_" }, function(msg)
  for side, book in pairs(books) do
    for place, order in ipairs(book.orders) do
      if tostring(order.id) == msg.Order and order.owner == msg.From then
        table.remove(book.orders, place)
        return pay(side, msg.From, held(side, order), "cancelled", order.id)
      end
    end
  end
  Send({ Target = msg.From, Action = "Cancel-Error", Order = msg.Order, ["X-Reference"] = msg.Reference })
end)

Views.add("book", function()
  local function top(book) return book[1] and { price = book[1].price, left = book[1].left } or "none" end
  return { ask = top(Asks), bid = top(Bids), orders = #Asks + #Bids }
end)
