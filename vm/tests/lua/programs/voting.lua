-- One vote each, while the poll is open; weights by a table of functions by pattern.
Poll = Poll or { open = true, votes = {}, counts = { yes = 0, no = 0 } }

Handlers.add("Vote", { Action = "Vote", Choice = { "yes", "no" } }, function(msg)
  local poll = Poll
  if not poll.open then return msg.reply({ Error = "closed" }) end
  local before = poll.votes[msg.From]
  if before then poll.counts[before] = poll.counts[before] - 1 end
  local choice = msg.Choice:lower()
  poll.votes[msg.From] = choice
  poll.counts[choice] = poll.counts[choice] + 1
  msg.reply({ Data = choice .. " " .. poll.counts.yes .. ":" .. poll.counts.no })
end)
Handlers.add("Result", "Result", function(msg)
  local state = Poll.counts.yes > Poll.counts.no and "carried" or "lost"
  msg.reply({ Data = require("json").encode({ state = state, yes = Poll.counts.yes, no = Poll.counts.no }) })
end)
Handlers.add("Admin", { Action = "Admin" }, {
  [{ Command = "close" }] = function(msg) Poll.open = false msg.reply({ Data = "closed" }) end,
  [{ Command = "^o.*n$" }] = function(msg) Poll.open = true msg.reply({ Data = "open" }) end,
})
Handlers.after("Vote").add("Tally", function(msg) return msg.Action == "Vote" end, function(msg)
  msg.reply({ Action = "Vote-Error", Error = "yes or no?" })
end)
