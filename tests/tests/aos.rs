//! The reference's checks of aos: whom a process trusts, what it sends and how it names that, and
//! its inbox. Items go the way of a node: origin, message JSON, module, outcome. What needs several
//! nodes is in `mesh/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use bytes::Bytes;
use serde_json::Value;
use weft_protocol::assignment::{Assignment, AssignmentDraft};
use weft_protocol::crypto::Signer;
use weft_protocol::fold::{Did, Fold, Work};
use weft_protocol::message::env_json;
use weft_protocol::module::Module;
use weft_protocol::outcome::{Code, Outcome};
use weft_protocol::process::{Process, Terms};
use weft_protocol::sender::ProvenSource;
use weft_protocol::time::{TimePoint, Weave};
use weft_protocol::{DataItem, Draft, Hash, Id, Network, Tag, Verified, tag};
use weft_testnet::aos::{self, Aos};
use weft_tests::skip::skip;
use weft_vm::{Engine, EngineConfig, Format, Instance, Limits};

const NETWORK: Network = Network(7);
const START_MS: u64 = 1_800_000_000_000;

/// The keys of those who take part.
const OWNER: u8 = 1;
const SCHEDULER: u8 = 2;
const AUTHORITY: u8 = 3;
const USER: u8 = 4;
const STRANGER: u8 = 5;

fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn address(seed: u8) -> String {
    key(seed).address().to_string()
}

fn sign(seed: u8, target: Option<Id>, tags: &[(&str, &str)], data: &str) -> Verified<DataItem> {
    let tags = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
    let data = Bytes::copy_from_slice(data.as_bytes());
    Draft { target, anchor: None, tags, data }.sign(&key(seed)).unwrap()
}

/// A live process of the real aos, booted.
struct Live {
    process: Process,
    env: String,
    fold: Fold,
    instance: Instance,
}

impl Live {
    /// Boots one, or notes the skip under this test's name. `parent` is whoever spawned it.
    fn boot(test: &str, parent: Option<Id>, authorities: &[&str]) -> Option<Self> {
        let wasm = match Aos::find(None).unwrap() {
            Aos::There { wasm, .. } => wasm,
            Aos::Skipped(why) => {
                skip(test, &why).unwrap();
                return None;
            }
        };
        let module = [
            ("Data-Protocol", "ao"),
            ("Type", "Module"),
            ("Module-Format", aos::FORMAT),
            ("Input-Encoding", "JSON-1"),
            ("Output-Encoding", "JSON-1"),
        ];
        // The module's bytes go to the engine: its item only names them here.
        let module = Module::accept(sign(OWNER, None, &module, "")).unwrap();
        let (id, scheduler) = (module.id().to_string(), address(SCHEDULER));
        let mut tags = vec![
            ("Data-Protocol", "ao"),
            ("Variant", "ao.TN.1"),
            ("Type", "Process"),
            ("Module", &*id),
            ("Scheduler", &*scheduler),
            ("Name", "checked"),
        ];
        let parent_id = parent.map(|parent| parent.to_string());
        tags.extend(parent_id.as_deref().map(|parent| ("From-Process", parent)));
        tags.extend(authorities.iter().map(|authority| ("Authority", *authority)));
        let terms = Terms { network: NETWORK, weave: Weave::Clock };
        let process = Process::accept(sign(OWNER, None, &tags, "NODATA"), parent, &terms).unwrap();
        let cache_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mesh-compiled");
        std::fs::create_dir_all(&cache_dir).unwrap();
        let config = EngineConfig { cache_dir: Some(cache_dir), ..EngineConfig::default() };
        let engine = Engine::new(config).unwrap();
        let format = Format::parse(aos::FORMAT).unwrap();
        let limits = module.limits(&process).unwrap();
        let limits = Limits { gas: limits.gas, memory_bytes: limits.memory_bytes };
        let instance = engine.compile(&wasm, format).unwrap().instantiate(limits).unwrap();
        let (env, fold) = (env_json(&process, &module), Fold::new(&process));
        let mut live = Self { process, env, fold, instance };
        let own = live.process.item().clone();
        assert_eq!(live.take(&own, None).code, Code::Ok);
        Some(live)
    }

    /// Gives an item the next slot and runs it.
    fn take(&mut self, item: &DataItem, proven: Option<ProvenSource>) -> Outcome {
        let slot = self.fold.next_slot();
        let timestamp = START_MS + slot * 1_000;
        let draft = AssignmentDraft {
            network: NETWORK,
            process: self.process.id(),
            epoch: 0,
            slot,
            hash_chain: Hash([3; 32]),
            time: TimePoint { timestamp, height: timestamp / 120_000 },
            message: (slot > 0).then(|| item.id()),
            excludes: Vec::new(),
        };
        let assignment = draft.draft().sign(&key(SCHEDULER)).unwrap();
        let assignment = Assignment::from_item(&assignment).unwrap();
        self.fold.plan(&self.process, &assignment, item, proven).unwrap();
        let Work::Call(message) = self.fold.step().unwrap().work.clone() else { panic!("no call") };
        let evaluation = self.instance.evaluate(message.as_bytes(), self.env.as_bytes()).unwrap();
        let weft_vm::Outcome::Returned(bytes) = evaluation.outcome else { panic!("a trap") };
        let closed = self.fold.close(Did::Returned(&bytes)).unwrap();
        if closed.outcome.code.keeps_memory() {
            self.instance.keep().unwrap();
        } else {
            self.instance.roll_back().unwrap();
        }
        closed.outcome
    }

    fn message(&mut self, seed: u8, tags: &[(&str, &str)], data: &str) -> Outcome {
        let all = [&[("Data-Protocol", "ao"), ("Type", "Message")], tags].concat();
        // Two equal messages of one key are one item.
        let slot = self.fold.next_slot().to_string();
        let all = [&all[..], &[("Slot", &slot)]].concat();
        let item = sign(seed, Some(self.process.id()), &all, data);
        self.take(&item, None)
    }

    /// What the owner's code returns.
    fn eval(&mut self, code: &str) -> String {
        let outcome = self.message(OWNER, &[("Action", "Eval")], code);
        assert_eq!(outcome.code, Code::Ok, "{code}: {}", outcome.error);
        printed(&outcome)
    }
}

fn printed(outcome: &Outcome) -> String {
    let output: Value = serde_json::from_str(&outcome.output).unwrap();
    let data = output.get("data").unwrap_or(&output);
    data.get("output").unwrap_or(data).as_str().unwrap_or_default().to_owned()
}

/// A tag of an entry of the outbox.
fn sent<'a>(outcome: &'a Outcome, at: usize, name: &str) -> Option<&'a str> {
    tag::first(&outcome.outbox.entries()[at].tags, name)
}

/// Answers with whom it heard, and whether that one is trusted.
const ECHO: &str = "Handlers.add('echo', 'Echo', function(m) \
    m.reply({Data = table.concat({m.From, m.Owner, tostring(ao.isTrusted(m))}, ' ')}) end) return 'ready'";

#[test]
fn check_078_an_authority_speaks_for_a_process() {
    let authority = address(AUTHORITY);
    let Some(mut live) = Live::boot("check_078", None, &[&authority]) else { return };
    assert_eq!(live.eval(ECHO), "ready");
    let source = Id([9; 32]).to_string();
    let heard = live.message(AUTHORITY, &[("Action", "Echo"), ("From-Process", &source)], "");
    let entry = &heard.outbox.entries()[0];
    assert_eq!(entry.target, Some(Id([9; 32])));
    assert_eq!(entry.data, Bytes::from(format!("{source} {authority} true")));
}

/// Checks 78b and 79: whoever claims to be another is heard as himself, also where he names an
/// authority. The reference believes the first and drops the second.
#[test]
fn check_079_a_claim_of_a_stranger_is_heard_as_his_own_word() {
    let authority = address(AUTHORITY);
    let Some(mut live) = Live::boot("check_079", None, &[&authority]) else { return };
    assert_eq!(live.eval(ECHO), "ready");
    let stranger = address(STRANGER);
    let (owner, process) = (address(OWNER), live.process.id().to_string());
    for claimed in [&authority, &owner, &process, &Id([9; 32]).to_string()] {
        let heard = live.message(STRANGER, &[("Action", "Echo"), ("From-Process", claimed)], "");
        let said = String::from_utf8(heard.outbox.entries()[0].data.to_vec()).unwrap();
        assert!(said.starts_with(&format!("{stranger} {stranger} ")), "{claimed}: {said}");
        let code = "Stolen = true";
        let heard = live.message(STRANGER, &[("Action", "Eval"), ("From-Process", claimed)], code);
        assert_eq!(heard.code, Code::Ok);
    }
    assert_eq!(live.eval("return tostring(Stolen)"), "nil");
}

#[test]
fn check_080_authorities_are_lists_in_any_number_of_tags() {
    let (a, b, c) = (address(11), address(12), address(13));
    let Some(mut live) = Live::boot("check_080", None, &[&format!("{a},{b}"), &c]) else { return };
    assert_eq!(live.eval("return table.concat(ao.authorities, ' ')"), format!("{a} {b} {c}"));
    assert_eq!(live.eval(ECHO), "ready");
    let source = Id([9; 32]).to_string();
    for seed in [11, 12, 13] {
        let heard = live.message(seed, &[("Action", "Echo"), ("From-Process", &source)], "");
        assert_eq!(heard.outbox.entries()[0].target, Some(Id([9; 32])), "{seed}");
    }
}

#[test]
fn check_081_only_the_owner_has_code_run() {
    let Some(mut live) = Live::boot("check_081", None, &[]) else { return };
    let heard = live.message(USER, &[("Action", "Eval")], "Stolen = true");
    assert_eq!((heard.code, heard.outbox.is_empty()), (Code::Ok, true));
    let left =
        live.eval("return tostring(Stolen) .. ' ' .. Inbox[#Inbox].Action .. ' ' .. Inbox[#Inbox].From");
    assert_eq!(left, format!("nil Eval {}", address(USER)));
}

#[test]
fn check_082_sends_are_numbered_in_anchor_and_reference() {
    let Some(mut live) = Live::boot("check_082", None, &[]) else { return };
    let code = format!("for i = 1, 2 do Send({{Target = '{}', Data = 'x'}}) end", Id([9; 32]));
    let outcome = live.message(OWNER, &[("Action", "Eval")], &code);
    assert_eq!(outcome.outbox.entries().len(), 2);
    for (at, entry) in outcome.outbox.entries().iter().enumerate() {
        let anchor = format!("{:032}", at + 1);
        assert_eq!(entry.anchor.as_ref().map(|anchor| &anchor[..]), Some(anchor.as_bytes()));
        assert_eq!(sent(&outcome, at, "Reference"), Some(&*(at + 1).to_string()));
    }
}

#[test]
fn check_083_a_child_belongs_to_its_parent() {
    let parent = Id([8; 32]);
    let Some(mut live) = Live::boot("check_083", Some(parent), &[]) else { return };
    let proven = Some(ProvenSource { process: parent, push: Hash([6; 32]), root: None });
    let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Eval")];
    // Whoever carries it.
    let item = sign(STRANGER, Some(live.process.id()), &tags, "return Owner");
    assert_eq!(printed(&live.take(&item, proven)), parent.to_string());
    // Who signed the Process item owns nothing.
    let heard = live.message(OWNER, &[("Action", "Eval")], "return Owner");
    assert_ne!(printed(&heard), parent.to_string());
}

#[test]
fn check_084_a_reply_names_what_it_answers() {
    let Some(mut live) = Live::boot("check_084", None, &[]) else { return };
    assert_eq!(live.eval(ECHO), "ready");
    let user = address(USER);
    let heard = live.message(USER, &[("Action", "Echo"), ("Reference", "77")], "");
    let target = |outcome: &Outcome| outcome.outbox.entries()[0].target.unwrap().to_string();
    assert_eq!((target(&heard), sent(&heard, 0, "X-Reference")), (user, Some("77")));
    let other = Id([9; 32]).to_string();
    let tags = [("Action", "Echo"), ("Reference", "78"), ("Reply-To", &*other)];
    let heard = live.message(USER, &tags, "");
    assert_eq!((target(&heard), sent(&heard, 0, "X-Reference")), (other, Some("78")));
}

#[test]
fn check_085_an_inbox_forgets_its_oldest() {
    let Some(mut live) = Live::boot("check_085", None, &[]) else { return };
    // What fills it is put there at once; the last ones come as messages do.
    let fill = "Inbox = {} for i = 1, 9999 do Inbox[i] = {Data = tostring(i)} end return #Inbox";
    assert_eq!(live.eval(fill), "9999");
    for data in ["10000", "10001"] {
        live.message(USER, &[("Action", "Unheard")], data);
    }
    assert_eq!(
        live.eval("return #Inbox .. ' ' .. Inbox[1].Data .. ' ' .. Inbox[#Inbox].Data"),
        "10000 2 10001"
    );
}

#[test]
fn check_075_aos_takes_no_assignment_that_it_did_not_ask_for() {
    let Some(mut live) = Live::boot("check_075", None, &[]) else { return };
    assert_eq!(live.eval(ECHO), "ready");
    let tags = [("Data-Protocol", "ao"), ("Type", "Message"), ("Action", "Echo")];
    let foreign = sign(USER, Some(Id([9; 32])), &tags, "");
    let heard = live.take(&foreign, None);
    let said = String::from_utf8(heard.outbox.entries()[0].data.to_vec()).unwrap();
    assert!(said.contains("not trusted"), "{said}");
    assert_eq!(live.eval("ao.addAssignable('all', function() return true end) return 'wanted'"), "wanted");
    let again = sign(USER, Some(Id([9; 32])), &[&tags[..], &[("N", "2")]].concat(), "");
    let heard = live.take(&again, None);
    assert!(heard.outbox.entries()[0].data.starts_with(address(USER).as_bytes()), "{heard:?}");
}
