// The recorded sequence, in order: what is sent to one process, each case with a name of its own.

import * as actors from './actors.mjs'
import { basics, departures, extremes, failures, numbers, structures, system, texts } from './language.mjs'

const { alice, authority, bob, friend, owner, id } = actors

/** Code that the owner has the process evaluate. */
const run = (name, code) => ({ name: `eval: ${name}`, from: owner, data: code, tags: { Action: 'Eval' } })
const runs = (cases) => cases.map(([name, code]) => run(name, code))
const send = (name, tags, more = {}) => ({ name, tags, ...more })

const boot = {
  name: 'boot',
  Id: actors.process,
  from: owner,
  data: 'the text of the process',
  rawTags: actors.processTags,
}

const handlers = [
  run('add handlers', `
    Handlers.add("ping", "Ping", function(msg) Pings = (Pings or 0) + 1 msg.reply({ Data = "pong " .. Pings, Foo = "bar" }) end)
    Handlers.add("sum", Handlers.utils.hasMatchingTag("Action", "Sum"), function(msg) Send({ Target = msg.From, Data = tostring(tonumber(msg.Tags.A) + tonumber(msg.Tags.B)), Tags = { Kind = "sum" } }) end)
    Handlers.add("table pattern", { Action = "Match", Level = { "high", "higher" }, Who = "_" }, function(msg) msg.reply({ Data = "matched " .. msg.Who }) end)
    Handlers.add("lua pattern", { Action = "^Get%-.+$" }, function(msg) msg.reply({ Data = "got " .. msg.Action }) end)
    Handlers.add("function pattern", function(msg) return msg.Data == "only me" end, function(msg) msg.reply({ Data = "you" }) end)
    Handlers.add("fails", "Fail", function(msg) Failures = (Failures or 0) + 1 msg.reply({ Data = "never sent" }) error("on purpose: " .. Failures) end)
    Handlers.once("once", "Once", function(msg) msg.reply({ Data = "this once" }) end)
    Handlers.prepend("goes on", function(msg) return msg.Action == "Ping" and "continue" or false end, function(msg) Seen = (Seen or 0) + 1 end)
    Handlers.prepend("first", function(msg) return msg.Action == "Ping" and 1 or 0 end, function(msg) Firsts = (Firsts or 0) + 1 end)
    return #Handlers.list`),
  send('ping', { Action: 'Ping', Reference: '7' }, { data: 'hello' }),
  send('ping by another', { Action: 'Ping', Reference: '8' }, { from: bob }),
  send('ping with Reply-To', { Action: 'Ping', 'Reply-To': bob }),
  run('what the pings left', 'return Show(Pings, Seen, Firsts)'),
  send('sum', { Action: 'Sum', A: '2', B: '40' }),
  send('sum of no number', { Action: 'Sum', A: 'two', B: '40' }),
  send('sum of large numbers', { Action: 'Sum', A: '9007199254740993', B: '1e300' }),
  send('table pattern', { Action: 'Match', Level: 'higher', Who: 'anybody' }),
  send('table pattern misses', { Action: 'Match', Level: 'low', Who: 'anybody' }),
  send('lua pattern', { Action: 'Get-Balance' }),
  send('function pattern', {}, { data: 'only me' }),
  send('handler fails', { Action: 'Fail' }),
  run('the failure left nothing', 'return Show(Failures, ao.reference, #ao.outbox.Messages)'),
  send('handler fails again', { Action: 'Fail' }),
  send('once', { Action: 'Once' }),
  send('once is over', { Action: 'Once' }),
  run('remove a handler', 'Handlers.remove("sum") local l = {} for _, h in ipairs(Handlers.list) do l[#l + 1] = h.name end return table.concat(l, ",")'),
  send('removed handler', { Action: 'Sum', A: '1', B: '1' }),
  run('several in one message', `
    for i = 1, 3 do Send({ Target = "${bob}", Action = "Many", Data = "m" .. i, Tags = { Index = tostring(i) } }) end
    ao.send({ Target = "${alice}", Data = "by ao.send", ["X-Custom"] = "yes" }) return #ao.outbox.Messages`),
  run('send data of every kind', `
    for _, d in ipairs({ "text", 12, 1.5, true }) do Send({ Target = "${alice}", Data = d }) end
    Send({ Target = "${alice}", Data = require("json").encode({ a = 1 }), N = 3, B = false, List = "x" }) return "sent"`),
  run('send without a target', 'return Show(pcall(Send, { Data = "to nobody" }))'),
  run('forward', `Handlers.add("forward", "Forward", function(msg) msg.forward("${bob}", { Action = "Forwarded" }) end) return "ready"`),
  send('forwarded', { Action: 'Forward', 'X-Kept': 'value' }, { data: 'carry me' }),
  run('spawn', `Spawn("${id('child module')}", { Data = "born", Tags = { Name = "child" } }) return #ao.outbox.Spawns`),
  run('assign', `Assign({ Processes = { ao.id, "${friend}" }, Message = "${id('some message')}" }) ao.assign({ Processes = { ao.id }, Message = "${id('base layer')}", BaseLayer = true, Exclude = { "Data", "Anchor" } }) return #ao.outbox.Assignments`),
  send('spawned', { Action: 'Spawned', Process: id('child'), Reference: '1' }, { from: friend, owner: authority, forwardedBy: authority }),
]

const waiting = [
  run('receive across messages', `
    Handlers.add("ask", "Ask", function(msg)
      local answer = Send({ Target = "${bob}", Action = "Question" }).receive()
      Answer = answer.Data
      msg.reply({ Data = "bob said " .. answer.Data })
    end) return "ready"`),
  send('ask', { Action: 'Ask' }),
  send('something between', { Action: 'Ping' }),
  run('the question', 'return Show(ao.reference, Answer)'),
  send('wrong answer', { 'X-Reference': '999999' }, { from: bob, data: 'not this' }),
  send('answer', { 'X-Reference': '22' }, { from: bob, data: 'forty-two' }),
  run('answered', 'return Answer'),
  run('Receive by pattern', 'Handlers.add("wait", "Wait", function(msg) local r = Receive({ Action = "Go" }) Gone = r.From end) return 1'),
  send('wait', { Action: 'Wait' }),
  send('go', { Action: 'Go' }, { from: bob }),
  run('went', 'return Gone'),
]

const trust = [
  send('stranger claims another', { Action: 'Ping' }, { from: friend, owner: bob }),
  send('by an authority', { Action: 'Ping', 'From-Process': friend }, { from: friend, owner: authority, forwardedBy: authority }),
  send('by the second of a list', { Action: 'Ping', 'From-Process': friend }, { from: friend, owner: id('third authority') }),
  send('from an authority id', { Action: 'Ping', 'From-Process': authority }, { from: authority, owner: bob }),
  send('eval by a stranger', { Action: 'Eval' }, { data: 'Stolen = true return Owner' }),
  send('eval claims the owner', { Action: 'Eval' }, { from: owner, owner: bob, data: 'Stolen = true return Owner' }),
  run('nothing stolen', 'return Show(Stolen, Owner)'),
  send('assignment not wanted', { Action: 'Ping' }, { target: friend }),
  run('want assignments', 'ao.addAssignable("wanted", { Action = "Wanted" }) Handlers.add("wanted", "Wanted", function(msg) msg.reply({ Data = msg.Target }) end) return ao.isAssignable({ Action = "Wanted" })'),
  send('assignment wanted', { Action: 'Wanted' }, { target: friend }),
  send('assignment still not wanted', { Action: 'Other' }, { target: friend }),
  send('assignment without a target', { Action: 'Wanted' }, { target: '' }),
  run('authorities', 'return table.concat(ao.authorities, " ")'),
]

const inbox = [
  send('to the inbox', { Action: 'Nobody-Handles-This', Subject: 'first' }, { data: 'kept' }),
  send('tags of every kind', [['Action', 'Odd'], ['action', 'lower'], ['Twice', '1'], ['Twice', '2'], ['Empty', ''], ['with space', 'x y'], ['\u00fcmlaut', '\u4e16'], ['1', 'number'], ['__index', 'meta'], ['Data', 'not data'], ['Target', 'not target'], ['Id', 'not id']]),
  send('many tags', Array.from({ length: 120 }, (_, at) => [`Tag-${at}`, `value ${at}`])),
  send('anchored', { Action: 'Note' }, { anchor: '0'.repeat(31) + '7' }),
  send('data is JSON', { 'Content-Type': 'application/json' }, { data: '{"a":[1,2,{"b":null}],"c":"\\u00e9"}' }),
  send('data is unicode', {}, { data: 'h\u00e9llo \u4e16\u754c \u{1F600} \u2028 \u0000 \u001f \u007f "quoted" \\back\\' }),
  send('read only', { Action: 'Ping' }, { readOnly: true }),
  { name: 'cron tick', tick: true },
  run('inbox', 'return Show(#Inbox, Inbox[#Inbox].From, Inbox[2] and Inbox[2].Action)'),
  run('tags as seen', 'for _, m in ipairs(Inbox) do if m.Tags.Twice then local l = {} for k, v in pairs(m.Tags) do l[#l + 1] = k .. "=" .. v end table.sort(l) return Show(m.Data, m.Target == ao.id, table.concat(l, ",")) end end'),
  run('dump the last', 'local m = Inbox[#Inbox] return Show(m.Timestamp, m["Block-Height"], m.Cron, m.Id)'),
  run('name of the process', 'Name = "renamed" return Show(Name, ao.id == ao.env.Process.Id, ao.env.Module.Id, ao._version)'),
  run('prompt', 'Prompt = function() return "> " end return "prompted"'),
  run('broken prompt', 'Prompt = function() error("no prompt") end return "set"'),
  run('prompt again', 'Prompt = function() return "" end return "quiet"'),
]

const large = [
  run('measure data', 'Handlers.add("measure", "Measure", function(msg) Largest = #msg.Data msg.reply({ Data = tostring(#msg.Data), Head = msg.Data:sub(1, 8) }) end) return 1'),
  send('a megabyte', { Action: 'Measure' }, { data: '0123456789abcdef'.repeat(65_536) }),
  send('a megabyte to escape', { Action: 'Measure' }, { data: '\n"\\\u00e9'.repeat(52_000) }),
  run('measured', 'return Largest'),
]

const endings = [
  run('everything together', `
    local t = {} for i = 1, 50 do t[i] = { n = i, s = ("x"):rep(i % 7), f = i / 3 } end
    table.sort(t, function(a, b) return a.f > b.f end)
    Send({ Target = "${alice}", Action = "Report", Data = require("json").encode(t) })
    Spawn("${id('child module')}", { Data = "another" })
    print("reported") return #t`),
  send('ping at the end', { Action: 'Ping' }),
  run('state at the end', 'return Show(Count, Kept, Pings, Seen, Firsts, Tick(), Tock(), ao.reference, #Inbox)'),
]

const all = [
  boot,
  ...runs(basics),
  ...handlers,
  ...runs(failures),
  ...waiting,
  ...trust,
  ...runs(numbers),
  ...runs(texts),
  ...inbox,
  ...runs(structures),
  ...runs(system),
  ...large,
  ...endings,
  ...runs(departures),
  ...runs(extremes),
]

/** Every case as `{ name, json }`: the message JSON of a slot as a node would write it. */
export function sequence() {
  return all.map((entry, slot) => {
    const { tick, ...given } = entry
    const message = tick ? actors.tick(slot) : actors.message(slot, given)
    return { name: given.name, json: JSON.stringify(message) }
  })
}
