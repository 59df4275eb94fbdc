//! Many processes on a node that is too small for them: all are answered, memory stays in its
//! budget, and one that never ends holds up nobody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weft_protocol::crypto::Signer;
use weft_protocol::data_item::Draft;
use weft_protocol::{Id, Tag};

use super::node::Node;
use super::socket::ask;

const PROCESSES: u8 = 50;
const BUDGET: f64 = 16.0 * 1024.0 * 1024.0;

/// A node for anyone, with the counter's module, and somebody with a key.
struct Crowd {
    node: Node,
    module: String,
    signer: Signer,
}

impl Crowd {
    fn start(extra: &[&str]) -> Self {
        let flags = ["--schedule-for", "anyone", "--memory-budget", "16mb", "--compute-threads", "1"];
        let node = Node::start_with(&[&flags, extra].concat());
        let module = node.add_counter();
        Self { node, module, signer: Signer::from_seed(&[5; 32]) }
    }

    fn submit(&self, target: Option<Id>, tags: &[(&str, &str)], data: Vec<u8>) -> Id {
        let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
        let item = Draft { target, tags, data: data.into(), ..Draft::default() }.sign(&self.signer).unwrap();
        let request = json!({ "do": "submit", "item": STANDARD.encode(item.raw()) });
        let answer = ask(self.node.folder.path(), &request);
        assert_eq!(answer["done"]["id"], item.id().to_string(), "{answer}");
        item.id()
    }

    fn spawn(&self, number: u8, tags: &[(&str, &str)]) -> Id {
        let me = self.node.ready["address"].as_str().unwrap();
        let named =
            [("Data-Protocol", "ao"), ("Type", "Process"), ("Module", &*self.module), ("Scheduler", me)];
        self.submit(None, &[&named, tags].concat(), vec![number])
    }

    /// Sends so many bytes. Messages that are to be different have different numbers.
    fn send(&self, process: Id, action: &str, number: u64, bytes: usize) {
        let number = number.to_string();
        let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", action), ("Number", &*number)];
        self.submit(Some(process), &tags, vec![b'x'; bytes]);
    }

    fn output(&self, process: Id, slot: u64) -> Value {
        let of = json!({ "slot": slot });
        let request = json!({ "do": "result", "process": process, "of": of, "wait_ms": 60_000 });
        let answer = ask(self.node.folder.path(), &request);
        assert_eq!(answer["done"]["code"], 0, "{answer}");
        answer["done"]["result"]["Output"].clone()
    }

    fn counted(&self, name: &str) -> f64 {
        let samples = self.node.json(&["metrics"]);
        samples[name].as_f64().unwrap_or_else(|| panic!("{name} is not in {samples}"))
    }

    fn memory(&self) -> f64 {
        self.counted("weft_budget_used{role=\"compute\",budget=\"memory_bytes\"}")
    }
}

#[test]
fn fifty_processes_are_answered_in_the_memory_of_a_few() {
    let crowd = Crowd::start(&[]);
    assert_eq!(crowd.counted("weft_budget_limit{role=\"compute\",budget=\"memory_bytes\"}"), BUDGET);
    let processes: Vec<Id> = (0..PROCESSES).map(|number| crowd.spawn(number, &[])).collect();
    // What a process grows to while it runs comes on top: a large message, some copies of it.
    let slack = 4.0 * 1024.0 * 1024.0;
    let mut most = 0f64;
    for round in 1..=3u64 {
        for process in &processes {
            crowd.send(*process, "Increment", round, 200_000);
        }
        for process in &processes {
            assert_eq!(crowd.output(*process, round), round.to_string(), "round {round}");
        }
        let memory = crowd.memory();
        assert!(memory <= BUDGET + slack, "{memory} bytes after round {round}");
        most = most.max(memory);
    }
    let left = crowd.counted("weft_evictions_total");
    assert!(left >= 10.0, "only {left} processes left memory, which held {most} bytes");
    // With one of them pinned, the others find their places too.
    crowd.node.json(&["pin", &processes[0].to_string()]);
    for process in &processes {
        crowd.send(*process, "Increment", 4, 200_000);
    }
    for process in &processes {
        assert_eq!(crowd.output(*process, 4), "4");
    }
    let verified = crowd.node.json(&["verify", &processes[1].to_string()]);
    assert_eq!(verified["difference"], Value::Null, "{verified}");
}

#[test]
fn endless_messages_of_one_hold_up_nobody() {
    let crowd = Crowd::start(&[]);
    let endless = crowd.spawn(0, &[("Compute-Limit", "9000000000000")]);
    for number in 0..6 {
        crowd.send(endless, "Loop", number, 0);
    }
    let others: Vec<Id> = (1..=10).map(|number| crowd.spawn(number, &[])).collect();
    for round in 1..=5u64 {
        for process in &others {
            crowd.send(*process, "Increment", round, 0);
        }
        for process in &others {
            assert_eq!(crowd.output(*process, round), round.to_string());
        }
    }
    // If others waited for it, each of the five rounds would have waited for one message at least.
    let listed = crowd.node.json(&["inspect", &endless.to_string()]);
    assert!(listed["computed"]["slot"].as_u64().unwrap() <= 2, "{listed}");
}
