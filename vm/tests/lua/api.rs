//! What a program of aos relies on.

use serde_json::{Value, json};

use crate::process::{FRIEND, Message, OWNER, PROCESS, Process, bare, tag};

#[test]
fn a_program_is_typed_in_and_answers() {
    let mut process = Process::spawn();
    assert_eq!(process.eval("1 + 1"), "2");
    process.eval("Handlers.add('Ping', function(msg) msg.reply({ Data = 'pong ' .. msg.Data }) end)");
    let response = process.send("Ping", "7");
    let sent = &response["Messages"][0];
    assert_eq!((&sent["Data"], &sent["Target"]), (&json!("pong 7"), &json!(OWNER)));
    assert_eq!(sent["Anchor"], format!("{:032}", 1));
    assert_eq!(tag(sent, "Reference"), Some("1"));
    let prompt = bare(response["Output"]["prompt"].as_str().unwrap());
    assert_eq!(prompt, "test@lua-0.1.0[Inbox:1]> ");
    assert_eq!(response["Output"]["print"], true);
}

#[test]
fn errors_name_the_line_and_never_an_address() {
    let mut process = Process::spawn();
    for (program, error) in [
        ("error('oh')", "error: eval:1: oh"),
        ("local x = 1\nerror('oh')", "error: eval:2: oh"),
        ("error({ code = 5 })", r#"error: {"code":5}"#),
        ("error(print)", "error: an error that is a function"),
        ("x y", "error: eval:1: syntax error near 'y'"),
        ("print('before') error('oh', 0)", "before\nerror: oh"),
        (
            "return tostring({}) .. tostring(print) .. tostring(coroutine.create(print))",
            "table: 0x1function: 0x2thread: 0x3",
        ),
        ("require('nothing')", "error: eval:1: module 'nothing' not found"),
    ] {
        let said = process.eval(program);
        assert!(said.ends_with(error), "{program}: {said}");
        assert!(!said.contains("0x") || said == error, "{program}: {said}");
    }
    process.eval("Handlers.add('Fail', function() Half = true; Send({Target = 'x'}); error('no') end)");
    let response = process.send("Fail", "");
    assert!(bare(response["Error"].as_str().unwrap()).contains("eval:1: no"), "{response}");
    assert_eq!(response.get("Messages"), None);
    assert_eq!(process.eval("Half"), "");
}

/// Adds a handler for each pattern and sees which of the messages it takes.
#[test]
fn every_form_of_pattern_picks_its_messages() {
    let ping = Message::new("Ping", "hello").tag("Amount", "10").from(FRIEND);
    let pong = Message::new("Pong", "").tag("Amount", "x1").tag("Colour", "Red");
    for (pattern, takes_ping, takes_pong) in [
        ("'Ping'", true, false),
        ("{ Action = 'Ping' }", true, false),
        ("{ Action = 'pING' }", true, false),
        ("{ Action = { 'Nothing', 'Ping' } }", true, false),
        ("{ Amount = '_' }", true, true),
        ("{ Amount = '%d+' }", true, true),
        ("{ Amount = '^%d+$' }", true, false),
        ("{ Colour = 'red', Action = 'Pong' }", false, true),
        ("{ Colour = 'red', Action = 'Ping' }", false, false),
        ("{ Missing = '_' }", false, false),
        ("{ Data = function(data) return data == 'hello' end }", true, false),
        ("{ From = 'FRIENDfriend.*' }", true, false),
        ("function(msg) return msg.Action == 'Ping' end", true, false),
        ("function(msg) return msg.Action == 'Ping' and -1 or 0 end", true, false),
        ("function(msg) return msg.Action == 'Ping' and 'break' or 'skip' end", true, false),
        ("Handlers.utils.hasMatchingTag('Colour', 'Red')", false, true),
        ("Handlers.utils.hasMatchingTagOf('Action', { 'Ping', 'Pong' })", true, true),
        ("Handlers.utils.hasMatchingData('hello')", true, false),
        ("Handlers.utils.continue({ Action = 'Ping' })", true, false),
    ] {
        let mut process = Process::spawn();
        process.eval(&format!("Handlers.add('it', {pattern}, function(msg) Taken = (Taken or 0) + 1 end)"));
        for (message, takes) in [(&ping, takes_ping), (&pong, takes_pong)] {
            process.eval("Taken = nil");
            process.take(message);
            assert_eq!(process.eval("Taken") == "1", takes, "{pattern}");
        }
    }
}

#[test]
fn handlers_stand_in_the_order_that_was_asked_for() {
    let mut process = Process::spawn();
    process.eval(
        "Seen = {}
         local function note(name) return function() table.insert(Seen, name) end end
         local go = function(msg) return msg.Action == 'Go' and 'continue' or false end
         Handlers.add('b', go, note('b'))
         Handlers.append('d', go, note('d'))
         Handlers.prepend('a', go, note('a'))
         Handlers.after('b').add('c', go, note('c'))
         Handlers.before('b').add('aa', go, note('aa'))
         Handlers.once('first', go, note('once'))
         Handlers.add('twice', go, note('twice'), 2)
         Handlers.add('gone', go, note('gone'))
         Handlers.remove('gone')
         Handlers.add('b', go, note('B'))",
    );
    let order = |process: &mut Process| {
        process.eval("Seen = {}");
        process.send("Go", "");
        process.eval("table.concat(Seen, ' ')")
    };
    assert_eq!(order(&mut process), "once a aa B c d twice");
    assert_eq!(order(&mut process), "a aa B c d twice");
    assert_eq!(order(&mut process), "a aa B c d");
    let names = process.eval(
        "local n = {} for i, h in ipairs(Handlers.list) do n[i] = h.name end return table.concat(n, ' ')",
    );
    assert_eq!(names, "a _eval _default aa b c d");
}

/// Patterns ask the node who a message is from, and when it came; not the sender, who may have tags of these names.
#[test]
fn no_tag_satisfies_a_pattern_for_what_the_node_says() {
    let mut process = Process::spawn();
    process.eval(&format!(
        "Taken = ''
         for name, value in pairs({{ From = '{FRIEND}', Owner = '{FRIEND}', Nonce = '5', Cron = 'true', Data = 'x' }}) do
           Handlers.add(name, {{ [name] = value }}, function() Taken = Taken .. name end)
         end
         Send({{ Target = '{FRIEND}' }}).onReply(function() Taken = Taken .. 'reply' end)"
    ));
    let names = ["From", "from", "Owner", "Nonce", "Cron", "Data"];
    let values = [FRIEND, FRIEND, FRIEND, "5", "true", "x"];
    let claims = names
        .iter()
        .zip(values)
        .fold(Message::new("Forged", "y"), |message, (name, value)| message.tag(name, value));
    process.take(&claims.tag("X-Reference", "1"));
    assert_eq!(process.eval("Taken"), "");
    process.take(&Message::new("Real", "y").tag("X-Reference", "1").from(FRIEND));
    assert_eq!(process.eval("Taken"), "reply");
}

/// A pattern that keeps somebody out is asked of what is there alone, not of a tag that nobody gave.
#[test]
fn patterns_that_say_no_are_not_asked_again_about_nothing() {
    let mut process = Process::spawn();
    process.eval(&format!(
        "Patterns = {{
           {{ From = function(from) return from ~= '{FRIEND}' end }}, {{ From = '^[^F]*$' }},
           {{ Action = function(action) return action ~= 'Say' end }}, {{ Colour = '_' }}, {{ Missing = '^[^x]*$' }},
         }}
         Handlers.add('look', 'Say', function(msg)
           Taken = ''
           for place, pattern in ipairs(Patterns) do
             if Utils.matchesSpec(msg, pattern) then Taken = Taken .. place end
           end
         end)"
    ));
    let say = Message::new("Say", "").tag("Colour", "red");
    for (from, taken) in [(FRIEND, "4"), ("BOB", "124")] {
        process.take(&say.clone().from(from));
        assert_eq!(process.eval("Taken"), taken, "{from}");
    }
}

/// The list may change while it is gone through: nobody is skipped, or runs again for the same message.
#[test]
fn handlers_that_change_their_list_hide_nobody_and_end() {
    let mut process = Process::spawn();
    process.eval(
        "Seen = ''
         local function note(name, more) return function() Seen = Seen .. name if more then more() end end end
         local function go(msg) return msg.Action == 'Go' and 'continue' end
         Handlers.add('self', go, note('s', function() Handlers.remove('self') end))
         Handlers.add('next', go, note('n'))
         Handlers.add('asks', go, note('a', function() Send({ Target = 'X' }).onReply(print) end))
         Handlers.add('adds', go, note('o', function() Handlers.once(go, note('1')) end))
         Handlers.add('other', go, note('r', function() Handlers.remove('gone') Handlers.append('late', go, note('l')) end))
         Handlers.add('gone', go, note('g'))",
    );
    process.send("Go", "");
    assert_eq!(process.eval("Seen"), "snaor");
    process.eval("Seen = ''");
    process.send("Go", "");
    assert_eq!(process.eval("Seen"), "1naorl");
}

/// The numbers of the published generator; without a seed it begins with chance of the assignment.
#[test]
fn chance_is_the_known_generator() {
    let mut process = Process::spawn();
    process.eval("C = require('.chance')");
    assert_eq!(process.eval("C.random() ~= C.random() and C.random() < 1"), "true");
    process.eval("C.seed(5489) for i = 1, 9999 do Last = C.random() end");
    assert_eq!(process.eval("math.tointeger(C.random() * 4294967296)"), "4123659995");
    process.eval("C.seed(1) Low, High = 9, 0 for i = 1, 1000 do local d = C.integer(1, 6) Low, High = math.min(Low, d), math.max(High, d) end");
    assert_eq!(process.eval("Low .. ' ' .. High"), "1 6");
    assert!(process.eval("C.integer(2, 1)").contains("less than the least"));
    assert!(process.eval("C.seed('x')").contains("a whole number"));
}

/// A module of the runtime runs once, however its name is written, and its beginning never again.
#[test]
fn require_gives_the_same_module_under_every_way_to_write_its_name() {
    let mut process = Process::spawn();
    for (program, said) in [
        ("return tostring(pcall(require, '.boot'))", "false"),
        ("return tostring(pcall(require, '.boot.init'))", "false"),
        ("return select(2, pcall(require, '.boot'))", "module '.boot' not found"),
        ("return tostring(require('.crypto.init') == require('.crypto'))", "true"),
        ("return tostring(require('.handlers.utils') == require('.handlers-utils'))", "true"),
        ("return tostring(require('.handlers-init') == Handlers and require('ao') == ao)", "true"),
        ("return tostring(require('.json') == require('json'))", "true"),
        ("require('.process.init') print('heard')", "heard"),
        ("require('.clock-init') return os.time() > 1700000000000", "true"),
        ("package.loaded['.common.utils'] = { two = 2 } return require('.common.utils').two", "2"),
        ("package.loaded['.common.init'] = 'mine' return require('.common.init')", "mine"),
    ] {
        assert_eq!(process.eval(program), said, "{program}");
    }
}

#[test]
fn a_handler_waits_for_an_answer_and_goes_on() {
    let mut process = Process::spawn();
    process.eval(&format!(
        "Handlers.add('Ask', function(msg)
           local answer = Send({{ Target = '{FRIEND}', Action = 'Question' }}).receive()
           local more = Receive({{ Action = 'More' }})
           msg.reply({{ Data = answer.Data .. ' ' .. more.Data }})
         end)"
    ));
    let asked = process.send("Ask", "");
    let reference = tag(&asked["Messages"][0], "Reference").unwrap().to_owned();
    let stranger = process.take(&Message::new("Answer", "no").tag("X-Reference", &reference));
    assert_eq!(stranger["Messages"], json!([]));
    let answer = Message::new("Answer", "yes").tag("X-Reference", &reference).from(FRIEND);
    assert_eq!(process.take(&answer)["Messages"], json!([]));
    // A checkpoint in between holds the waiting thread.
    let mut process = process.restored();
    let more = process.send("More", "please");
    assert_eq!(more["Messages"][0]["Data"], "yes please");
    assert_eq!(more["Messages"][0]["Target"], OWNER);
    assert_eq!(process.eval("#Handlers.coroutines"), "0");
    assert_eq!(process.send("More", "again")["Messages"], json!([]));
}

#[test]
fn an_error_after_waiting_fails_the_message_that_woke_it() {
    let mut process = Process::spawn();
    process.eval("Handlers.add('Ask', function() local m = Receive('Go'); error('woken by ' .. m.Data) end)");
    process.send("Ask", "");
    let response = process.send("Go", "x");
    assert!(response["Error"].as_str().unwrap().contains("woken by x"), "{response}");
    // It was rolled back, so it waits still.
    let response = process.send("Go", "y");
    assert!(response["Error"].as_str().unwrap().contains("woken by y"), "{response}");
}

#[test]
fn what_is_sent_spawned_and_assigned_is_in_the_result() {
    let mut process = Process::spawn();
    let response = process.send(
        "Eval",
        "Send({ Target = 'T', Action = 'A', Data = { list = { 1, 2 } }, Tags = { B = '2', A = '1' } })
         ao.send({ Target = 'U', Tags = { { name = 'X', value = 'y' } } })
         Spawn('MODULE2', { Data = 'code', Colour = 'red' })
         Spawn({ Colour = 'blue' })
         Assign({ Processes = { ao.id }, Message = 'ITEM' })",
    );
    let messages = response["Messages"].as_array().unwrap();
    assert_eq!(messages[0]["Data"], r#"{"list":[1,2]}"#);
    let names: Vec<&str> =
        messages[0]["Tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Data-Protocol", "Variant", "Type", "Reference", "Action", "Content-Type", "A", "B"]);
    assert_eq!((tag(&messages[1], "X"), tag(&messages[1], "Reference")), (Some("y"), Some("2")));
    let spawns = response["Spawns"].as_array().unwrap();
    assert_eq!((tag(&spawns[0], "Module"), tag(&spawns[0], "Colour")), (Some("MODULE2"), Some("red")));
    assert_eq!((&spawns[0]["Data"], &spawns[1]["Data"]), (&json!("code"), &json!("NODATA")));
    assert_eq!((tag(&spawns[1], "Module"), tag(&spawns[1], "Reference")), (Some("MODULE"), Some("4")));
    assert_eq!(response["Assignments"], json!([{"Message": "ITEM", "Processes": [PROCESS]}]));
    for (call, error) in [
        ("Send('x')", "a message is a table"),
        ("Spawn(5, {})", "the id of a module"),
        ("Assign({ Processes = 'x', Message = 'y' })", "list of ids"),
        ("Handlers.add('x')", "the pattern"),
        ("Handlers.add('x', 'y', 5)", "has no function"),
        ("Handlers.add(5, 'y', print)", "begins with its name"),
        ("Handlers.remove(nil)", "the name of a handler"),
    ] {
        let said = process.eval(call);
        assert!(said.contains(error) && said.contains("eval:1:"), "{call}: {said}");
    }
}

#[test]
fn a_spawned_child_is_greeted() {
    let mut process = Process::spawn();
    process.eval("Spawn('MODULE2', {}).onReply(function(msg) Child = msg.Process end)");
    let spawned = Message::new("Spawned", " ").tag("Reference", "1").tag("Process", "CHILD");
    process.take(&spawned.clone().from(FRIEND));
    assert_eq!(process.eval("Child"), "");
    process.take(&spawned.from(PROCESS));
    assert_eq!(process.eval("Child"), "CHILD");
}

#[test]
fn messages_are_forwarded_with_their_way_back() {
    let mut process = Process::spawn();
    process
        .eval(&format!("Handlers.add('Pass', function(msg) msg.forward('{FRIEND}', {{ Extra = 'e' }}) end)"));
    let message = Message::new("Pass", "body").tag("Reference", "77").tag("Note", "n").from("SENDER");
    let sent = process.take(&message)["Messages"][0].clone();
    assert_eq!((&sent["Target"], &sent["Data"]), (&json!(FRIEND), &json!("body")));
    for (name, value) in
        [("Reply-To", "SENDER"), ("X-Reference", "77"), ("X-Origin", "SENDER"), ("Note", "n"), ("Extra", "e")]
    {
        assert_eq!(tag(&sent, name), Some(value), "{name}");
    }
    for name in ["Id", "Timestamp", "reply", "forward", "From", "Owner", "Hash-Chain"] {
        assert_eq!(tag(&sent, name), None, "{name}");
    }
}

#[test]
fn trust_is_by_signer_and_never_by_a_claimed_name() {
    let mut process = Process::booted(&[("Authority", "MU1, MU2"), ("Authority", "MU3")], "");
    process.eval("Handlers.add('Who', function(msg) Who = msg.From end)");
    let said = |process: &mut Process, message: &Message| {
        process.eval("Who = 'nobody'");
        process.take(message);
        process.eval("Who")
    };
    let who = Message::new("Who", "");
    assert_eq!(said(&mut process, &who.clone().from(FRIEND)), FRIEND);
    assert_eq!(said(&mut process, &who.clone().from(FRIEND).signed("MU3")), FRIEND);
    assert_eq!(said(&mut process, &who.clone().from(FRIEND).signed("STRANGER")), "nobody");
    assert_eq!(said(&mut process, &who.clone().from("MU1").signed("STRANGER")), "nobody");
    // Tags do not replace what the node says.
    let claims = who.tag("From", OWNER).tag("Owner", OWNER).tag("Id", "x").tag("Timestamp", "1").from(FRIEND);
    process.eval(
        "Handlers.add('Who', function(msg) Who = msg.From .. os.time() .. msg.Timestamp .. msg.Id end)",
    );
    let found = said(&mut process, &claims);
    assert!(found.starts_with(&format!("{FRIEND}1700000000")) && found.contains("MESSAGE0"), "{found}");
    // Only the owner evaluates.
    let eval = process.take(&Message::new("Eval", "Owned = true").from(FRIEND));
    assert_eq!(eval["Error"], Value::Null);
    assert_eq!(process.eval("Owned"), "");
    assert_eq!(process.eval("#Inbox"), "2");
}

#[test]
fn assignments_are_taken_where_a_pattern_allows_them() {
    let mut process = Process::spawn();
    process.eval("Handlers.add('Price', function(msg) Price = msg.Data end)");
    let price = Message::new("Price", "12").to(FRIEND).from("ORACLE");
    let refused = process.take(&price);
    assert_eq!(refused["Messages"][0]["Data"], "Assignment is not trusted by this process!");
    assert_eq!(refused["Messages"][0]["Target"], "ORACLE");
    process.eval("ao.addAssignable('price', { Action = 'Price', From = 'ORACLE' })");
    process.take(&price);
    assert_eq!(process.eval("Price"), "12");
    process.eval("ao.removeAssignable('price')");
    assert_eq!(process.take(&price)["Messages"][0]["Target"], "ORACLE");
}

#[test]
fn a_process_boots_from_its_own_data() {
    let mut process = Process::booted(&[("On-Boot", "Data")], "Count = 41\nCount = Count + 1");
    assert_eq!(process.eval("Count"), "42");
    assert_eq!(process.eval("Name .. Owner"), format!("test{OWNER}"));
    let mut other = Process::unborn(&[]);
    let response = other.take(&Message::new("Boot", "").tag("On-Boot", "x".repeat(43).as_str()));
    assert!(response["Error"].as_str().unwrap().contains("On-Boot"), "{response}");
}

#[test]
fn time_and_chance_come_from_the_assignment() {
    let mut process = Process::spawn();
    assert_eq!(process.eval("os.time()"), "1700000000001");
    assert_eq!(process.eval("os.date('%Y-%m-%d %H:%M:%S')"), "2023-11-14 22:13:20");
    assert_eq!(process.eval("os.date('!%A %j %p %I', 951827696)"), "Tuesday 060 PM 12");
    assert_eq!(process.eval("os.time({ year = 2000, month = 2, day = 29, hour = 12 })"), "951825600");
    assert_eq!(process.eval("os.time({ year = 2000, month = 14, day = -3, hour = 0 })"), "980640000");
    let table =
        "local t = os.date('*t', -1) return t.year .. ' ' .. t.month .. ' ' .. t.day .. ' ' .. t.hour";
    assert_eq!(process.eval(table), "1969 12 31 23");
    for seconds in
        [0i64, 86_399, 951_782_399, 951_782_400, 4_102_444_800, -1, -2_208_988_800, 253_402_300_799]
    {
        let back = process.eval(&format!("os.time(os.date('*t', {seconds}))"));
        assert_eq!(back, seconds.to_string());
    }
    assert!(process.eval("os.date('%Q')").contains("'%Q' is no format"));
    let mut twin = process.restored();
    let draw = "local t = {} for i = 1, 5 do t[i] = math.random(1000000) end return table.concat(t, ' ')";
    let first = process.eval(draw);
    assert_eq!(twin.eval(draw), first);
    assert_ne!(process.eval(draw), first);
    assert_eq!(
        process.eval(
            "math.randomseed(7) local a = math.random(1000) math.randomseed(7) return a == math.random(1000)"
        ),
        "true"
    );
}

#[test]
fn json_goes_in_and_out_as_programs_expect() {
    let mut process = Process::spawn();
    for (program, expected) in [
        ("json.encode({ b = 1, a = { 1, 2.5, 'x', true } })", r#"{"a":[1,2.5,"x",true],"b":1}"#),
        ("json.encode({})", "[]"),
        ("json.encode({ f = print, x = 1 })", r#"{"x":1}"#),
        ("json.encode(1e300) .. json.encode(0.1) .. json.encode(1 << 62)", "1e+3000.14611686018427387904"),
        ("json.encode('a\"b\\\\c\\n\\0\\1')", r#""a\"b\\c\n\u0000\u0001""#),
        ("json.decode('[1,2.0,\"\\\\u00e9\\\\ud83d\\\\ude00\",null,false]')[3]", "\u{e9}\u{1f600}"),
        ("#json.decode(' [ ] ')", "0"),
        ("json.decode('{\"a\":{\"b\":[1,{\"c\":9}]}}').a.b[2].c", "9"),
        ("math.type(json.decode('5')) .. math.type(json.decode('5.0'))", "integerfloat"),
    ] {
        assert_eq!(
            process.eval(&format!("local json = require('json') return {program}")),
            expected,
            "{program}"
        );
    }
    for (program, error) in [
        ("json.encode({ 1, nil, 3 })", "sparse"),
        ("json.encode({ 1, x = 2 })", "mixed"),
        ("json.encode(0/0)", "unexpected number"),
        ("json.encode({ coroutine.create(print) })", "unexpected type"),
        ("json.decode('[1,')", "line 1"),
        ("json.decode('{\"a\":1}x')", "trailing"),
        ("json.decode('\"a\\\\x\"')", "escape"),
        ("json.decode('nul')", "invalid literal"),
    ] {
        let said = process.eval(&format!("local json = require('json') return {program}"));
        assert!(said.contains(error), "{program}: {said}");
    }
    // A message's own JSON is a table already.
    process.eval(
        "Handlers.add('Sum', function(msg) msg.reply({ Data = { sum = msg.Data[1] + msg.Data[2] } }) end)",
    );
    let sum = process.take(&Message::new("Sum", "[20, 22]").tag("Content-Type", "application/json"));
    assert_eq!(sum["Messages"][0]["Data"], r#"{"sum":42}"#);
}
