#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::args::Global;
use super::*;

fn process(number: u8, head: u64, lag: u64, memory: Option<u64>) -> Value {
    json!({
        "process": Id([number; 32]), "name": format!("p{number}\u{1b}[2J"), "module": Id([9; 32]),
        "scheduler": weft_protocol::Address([8; 32]), "duties": ["schedule", "compute"], "head": head,
        "computed": null, "running": null, "anchored": null, "fault": null, "waits": null,
        "lag": lag, "memory_bytes": memory, "gas": 10 * u64::from(number),
    })
}

fn top(at_ms: u64, processes: &[Value]) -> Top {
    let status = json!({
        "version": "1.2.3", "address": weft_protocol::Address([8; 32]), "peer_id": "x",
        "network": "local", "listen": [], "roles": [], "peers": 3, "processes": processes.len(),
        "weave": "local:x", "uptime_ms": at_ms, "pid": 1,
        "room": {
            "used_bytes": 3 << 20, "budget_bytes": 4 << 20, "store_bytes": 2 << 20, "weave_bytes": 5 << 10,
            "reusable_bytes": 1 << 20, "free_bytes": 7_u64 << 30, "is_full": true,
        },
    });
    let level = |role: &str, name: &str, used: u64, limit: u64| json!({ "role": role, "name": name, "used": used, "limit": limit });
    let levels = [
        level("compute", "memory_bytes", 1 << 30, 4 << 30),
        level("compute", "instances", 1, 100),
        level("scheduler", "inbox", 1, 1024),
        level("store", "requests", 512, 1024),
        level("messenger", "inbox", 0, 1024),
    ];
    let top = json!({
        "status": status, "at_ms": at_ms, "resident_bytes": 300 << 20,
        "levels": levels, "processes": processes,
    });
    serde_json::from_value(top).unwrap()
}

fn screen() -> Screen {
    Screen::new(&Global { data_dir: None, json: false, quiet: false })
}

fn frame() -> Frame {
    let before = top(3_600_000, &[process(1, 10, 5, None), process(2, 10, 0, Some(2 << 20))]);
    let now = top(3_602_000, &[process(1, 10, 5, None), process(2, 17, 0, Some(2 << 20))]);
    Frame { now, before: Some(before) }
}

/// The processes in the order in which they are shown.
fn order(sort: Order) -> Vec<u8> {
    frame().sorted(sort).iter().map(|(process, _)| process.info.process.0[0]).collect()
}

#[test]
fn a_frame_says_how_the_node_fares_and_what_its_processes_do() {
    let lines = frame().lines(Order::Rate, screen(), None);
    assert_eq!(lines[0], "weft 1.2.3  local  up 1h 0m  peers 3  processes 2 (1 in memory)");
    assert_eq!(lines[1], "guests [#####...............] 1.0 GB of 4.0 GB  node 300.0 MB");
    let disk = "disk [###############.....] 3.0 MB of 4.0 MB  store 2.0 MB, 1.0 MB of it to use again  weave \
                5.0 KB  free 7.0 GB  FULL: no new work is taken";
    assert_eq!(lines[2], disk);
    // The fullest first, and nothing of what is empty.
    assert_eq!(lines[3], "queues store/requests 512/1024  scheduler/inbox 1/1024");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (second, first) = (Id([2; 32]).to_string(), Id([1; 32]).to_string());
    let rest = ["schedule,compute", "17", "3.5", "-", "0", "2.0", "MB", "20"];
    assert_eq!(words(&lines[6])[..1], [second]);
    assert_eq!(words(&lines[6])[2..], rest);
    assert_eq!((&words(&lines[7])[0], &words(&lines[7])[4]), (&first, &"0.0".to_owned()));
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:?}");
}

#[test]
fn a_frame_fits_its_screen_and_names_the_keys() {
    for (height, width) in [(5, 20), (7, 80), (1, 1), (50, 200)] {
        let lines = frame().lines(Order::Rate, screen(), Some((height, width)));
        assert!(lines.len() <= height, "{height}: {lines:?}");
        assert!(lines.iter().all(|line| console::measure_text_width(line) <= width), "{width}: {lines:?}");
        assert!(KEYS.starts_with(lines.last().unwrap().as_str()), "{lines:?}");
    }
}

#[test]
fn the_list_is_sorted_as_asked() {
    assert_eq!(order(Order::Rate), [2, 1]);
    assert_eq!(order(Order::Lag), [1, 2]);
    assert_eq!(order(Order::Memory), [2, 1]);
    assert_eq!(order(Order::Gas), [2, 1]);
    assert_eq!(order(Order::Head), [2, 1]);
    assert_eq!(order(Order::Name), [1, 2]);
    for (key, sort) in [('r', Order::Rate), ('m', Order::Memory), ('n', Order::Name)] {
        assert_eq!(Order::of_key(key), Some(sort));
    }
    assert_eq!(Order::of_key('x'), None);
}

#[test]
fn rates_need_two_looks() {
    let frame = Frame { before: None, ..frame() };
    assert!(frame.sorted(Order::Rate).iter().all(|(_, rate)| rate.is_none()));
    assert_eq!(frame.json()["processes"][0]["slots_per_second"], Value::Null);
}

#[test]
fn sizes_and_times_are_short() {
    assert_eq!([bytes(5), bytes(2048), bytes(3 << 30)], ["5 B", "2.0 KB", "3.0 GB"]);
    assert_eq!([time(5), time(65), time(3_700), time(90_000)], ["5s", "1m 5s", "1h 1m", "1d 1h"]);
}

/// Runs this test program again, which panics while it shows the view.
#[test]
fn a_panic_gives_the_terminal_back_before_it_is_reported() {
    const ASKED: &str = "WEFT_TEST_PANIC";
    if std::env::var_os(ASKED).is_some() {
        let _stage = Stage::enter(Term::stdout());
        panic!("as asked");
    }
    let name = "cli::top::tests::a_panic_gives_the_terminal_back_before_it_is_reported";
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(ASKED, "1")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(errors.contains("as asked") && !out.status.success(), "{errors}");
    let (entered, left) = (text.find(ENTER).unwrap(), text.find(LEAVE).unwrap());
    assert!(entered < left, "{text:?}");
}
