//! The built module: it answers as the rules do natively, goes on from a restored memory, judges
//! real logs, and costs what its page says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use weft_protocol::market::{Answer, BOND_UNIT, Carried, ClaimTree, Earlier, LEAVES_MAX, Opening, Paid};
use weft_protocol::{DataItem, Id, Position, Verified};
use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Module, Outcome, guests};

use super::fixture::{Log, MESSAGE, OTHER_MESSAGE, SCHEDULER, address, key};
use super::guest::evaluate;
use super::guest::ledger::Ledger;
use super::market::{Case, LEDGER, SENT, Told, header_bytes};

const LIMITS: Limits = Limits { gas: 9_000_000_000_000, memory_bytes: 256 << 20 };
const TOKEN: Id = Id([200; 32]);
const PERIOD: u64 = 16;

fn compiled() -> Module {
    Engine::new(EngineConfig::default()).unwrap().compile(guests::LEDGER, Format::Plain).unwrap()
}

fn environment() -> Vec<u8> {
    let tag = |name: &str, value: &str| json!({"name": name, "value": value});
    let tags = json!([
        tag("Token", &TOKEN.to_string()),
        tag("Network", "00000007"),
        tag("Challenge-Slots", &PERIOD.to_string()),
        tag("Challenge-Seconds", &PERIOD.to_string()),
    ]);
    let party = |id: Id, tags| json!({"Id": id, "Owner": Id([9; 32]), "Tags": tags});
    json!({"Process": party(LEDGER, tags), "Module": party(Id([8; 32]), json!([]))}).to_string().into_bytes()
}

/// Action, tags and data of a message.
type Request<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

/// The time of the story's logs at slot 0; here too a slot takes a second.
const START_MS: u64 = 1_700_000_000_000;

/// A message as the node writes it.
fn message(slot: u64, from: &str, action: &str, tags: &[(&str, &str)], data: &str) -> Vec<u8> {
    let tags: Vec<Value> = std::iter::once(&("Action", action))
        .chain(tags)
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!({
        "Id": "m", "Signature": "s", "Data": data, "Owner": from, "Target": LEDGER, "Anchor": null, "From": from,
        "Tags": tags, "Epoch": 0, "Nonce": slot, "Timestamp": START_MS + 1_000 * slot, "Block-Height": 3,
    })
    .to_string()
    .into_bytes()
}

/// The module and the native rules beside each other.
struct Both {
    guest: Instance,
    native: Ledger,
    environment: Vec<u8>,
    slot: u64,
    gas: u64,
}

impl Both {
    fn new() -> Self {
        let guest = compiled().instantiate(LIMITS).unwrap();
        Self { guest, native: Ledger::new(), environment: environment(), slot: 0, gas: 0 }
    }

    fn raw(&mut self, message: &[u8]) -> Value {
        let evaluation = self.guest.evaluate(message, &self.environment).unwrap();
        let Outcome::Returned(bytes) = evaluation.outcome else { panic!("{:?}", evaluation.outcome) };
        self.gas = evaluation.gas;
        self.guest.keep().unwrap();
        let expected = evaluate(&mut self.native, message, &self.environment);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        serde_json::from_str(&expected).unwrap()
    }

    /// Sends a message to both: the answer, which is the last that they send.
    fn send(&mut self, from: &str, action: &str, tags: &[(&str, &str)], data: &str) -> Value {
        self.slot += 1;
        let message = message(self.slot, from, action, tags, data);
        let result = self.raw(&message);
        assert_eq!(result["ok"], true, "{result}");
        result["response"]["Messages"].as_array().and_then(|sent| sent.last()).cloned().unwrap_or_default()
    }

    fn done(&mut self, from: &str, action: &str, tags: &[(&str, &str)], data: &str) -> Value {
        let answer = self.send(from, action, tags, data);
        assert!(!tag(&answer, "Action").ends_with("-Error"), "{action}: {}", answer["Data"]);
        answer
    }

    fn refused(&mut self, from: &str, action: &str, tags: &[(&str, &str)], data: &str) -> String {
        let answer = self.send(from, action, tags, data);
        assert_eq!(tag(&answer, "Action"), format!("{action}-Error"));
        answer["Data"].as_str().unwrap().to_owned()
    }

    fn fund(&mut self, to: &str, tokens: u64) {
        let quantity = (u128::from(tokens) * u128::from(BOND_UNIT)).to_string();
        self.done(&TOKEN.to_string(), "Credit-Notice", &[("Sender", to), ("Quantity", &quantity)], "");
    }

    fn balance(&mut self, of: &str) -> u128 {
        tag(&self.done(of, "Balance", &[], ""), "Balance").parse().unwrap()
    }
}

fn tag<'a>(message: &'a Value, name: &str) -> &'a str {
    let tags = message["Tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = tags.iter().find(|tag| tag["name"] == name);
    found.and_then(|tag| tag["value"].as_str()).unwrap_or_default()
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn tokens(number: u64) -> String {
    (u128::from(number) * u128::from(BOND_UNIT)).to_string()
}

/// A ledger with an escrow for the source of a story and a bond for the claimant, when the window has begun.
fn market(told: &Told, messenger: &str) -> Both {
    let mut both = Both::new();
    let source = told.source.process.id().to_string();
    both.fund("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf", 3);
    both.fund(messenger, 10);
    both.done(messenger, "Bond", &[("Quantity", &tokens(10))], "");
    let tags = [("Sender", messenger), ("Quantity", &*tokens(5)), ("X-Escrow", &*source)];
    both.done(&TOKEN.to_string(), "Credit-Notice", &tags, "");
    both.slot += 300;
    both
}

/// A claim whose first leaf the story bears out; the other, of the window's last slot, it does not.
fn claimed(told: &Told, rank: usize) -> Case {
    let carrier = told.at_rank(MESSAGE, rank);
    let push = told.push(MESSAGE, carrier);
    let assignment = told.accept(&push, rank as u64 * 2_000);
    Case::among(told, push, &assignment, carrier, &[511])
}

fn opening(case: &Case) -> String {
    text(Opening { tree: case.tree.clone(), shown: case.answer.clone() }.encode())
}

/// The whole life of a claim on real logs: signatures of two attestors, three schedulers' slots and
/// five offers are verified in the guest, by its host.
#[test]
fn a_claim_is_answered_with_the_bytes_of_two_logs() {
    let told = Told::new();
    let case = claimed(&told, 1);
    let carrier = told.at_rank(MESSAGE, 1);
    let (messenger, source) = (address(carrier).to_string(), told.source.process.id().to_string());
    let challenger = Id([44; 32]).to_string();
    let mut both = market(&told, &messenger);
    both.fund(&challenger, 1);
    let window = case.claim().window.to_string();
    let tags = [("Source", &*source), ("Window", &*window)];
    // Pushes alone, and with the answer for another push than the first.
    let other = told.honest(OTHER_MESSAGE, 1);
    let mut unshown = Opening { tree: case.tree.clone(), shown: other.answer.clone() };
    both.refused(&messenger, "Claim", &tags, &text(case.tree.encode()));
    let why = both.refused(&messenger, "Claim", &tags, &text(unshown.encode()));
    assert!(why.contains("the path does not show"), "{why}");
    unshown.shown.leaf = case.answer.leaf.clone();
    unshown.shown.previous = None;
    assert!(
        both.refused(&messenger, "Claim", &tags, &text(unshown.encode())).contains("not that of the leaf")
    );
    let answer = both.done(&messenger, "Claim", &tags, &opening(&case));
    assert_eq!(tag(&answer, "Quantity"), case.claim().sum.to_string());
    assert!(both.gas < 3_000_000_000, "{} gas", both.gas);
    let leaf = case.number.to_string();
    let about = [("Messenger", &*messenger), ("Source", &*source), ("Window", &*window), ("Leaf", &*leaf)];
    both.done(&challenger, "Challenge", &about, "");
    // Another push's answer, a broken one, none.
    for wrong in
        [text(other.answer.encode()), text(&case.answer.encode()[1..]), "not base64".into(), String::new()]
    {
        both.refused(&messenger, "Answer", &about, &wrong);
    }
    both.done(&messenger, "Answer", &about, &text(case.answer.encode()));
    assert!(both.gas < 3_000_000_000, "{} gas", both.gas);
    both.slot += PERIOD;
    assert_eq!(both.balance(&messenger), u128::from(case.claim().sum) + u128::from(BOND_UNIT / 100));
    // What was paid is paid.
    assert!(both.refused(&messenger, "Claim", &tags, &opening(&case)).contains("or paid"));
}

/// The leaf that the story does not bear out: it is challenged, cannot be answered for, and the claim is lost.
#[test]
fn a_leaf_that_is_not_owed_loses_claim_and_bond() {
    let told = Told::new();
    let case = claimed(&told, 0);
    let (carrier, source) = (told.at_rank(MESSAGE, 0), told.source.process.id());
    let messenger = address(carrier).to_string();
    let challenger = Id([44; 32]).to_string();
    let mut both = market(&told, &messenger);
    both.fund(&challenger, 1);
    let (source, window) = (source.to_string(), case.claim().window.to_string());
    let tags = [("Source", &*source), ("Window", &*window)];
    // More than is due for the first leaf is refused at once.
    let paid = case.tree.leaves()[0].paid;
    let more = Paid { amount: paid.amount + 1, ..paid };
    let tree =
        ClaimTree::new(address(carrier), told.source.process.id(), case.claim().window, vec![more]).unwrap();
    let shown = Answer { leaf: tree.path(0).unwrap(), ..case.answer.clone() };
    let why = both.refused(&messenger, "Claim", &tags, &text(Opening { tree, shown }.encode()));
    assert!(why.contains("are claimed for a push that pays"), "{why}");

    both.done(&messenger, "Claim", &tags, &opening(&case));
    let about = [("Messenger", &*messenger), ("Source", &*source), ("Window", &*window), ("Leaf", "1")];
    both.done(&challenger, "Challenge", &about, "");
    let answer =
        Answer { leaf: case.tree.path(1).unwrap(), previous: case.tree.path(0), ..case.answer.clone() };
    let why = both.refused(&messenger, "Answer", &about, &text(answer.encode()));
    assert!(why.contains("not that of the leaf"), "{why}");
    both.slot += PERIOD;
    both.send(&messenger, "Settle", &[], "");
    assert_eq!(both.balance(&messenger), 0);
    assert_eq!(both.balance(&challenger), u128::from(BOND_UNIT) * 6);
    let audit = both.done(&challenger, "Audit", &[], "");
    let audit: Value = serde_json::from_str(audit["Data"].as_str().unwrap()).unwrap();
    assert_eq!((&audit["conserves"], &audit["claims"]), (&json!(true), &json!("0")));
    assert_eq!(audit["escrows"], tokens(10));
}

/// A push that its target took twice, in one log: the second carrier's leaf is struck by what shows the first.
#[test]
fn a_leaf_of_the_second_of_two_slots_is_struck() {
    let told = Told::new();
    let mut log = TargetLog::of(&told);
    let first = told.push(MESSAGE, told.at_rank(MESSAGE, 0));
    let at_first = log.take(first.item.id());
    for number in 0..5 {
        log.take(Id([number + 1; 32]));
    }
    let carrier = told.at_rank(MESSAGE, 1);
    let second = told.push(MESSAGE, carrier);
    let receipt = log.take(second.item.id());
    let case = Case::among(&told, second, &receipt, carrier, &[511]);
    let (messenger, source) = (address(carrier).to_string(), told.source.process.id().to_string());
    let mut both = market(&told, &messenger);
    let window = case.claim().window.to_string();
    let tags = [("Source", &*source), ("Window", &*window)];
    both.done(&messenger, "Claim", &tags, &opening(&case));
    let push = Carried {
        item: header_bytes(&first.item),
        proof: first.proof.raw().clone(),
        assignment: at_first.raw().clone(),
        ..case.answer.push.clone()
    };
    let between = log.ids[2..7].to_vec();
    let earlier = Earlier { leaf: case.answer.leaf.clone(), push, receipt: receipt.raw().clone(), between };
    let about = [("Messenger", &*messenger), ("Source", &*source), ("Window", &*window), ("Leaf", "0")];
    let cut = Earlier { between: earlier.between[1..].to_vec(), ..earlier.clone() };
    let why = both.refused(&source, "Challenge", &about, &text(cut.encode()));
    assert!(why.contains("does not stand in the log"), "{why}");
    let answer = both.done(&source, "Challenge", &about, &text(earlier.encode()));
    assert!(both.gas < 3_000_000_000, "{} gas", both.gas);
    let left = case.tree.leaves()[1].paid.amount;
    assert_eq!(tag(&answer, "Quantity"), (case.claim().sum - left).to_string());
    both.slot += PERIOD;
    assert_eq!(both.balance(&messenger), u128::from(left));
}

/// A log of the story's target.
struct TargetLog {
    log: Log,
    time: u64,
    ids: Vec<Id>,
}

impl TargetLog {
    /// After its slot 0, in time for rank 1.
    fn of(told: &Told) -> Self {
        let time = told.acceptance(&told.push(MESSAGE, told.at_rank(MESSAGE, 1)), 4_000).time.timestamp;
        let mut log = Self { log: Log::new(told.target.clone()), time, ids: Vec::new() };
        log.assign(None);
        log
    }

    fn take(&mut self, item: Id) -> Verified<DataItem> {
        self.assign(Some(item))
    }

    fn assign(&mut self, item: Option<Id>) -> Verified<DataItem> {
        let mut draft = self.log.draft(item);
        draft.time.timestamp = self.time;
        let signed = draft.draft().sign(&key(SCHEDULER)).unwrap();
        self.log.link = weft_protocol::hash_chain::next(signed.id(), self.log.link);
        self.log.slot += 1;
        self.ids.push(signed.id());
        signed
    }
}

/// Whoever signed the Process item of the source has its escrow back, and nobody else.
#[test]
fn the_owner_of_a_source_shows_its_header() {
    let told = Told::new();
    let item = told.source.process.item();
    let source = told.source.process.id().to_string();
    let mut both = market(&told, &Id([1; 32]).to_string());
    let header = text(header_bytes(item));
    let why = both.refused(&Id([2; 32]).to_string(), "Release", &[("Source", &source)], &header);
    assert!(why.contains("signed it"), "{why}");
    both.done(&item.owner_text(), "Release", &[("Source", &source)], &header);
    both.slot += 2 * PERIOD;
    assert_eq!(both.balance(&item.owner_text()), 5 * u128::from(BOND_UNIT));
}

/// Requests of every kind, again and again: at each step a ledger that was restored from memory
/// goes on as the one that lived, byte for byte, memory included.
#[test]
fn a_restored_ledger_goes_on_as_the_one_that_lived() {
    let told = Told::new();
    let case = claimed(&told, 0);
    let messenger = address(told.at_rank(MESSAGE, 0)).to_string();
    let source = told.source.process.id().to_string();
    let window = case.claim().window.to_string();
    let module = compiled();
    let mut both = market(&told, &messenger);
    let mut replayed = market(&told, &messenger);
    let leaf = case.number.to_string();
    let about = [("Messenger", &*messenger), ("Source", &*source), ("Window", &*window), ("Leaf", &*leaf)];
    let (claim, answer, one) = (opening(&case), text(case.answer.encode()), tokens(1));
    let claimed = [("Source", &*source), ("Window", &*window)];
    let to = [("Recipient", &*source), ("Quantity", &*one), ("X-Note", "\u{e9}\"\\\n")];
    let steps: [Request<'_>; 14] = [
        ("Transfer", &to, ""),
        ("Transfer", &to[..2], ""),
        ("Claim", &claimed, &claim),
        ("Challenge", &about, ""),
        ("Answer", &about, &answer),
        ("Unbond", &to[1..2], ""),
        ("Escrow-Of", &claimed, ""),
        ("Claims", &[], ""),
        ("Bonds", &[], ""),
        ("Withdraw", &to[1..2], ""),
        ("Info", &[], ""),
        ("Balances", &[], ""),
        ("Audit", &[], ""),
        ("Settle", &[], ""),
    ];
    let funder = TOKEN.to_string();
    for (action, tags, data) in steps.iter().chain(&steps) {
        for ledger in [&mut both, &mut replayed] {
            ledger.send(&funder, "Credit-Notice", &[("Sender", &messenger), ("Quantity", &one)], "");
            ledger.send(&messenger, action, tags, data);
            ledger.slot += 3;
        }
        let image = both.guest.memory_image().unwrap();
        assert!(image == replayed.guest.memory_image().unwrap(), "{action} left other memory");
        both.guest = module.restore(&image, LIMITS).unwrap();
    }
}

/// What is no message is an error and no trap; and what fails leaves nothing.
#[test]
fn rubbish_is_answered_with_an_error() {
    let mut both = Both::new();
    for rubbish in ["", "{", "[]", "{\"Tags\":3}", "{\"Nonce\":-1}"] {
        let result = both.raw(rubbish.as_bytes());
        assert_eq!(result["ok"], false, "{rubbish}: {result}");
    }
    let result = both.raw(b"{}");
    assert_eq!((&result["ok"], &result["response"]["Messages"]), (&json!(true), &json!([])));
    // A tick, the Process item, and null data.
    for message in [
        json!({"Cron": true, "From": "x", "Tags": [{"name": "Action", "value": "Info"}]}),
        json!({"Nonce": 0, "From": "x", "Tags": [{"name": "Action", "value": "Info"}]}),
        json!({"Nonce": 1, "From": "x", "Tags": [], "Data": null}),
    ] {
        assert_eq!(both.raw(message.to_string().as_bytes())["response"]["Messages"], json!([]));
    }
    // A ledger whose Process item says nothing of use answers nobody, and says why.
    both.environment = String::from_utf8(environment()).unwrap().replace("\"16\"", "\"0\"").into_bytes();
    let result = both.raw(&message(1, "x", "Info", &[], ""));
    assert!(result["response"].as_str().unwrap().contains("Challenge-Slots"), "{result}");
}

/// Gas and memory by action, with ten thousand accounts: what the page of the ledger says.
#[test]
fn an_action_costs_little_however_many_accounts_there_are() {
    let mut both = Both::new();
    let rich = Id([1; 32]).to_string();
    both.fund(&rich, 1_000);
    let key = |at: u32| {
        let mut bytes = [5; 32];
        bytes[..4].copy_from_slice(&at.to_be_bytes());
        Id(bytes).to_string()
    };
    both.send(&rich, "Transfer", &[("Recipient", &key(0)), ("Quantity", "1000")], "");
    let first = both.gas;
    for at in 1..10_000 {
        both.send(&rich, "Transfer", &[("Recipient", &key(at)), ("Quantity", "1000")], "");
    }
    assert!(both.gas < 2 * first && both.gas < 20_000_000, "{} gas after {first}", both.gas);
    let bytes = both.guest.resident_bytes();
    assert!(bytes < 8 << 20, "{bytes} bytes");
    for (action, tags) in [("Balance", vec![]), ("Info", vec![]), ("Audit", vec![]), ("Balances", vec![])] {
        both.done(&rich, action, &tags, "");
        assert!(both.gas < 3_000_000_000, "{action}: {} gas", both.gas);
    }
}

/// The largest claim that there is: every leaf is read, ordered, summed and hashed.
#[test]
fn the_largest_claim_fits() {
    let told = Told::new();
    let case = claimed(&told, 0);
    let messenger = *case.claim();
    let mut both = market(&told, &messenger.messenger.to_string());
    let first = case.tree.leaves()[0].paid;
    let paid = |at: usize| Paid {
        position: Position { slot: SENT.slot + 1 + at as u64 / 100, ..SENT },
        index: (at % 100) as u32,
        amount: 5,
        ..first
    };
    let pushes = (1..LEAVES_MAX).map(paid).chain([first]).collect();
    let tree = ClaimTree::new(messenger.messenger, messenger.source, 1, pushes).unwrap();
    let shown = Answer { leaf: tree.path(0).unwrap(), ..case.answer.clone() };
    let sum = tree.claim().sum.to_string();
    let data = text(Opening { tree, shown }.encode());
    let (messenger, source) = (messenger.messenger.to_string(), messenger.source.to_string());
    let claim = [("Source", &*source), ("Window", "1")];
    // Who has nothing to lose has it read by nobody.
    both.refused(&Id([7; 32]).to_string(), "Claim", &claim, &data);
    let unread = both.gas;
    let answer = both.done(&messenger, "Claim", &claim, &data);
    assert_eq!((tag(&answer, "Leaves"), tag(&answer, "Quantity")), ("16384", &*sum));
    assert!(unread < both.gas / 4 && both.gas < 200_000_000_000, "{unread} and {} gas", both.gas);
    let bytes = both.guest.resident_bytes();
    assert!(bytes < 64 << 20, "{bytes} bytes");
}
