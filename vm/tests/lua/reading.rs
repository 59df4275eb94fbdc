//! Reading: state without a message, and items beside one.

use std::sync::Arc;

use serde_json::{Value, json};
use weft_vm::{Opened, Weave};

use crate::process::{FRIEND, Message, OWNER, Process};

fn read(process: &mut Process, path: &str) -> Result<Value, String> {
    let ask = Message::new("Weft-Read", "").tag("Path", path).from(FRIEND).field("Read-Only", json!(true));
    let response = process.take(&ask);
    match response["Error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(serde_json::from_str(response["Output"]["data"].as_str().unwrap()).unwrap()),
    }
}

#[test]
fn every_global_of_a_program_is_read_by_its_path() {
    let mut process = Process::spawn();
    process.eval(
        "Balances = { alice = 5, ['b-_1'] = { 1, 2, { deep = 'x' } } } Supply = require('.bint')(256)('12345678901234567890123')
         Circle = {} Circle.self = Circle  Odd = { [1] = 'a', x = print, y = 0/0, [2.5] = 'z' } Works = true
         List = { 1, print, 3 } function Code() end",
    );
    let overview = read(&mut process, "").unwrap();
    assert_eq!(
        overview,
        json!({"globals": {"Balances": "table of 2", "Circle": "table of 1", "List": "table of 3", "Name": "test",
            "Odd": "table of 4", "Owner": OWNER, "Supply": "userdata", "Works": true}, "views": []})
    );
    for (path, expected) in [
        ("Balances.alice", json!(5)),
        ("Balances.b-_1", json!([1, 2, {"deep": "x"}])),
        ("Balances.b-_1.3.deep", json!("x")),
        ("Supply", json!("12345678901234567890123")),
        ("Circle", json!({"self": "(a circle)"})),
        ("Odd", json!({"1": "a", "y": "nan", "2.5": "z"})),
        ("List", json!([1, "(a function)", 3])),
        ("Works", json!(true)),
    ] {
        assert_eq!(read(&mut process, path).unwrap(), expected, "{path}");
    }
    for path in
        ["Nothing", "Balances.carol", "Balances.alice.x", "Code", "ao", "Handlers.list", "..", "print"]
    {
        assert!(read(&mut process, path).unwrap_err().contains("nothing at"), "{path}");
    }
    let all = read(&mut process, "*").unwrap();
    assert_eq!((&all["Balances"]["alice"], &all["Name"]), (&json!(5), &json!("test")));
    process.eval("Huge = {} for i = 1, 100001 do Huge[i] = i end");
    assert!(read(&mut process, "Huge").unwrap_err().contains("too much"));
    assert_eq!(read(&mut process, "Huge.100001").unwrap(), json!(100_001));
}

#[test]
fn a_program_offers_views() {
    let mut process = Process::spawn();
    process.eval(
        "Sold = { 3, 4 }
         Views.add('total', function(msg) local n = 0 for _, v in ipairs(Sold) do n = n + v end
           return { sum = n, unit = msg.Unit or 'none' } end)
         Views.add('broken', function() error('not now') end)",
    );
    assert_eq!(read(&mut process, "total").unwrap(), json!({"sum": 7, "unit": "none"}));
    assert_eq!(read(&mut process, "total.sum").unwrap(), json!(7));
    assert!(read(&mut process, "broken").unwrap_err().contains("not now"));
    assert_eq!(read(&mut process, "").unwrap()["views"], json!(["broken", "total"]));
    process.eval("Views.remove('broken')");
    assert!(read(&mut process, "broken").is_err());
    assert!(process.eval("Views.add('a.b', print)").contains("without dots"));
    assert!(process.eval("Views.add('a', 5)").contains("is a function"));
}

/// Only the node says that a message is a read; in the log it is an ordinary one.
#[test]
fn a_message_in_the_log_reads_nothing() {
    let mut process = Process::spawn();
    let response = process.take(&Message::new("Weft-Read", "").tag("Path", "Owner").tag("Read-Only", "true"));
    assert_eq!(response["Output"]["print"], true);
    assert_eq!(process.eval("#Inbox"), "2");
}

/// A program under an id, and 100,000 bytes under another one.
#[derive(Debug)]
struct Items;

impl Weave for Items {
    fn open(&self, id: &str) -> Opened {
        match id {
            "PROGRAM" => Opened::Item(b"Count = 41\nCount = Count + 1 print('begun')".as_slice().into()),
            "LARGE" => Opened::Item(vec![0xff; 100_000].into()),
            "EMPTY" => Opened::Item([].into()),
            _ => Opened::NotFound,
        }
    }
}

#[test]
fn a_process_boots_from_an_item_and_reads_others() {
    let tags = [("On-Boot", "PROGRAM")];
    let mut process = Process::unborn(&tags);
    process.instance.offer(Arc::new(Items));
    let response = process.take(&Message::new("Boot", "not this").tag("On-Boot", "PROGRAM"));
    assert_eq!(response["Output"]["data"], "begun");
    for (program, said) in [
        ("Count", "42"),
        (
            "local d = require('.drive').getData('LARGE') return #d .. ' ' .. d:byte(1) .. ' ' .. d:byte(-1)",
            "100000 255 255",
        ),
        ("#require('.drive').getData('EMPTY')", "0"),
        ("tostring(require('.drive').getData('NOTHING'))", "nil"),
        ("return select(2, require('.drive').getData('NOTHING'))", "this process may not read such an item"),
    ] {
        assert_eq!(process.eval(program), said, "{program}");
    }
    assert!(process.eval("require('.drive').getData({})").contains("string expected"));
}
