-- An oracle that answers when enough of its operators agree. Spawn it with a tag `Operator` for each of
-- them, and `Quorum`. Who asks is told once, and told too when they cannot agree.
local json = require("json")

Operators, Requests, Quorum = Operators or {}, Requests or {}, tonumber(ao.env.Process.Tags.Quorum or "")
for _, tag in ipairs(ao.env.Process.TagArray) do
  if tag.name == "Operator" then Operators[tag.value] = true end
end
if not Quorum or Quorum < 1 or Quorum > #Utils.keys(Operators) then
  error("it needs a tag Operator for each, and Quorum, no more than they are", 0)
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
  elseif best + #Utils.keys(Operators) - #Utils.keys(request.answers) < Quorum then
    tell(id, request, { Action = "No-Answer", Data = json.encode(votes) })
  end
end)

Views.add("open", function()
  return { requests = #Utils.keys(Requests), operators = #Utils.keys(Operators), quorum = Quorum }
end)
