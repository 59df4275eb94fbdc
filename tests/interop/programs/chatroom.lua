-- A chatroom: members hear what members say.
local json = require('json')

Members = Members or {}

local function place(account)
  for at, member in ipairs(Members) do
    if member == account then return at end
  end
end

Handlers.add('Register', Handlers.utils.hasMatchingTag('Action', 'Register'), function (msg)
  if not place(msg.From) then table.insert(Members, msg.From) end
  Handlers.utils.reply('Registered.')(msg)
end)

Handlers.add('Unregister', Handlers.utils.hasMatchingTag('Action', 'Unregister'), function (msg)
  local at = place(msg.From)
  if at then table.remove(Members, at) end
  Handlers.utils.reply('Unregistered.')(msg)
end)

Handlers.add('Get-Members', Handlers.utils.hasMatchingTag('Action', 'Get-Members'), function (msg)
  msg.reply({ Data = json.encode(Members) })
end)

Handlers.add('Broadcast', Handlers.utils.hasMatchingTag('Action', 'Broadcast'), function (msg)
  if not place(msg.From) then
    Handlers.utils.reply('Not registered.')(msg)
    return
  end
  for _, member in ipairs(Members) do
    Send({ Target = member, Action = 'Broadcasted', Broadcaster = msg.From, Data = msg.Data })
  end
end)
