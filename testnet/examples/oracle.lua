-- An oracle that answers when enough of its operators agree. Spawn it with a tag `Operator` for each of
-- them, and `Quorum`. Who asks is told once, and told too when they cannot agree.
local json = require("json")

Operators, Requests, Quorum = Operators or {}, Requests or {}, tonumber(ao.env.Process.Tags.Quorum)
for _, tag in ipairs(ao.env.Process.TagArray) do
  if tag.name == "Operator" then Operators[tag.value] = true end
end

local function count(t)
  local n = 0
  for _ in pairs(t) do n = n + 1 end
  return n
end

Handlers.add("Request", "Request", function(msg)
  Requests[msg.Id] = { from = msg.From, reference = msg.Reference, question = msg.Data, answers = {} }
  local operators = Utils.keys(Operators)
  table.sort(operators)
  for _, operator in ipairs(operators) do
    Send({ Target = operator, Action = "Question", ["Request-Id"] = msg.Id, Data = msg.Data })
  end
end)

local function tell(id, request, tags)
  tags.Target, tags["X-Reference"], tags["Request-Id"] = request.from, request.reference, id
  Send(tags)
  Requests[id] = nil
end

local function operator(from) return Operators[from] == true end

Handlers.add("Answer", { Action = "Answer", From = operator, ["Request-Id"] = "_" }, function(msg)
  local id = msg["Request-Id"]
  local request = Requests[id]
  if not request or request.answers[msg.From] then return end
  request.answers[msg.From] = msg.Data
  local votes, best = {}, 0
  for _, answer in pairs(request.answers) do
    votes[answer] = (votes[answer] or 0) + 1
    best = math.max(best, votes[answer])
  end
  if votes[msg.Data] >= Quorum then
    tell(id, request, { Action = "Answer", Data = msg.Data, Agreed = tostring(votes[msg.Data]) })
  elseif best + count(Operators) - count(request.answers) < Quorum then
    tell(id, request, { Action = "No-Answer", Data = json.encode(votes) })
  end
end)

Views.add("open", function() return { requests = count(Requests), operators = count(Operators), quorum = Quorum } end)
