//! Programs that mean harm: each ends in an error of Lua's or at its limit, and the process goes on.

use weft_vm::{Outcome, Trap};

use crate::process::{Message, Process};

#[test]
fn what_goes_too_far_is_an_error_of_lua() {
    let mut process = Process::spawn();
    let mut wrong = Vec::new();
    for (program, ends) in [
        ("local function r() return 1 + r() end r()", "stack overflow"),
        ("return string.rep('x', 100 << 20)", "not enough memory"),
        ("return ('x'):rep(1 << 31, 'y')", "resulting string too large"),
        ("local t, s = {}, ('x'):rep(1000) for i = 1, 1e9 do t[i] = s .. i end", "not enough memory"),
        ("local t = {} t[1] = t return require('json').encode(t)", "circular reference"),
        ("return require('json').decode(string.rep('[', 5000))", "nested too deep"),
        ("return load(string.rep('(', 5000))()", "attempt to call a nil value"),
        ("return assert(load('return ' .. ('a.'):rep(1e5) .. 'a'))()", "attempt to index"),
        ("local function n(s) return (s:gsub('.', n)) end return n('x')", "C stack overflow"),
        ("local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x", "chain too long"),
        ("local t = {} for i = 1, 500 do t = setmetatable({}, { __index = t }) end return t.x", ""),
        ("return #table.pack(table.unpack({}, 1, 1e7))", "too many results"),
        ("return ('a'):rep(250000):find(('.-'):rep(250000))", "pattern too complex"),
        ("table.sort({ 1, 2, 3, 4 }, function() error('sorted') end)", "sorted"),
        ("local co co = coroutine.wrap(function() return co() end) co()", "non-suspended coroutine"),
        ("local function deep() return coroutine.wrap(deep)() end deep()", "C stack overflow"),
        ("setmetatable(_G, { __index = function(_, k) error('no ' .. k) end }) return nothing", "no nothing"),
        ("string.dump(print)", "attempt to call a nil value"),
        ("return load('\\27Lua', 'x', 'b')", "binary chunk"),
        ("local x <close> = setmetatable({}, { __close = function() error('closed') end })", "closed"),
        ("return ('x'):rep(1000):rep(1000):gsub('x', ('y'):rep(1000))", "not enough memory"),
    ] {
        let text = process.eval(program);
        if !text.contains(ends) || (ends.is_empty() && !text.is_empty()) {
            wrong.push(format!("{program}: {}", text.chars().take(200).collect::<String>()));
        }
        assert_eq!(process.eval("1 + 1"), "2", "after {program}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A finalizer would run within any allocation, in the midst of the shell's own work.
#[test]
fn nothing_runs_while_the_shell_is_at_work() {
    let mut process = Process::spawn();
    process.eval(
        "local json = require('json')
         Ran, Wrong = 0, 0
         for round = 1, 200 do
           local t = {}
           for i = 1, 50 do t['key' .. i] = i end
           for i = 1, 200 do
             setmetatable({}, { __gc = function()
               Ran = Ran + 1
               for k in pairs(t) do t[k] = nil end
               for j = 1, 100 do t['more' .. j .. ('x'):rep(50)] = j end
               json.encode({ 'something', 'else' })
             end })
           end
           local text = json.encode(t)
           for k, v in pairs(json.decode(text)) do if k ~= 'key' .. v then Wrong = Wrong + 1 end end
         end",
    );
    assert_eq!(process.eval("Ran .. ' ' .. Wrong"), "0 0");
}

/// A weak table loses entries while it is written: their keys are written whole, or not at all.
#[test]
fn a_weak_table_is_encoded_as_it_was() {
    let mut process = Process::spawn();
    // Keys so long that the collector goes round more than once while they are written.
    let said = process.eval(
        "local wrong, t = 0, setmetatable({}, { __mode = 'v' })
         for i = 100, 299 do t[i .. ('k'):rep(10000)] = { i } end
         for key, value in require('json').encode(t):gmatch('\"([^\"]*)\":([^,}]*)') do
           if value ~= '[' .. key:sub(1, 3) .. ']' or #key ~= 10003 then wrong = wrong + 1 end
         end
         return wrong",
    );
    assert_eq!(said, "0");
    // An array too, of which nothing else holds any longer.
    let said = process.eval(
        "local held, t, key = {}, setmetatable({}, { __mode = 'v' }), ('k'):rep(10000)
         for i = 1, 300 do
           held[i] = { [key] = i }
           t[i] = held[i]
         end
         held = nil
         return #require('json').encode(t)",
    );
    let digits = 9 + 2 * 90 + 3 * 201;
    assert_eq!(said, (300 * (10_000 + r#"{"":},"#.len()) + digits + 1).to_string());
}

#[test]
fn what_never_ends_ends_with_its_gas() {
    let mut process = Process::spawn();
    for program in [
        "while true do end",
        "while true do pcall(error) end",
        "while true do pcall(error, {}) end",
        "return (('a'):rep(30)):find(('a?'):rep(30) .. ('a'):rep(30))",
        "return ('x'):rep(1 << 20):find('.-.-.-b')",
        "local s = 'x' while true do s = s:rep(2):sub(1, 1000) end",
        "setmetatable({}, { __gc = error }) while true do local t = {} end",
        "for i = 1, math.huge do coroutine.wrap(function() coroutine.yield() end)() end",
        "local b = require('.bint')(16384) local x = b.maxinteger() while true do x = x * x // 3 end",
        "while true do require('.hash').sha512(('x'):rep(10000)) end",
        "goto a ::a:: goto a",
    ] {
        let ended = process.outcome(&Message::new("Eval", program));
        assert_eq!(ended, Outcome::Trapped(Trap::OutOfGas), "{program}");
        process.instance.roll_back().unwrap();
    }
    assert_eq!(process.eval("1 + 1"), "2");
}

/// A program that breaks what the runtime stands on hurts itself alone, and only until it is rolled back
/// or evaluated anew.
#[test]
fn a_program_may_break_itself_and_no_more() {
    for program in [
        "Handlers = nil",
        "Handlers.list = {}",
        "Handlers.list = 5",
        "ao = nil",
        "Inbox = nil",
        "Colors = nil",
        "Utils = nil",
        "Utils.matchesSpec = nil",
        "table.insert, table.concat, ipairs, pairs = nil",
        "string.gsub = function() error('mine') end",
        "_G.print = nil",
        "setmetatable(_G, { __newindex = function() end })",
        "coroutine.running = nil coroutine.create = nil",
        "getmetatable('').__index = nil",
        "math.random = nil os = nil json = nil require = nil",
        "Name = setmetatable({}, { __tostring = function() error('name') end })",
        "Owner = nil",
        "ao.outbox.Messages = { 5 }",
        "ao.outbox = setmetatable({}, { __index = function() error('box') end })",
        "ao.send = function() end Handlers.evaluate = nil",
        "ao.result = function() return coroutine.create(print) end",
        "ao.result = function() return ('x'):rep(1024):rep(11 << 10) end",
        "Views = nil",
    ] {
        let mut process = Process::spawn();
        let before = process.instance.memory_image().unwrap();
        for message in [
            Message::new("Eval", program),
            Message::new("Eval", "return 1"),
            Message::new("Ping", "x"),
            Message::new("Ping", "x").from("STRANGER"),
        ] {
            // Whatever it says, it is an answer: nothing of this traps or confuses the host.
            let ended = process.outcome(&message);
            let Outcome::Returned(bytes) = &ended else { panic!("{program}: {ended:?}") };
            let result: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            assert!(result["ok"].is_boolean() && result.get("response").is_some(), "{program}: {result}");
            process.instance.keep().unwrap();
        }
        let mut again = Process::spawn();
        assert!(again.instance.memory_image().unwrap() == before, "{program} reached another process");
        assert_eq!(again.eval("1 + 1"), "2");
    }
}

#[test]
fn texts_that_are_no_message_are_answered() {
    let mut process = Process::spawn();
    for (message, environment) in [
        ("", "{}"),
        ("{", "{}"),
        ("null", "{}"),
        ("[]", "{}"),
        ("\"x\"", "{}"),
        ("{}", "{}"),
        ("{}", "[]"),
        ("{\"Tags\":5}", "{\"Process\":5}"),
        ("{\"Tags\":[5]}", "{}"),
        ("{\"Tags\":[{\"name\":5,\"value\":{}}]}", "{}"),
        ("{\"Tags\":[{\"name\":\"Action\",\"value\":[]}],\"From\":{},\"Owner\":{}}", "{}"),
        ("{\"Tags\":[],\"From\":null,\"Owner\":1e400,\"Timestamp\":\"x\"}", "{}"),
        ("\u{0}\u{1}\u{2}", "\u{0}"),
    ] {
        let ended = process.instance.evaluate(message.as_bytes(), environment.as_bytes()).unwrap().outcome;
        let Outcome::Returned(bytes) = &ended else { panic!("{message:?}: {ended:?}") };
        let result: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert!(result["ok"].is_boolean(), "{message:?}: {result}");
        process.instance.roll_back().unwrap();
    }
    assert_eq!(process.eval("1 + 1"), "2");
}

#[test]
fn the_inbox_and_the_output_have_an_end() {
    let mut process = Process::spawn();
    process.eval("for i = 1, 10000 do Inbox[i] = { Data = tostring(i) } end");
    process.send("Note", "the newest");
    assert_eq!(process.eval("#Inbox .. Inbox[1].Data .. Inbox[10000].Data"), "100002the newest");
    let ended = process.outcome(&Message::new("Eval", "print(('x'):rep(1024):rep(11 << 10))"));
    let Outcome::Returned(bytes) = ended else { panic!("{ended:?}") };
    assert!(String::from_utf8(bytes).unwrap().contains("more than 10 MiB"));
    process.instance.roll_back().unwrap();
    assert_eq!(process.eval("1 + 1"), "2");
}
