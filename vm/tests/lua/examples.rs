//! The smaller examples of `testnet/examples`, several processes of them at once.

use serde_json::{Value, json};

use crate::markets::{ASSET, ORDERBOOK, STABLECOIN, VOTING};
use crate::predictions::PREDICTIONS;
use crate::process::{Message, Process, tag};
use crate::town::{Town, mint, tags_of};

const TOKEN: &str = include_str!("../../../testnet/examples/token.lua");
const EXCHANGE: &str = include_str!("../../../testnet/examples/exchange.lua");
const CHATROOM: &str = include_str!("../../../testnet/examples/chatroom.lua");
const ORACLE: &str = include_str!("../../../testnet/examples/oracle.lua");
const NAMES: &str = include_str!("../../../testnet/examples/names.lua");
const AGENT: &str = include_str!("../../../testnet/examples/agent.lua");

#[test]
fn the_token_tells_both_sides_and_loses_nothing() {
    let mut town = Town::default();
    town.spawn("TOKEN", &[], TOKEN);
    mint(&mut town, "TOKEN", "ALICE", "1000000000000000000000");
    let pay = |town: &mut Town, quantity: &str| {
        let tags = [("Action", "Transfer"), ("Recipient", "BOB"), ("Quantity", quantity), ("X-Order", "7")];
        town.send("ALICE", "TOKEN", &tags, "")
    };
    let mail = pay(&mut town, "999999999999999999999");
    let told: Vec<_> = mail
        .iter()
        .map(|one| (one["Target"].as_str().unwrap(), tag(one, "Action").unwrap(), tag(one, "X-Order")))
        .collect();
    assert_eq!(told, [("ALICE", "Debit-Notice", Some("7")), ("BOB", "Credit-Notice", Some("7"))]);
    assert_eq!(tag(&pay(&mut town, "2")[0], "Action"), Some("Transfer-Error"));
    assert_eq!(
        (town.balance("TOKEN", "ALICE"), town.balance("TOKEN", "BOB")),
        (1, 999_999_999_999_999_999_999)
    );
    // Strangers mint nothing, and quantities are whole and above zero.
    assert_eq!(town.send("BOB", "TOKEN", &[("Action", "Mint"), ("Quantity", "5")], ""), [] as [Value; 0]);
    assert_eq!(
        town.view("TOKEN", "holders", &[]),
        json!({"holders": 2, "supply": "1000000000000000000000", "ticker": "EXA"})
    );
}

#[test]
fn the_exchange_keeps_its_product_and_gives_back_what_it_cannot_swap() {
    let mut town = Town::default();
    town.spawn("TOKENA", &[], TOKEN);
    town.spawn("TOKENB", &[], TOKEN);
    town.spawn("EXCHANGE", &[("Token-A", "TOKENA"), ("Token-B", "TOKENB")], EXCHANGE);
    for token in ["TOKENA", "TOKENB"] {
        mint(&mut town, token, "LP", "1000000");
        mint(&mut town, token, "TRADER", "100000");
    }
    let pay = |town: &mut Town, from: &str, token: &str, quantity: &str, more: &[(&str, &str)]| {
        let tags = [("Action", "Transfer"), ("Recipient", "EXCHANGE"), ("Quantity", quantity)];
        town.send(from, token, &[&tags, more].concat(), "")
    };
    pay(&mut town, "LP", "TOKENA", "1000000", &[("X-Action", "Deposit")]);
    pay(&mut town, "LP", "TOKENB", "500000", &[("X-Action", "Deposit")]);
    let product = |town: &mut Town| town.balance("TOKENA", "EXCHANGE") * town.balance("TOKENB", "EXCHANGE");
    let mut before = product(&mut town);
    pay(&mut town, "TRADER", "TOKENA", "10000", &[("X-Action", "Swap"), ("X-Least", "4900")]);
    assert_eq!(town.balance("TOKENB", "TRADER"), 100_000 + 4_935);
    assert!(product(&mut town) > before);
    before = product(&mut town);
    // Too little would come out, or nothing was said: it comes back.
    for more in
        [&[("X-Action", "Swap"), ("X-Least", "999999")][..], &[], &[("X-Action", "Swap"), ("X-Least", "x")]]
    {
        pay(&mut town, "TRADER", "TOKENB", "777", more);
        assert_eq!((town.balance("TOKENB", "TRADER"), product(&mut town)), (104_935, before), "{more:?}");
    }
    // A notice that is not from a token is no payment.
    let forged =
        [("Action", "Credit-Notice"), ("Quantity", "1000"), ("Sender", "THIEF"), ("X-Action", "Swap")];
    town.send("THIEF", "EXCHANGE", &forged, "");
    assert_eq!(product(&mut town), before);
    assert_eq!(town.view("EXCHANGE", "price.reserves", &[]), json!({"A": "1010000", "B": "495065"}));
}

#[test]
fn the_agent_buys_while_the_price_is_good() {
    let mut town = Town::default();
    town.spawn("TOKENA", &[], TOKEN);
    town.spawn("TOKENB", &[], TOKEN);
    town.spawn("EXCHANGE", &[("Token-A", "TOKENA"), ("Token-B", "TOKENB")], EXCHANGE);
    let tags = [
        ("Exchange", "EXCHANGE"),
        ("Token", "TOKENA"),
        ("Budget", "35000"),
        ("Step", "10000"),
        ("Least", "9400"),
    ];
    town.spawn("AGENT", &tags, AGENT);
    mint(&mut town, "TOKENA", "LP", "1000000");
    mint(&mut town, "TOKENB", "LP", "1000000");
    mint(&mut town, "TOKENA", "AGENT", "35000");
    for token in ["TOKENA", "TOKENB"] {
        let deposit = [
            ("Action", "Transfer"),
            ("Recipient", "EXCHANGE"),
            ("Quantity", "1000000"),
            ("X-Action", "Deposit"),
        ];
        town.send("LP", token, &deposit, "");
    }
    for _ in 0..2 {
        town.now += 60_000;
        town.send("OWNER", "AGENT", &[("Action", "Cron")], "");
    }
    // Ticks that a node catches up with run before any answer comes: none of them may spend what another
    // one set aside.
    for _ in 0..40 {
        let tags = tags_of(&[("Action", "Cron")]);
        let tick = json!({"From": "OWNER", "Owner": "OWNER", "Data": "", "Tags": tags, "Cron": true});
        town.way.push_back(("AGENT".to_owned(), tick));
    }
    town.settle();
    // The budget ends, though the price would not.
    let agent = town.view("AGENT", "agent", &[]);
    assert_eq!(agent, json!({"budget": "5000", "bought": 3}));
    let (a, b) = (town.balance("TOKENA", "AGENT"), town.balance("TOKENB", "AGENT"));
    assert!(a == 5_000 && b > 28_000, "{a} {b}");
}

/// A pattern of a tag that is missing would ask nothing, and so believe everybody.
#[test]
fn a_program_that_lacks_a_tag_says_which_and_does_not_begin() {
    let boot = |program: &str, tags: &[(&str, &str)]| {
        let tags = [&[("On-Boot", "Data")], tags].concat();
        let boot =
            tags.iter().fold(Message::new("Boot", program), |boot, (name, value)| boot.tag(name, value));
        Process::unborn(&tags).take(&boot)["Error"].as_str().unwrap_or("none").to_owned()
    };
    let tokens = [("Token-A", "A"), ("Token-B", "B")];
    let agent = [("Exchange", "E"), ("Token", "T"), ("Budget", "5"), ("Step", "1"), ("Least", "1")];
    for (program, tags) in [
        (EXCHANGE, &tokens[..]),
        (ORDERBOOK, &tokens),
        (AGENT, &agent),
        (ORACLE, &[("Operator", "O"), ("Quorum", "1")]),
        (STABLECOIN, &[("Collateral", "C"), ("Oracle", "O")]),
        (VOTING, &[("Token", "T")]),
        (ASSET, &[("Token", "T"), ("Title", "S"), ("Royalty", "5"), ("Fee", "5")]),
        (PREDICTIONS, &[("Token", "T"), ("Judge", "J"), ("Closes", "5"), ("Question", "Q")]),
    ] {
        assert_eq!(boot(program, tags), "none", "{tags:?}");
        // Without a question it is the house.
        for (missing, _) in tags.iter().filter(|(name, _)| *name != "Question") {
            let rest: Vec<_> = tags.iter().copied().filter(|(name, _)| name != missing).collect();
            let said = boot(program, &rest);
            assert!(said.contains(missing), "{missing} of {tags:?}: {said}");
        }
    }
}

/// Whoever asks names where an answer goes (`Reply-To`) and to which question (`X-Reference`): what a process
/// says to others with its own name it says to none but who asked.
#[test]
fn nobody_is_told_in_another_ones_name() {
    let mut town = Town::default();
    town.spawn("TOKENA", &[], TOKEN);
    town.spawn("TOKENB", &[], TOKEN);
    town.spawn("NAMES", &[], NAMES);
    town.spawn("EXCHANGE", &[("Token-A", "TOKENA"), ("Token-B", "TOKENB")], EXCHANGE);
    let tags =
        [("Exchange", "EXCHANGE"), ("Token", "TOKENA"), ("Budget", "500"), ("Step", "100"), ("Least", "1")];
    town.spawn("AGENT", &tags, AGENT);
    mint(&mut town, "TOKENA", "THIEF", "10");
    let claims = [("Reply-To", "AGENT"), ("X-Reference", "1"), ("X-Origin", "AGENT"), ("Reference", "7")];
    for (process, asked) in [
        ("TOKENA", &[("Action", "Transfer"), ("Recipient", "BOB"), ("Quantity", "11")][..]),
        ("TOKENA", &[("Action", "Transfer"), ("Recipient", "BOB"), ("Quantity", "1")]),
        ("TOKENA", &[("Action", "Balance")]),
        ("TOKENA", &[("Action", "Info")]),
        ("EXCHANGE", &[("Action", "Quote"), ("Side", "A"), ("Quantity", "1")]),
        ("NAMES", &[("Action", "Register"), ("Name", "n")]),
        ("NAMES", &[("Action", "Resolve"), ("Name", "n")]),
    ] {
        let mail = town.send("THIEF", process, &[asked, &claims].concat(), "");
        let told = mail.iter().find(|one| one["Target"] == "THIEF").unwrap_or_else(|| panic!("{asked:?}"));
        assert_eq!(tag(told, "X-Reference"), Some("7"), "{asked:?}");
        let bob = mail.iter().find(|one| one["Target"] == "BOB");
        assert_eq!(bob.and_then(|bob| tag(bob, "X-Reference")), None, "{asked:?}");
    }
    assert_eq!(town.view("AGENT", "agent", &[]), json!({"budget": "500", "bought": 0}));
    // And a stranger is no clock.
    town.send("THIEF", "AGENT", &[("Action", "Cron")], "");
    assert_eq!(town.view("AGENT", "agent.budget", &[]), json!("500"));
}

#[test]
fn the_chatroom_is_heard_by_its_members_alone() {
    let mut town = Town::default();
    town.spawn("ROOM", &[], CHATROOM);
    for (who, name) in [("ALICE", "al"), ("BOB", "bo")] {
        town.send(who, "ROOM", &[("Action", "Join"), ("Name", name)], "");
    }
    let heard = |mail: Vec<Value>| -> Vec<String> {
        mail.iter()
            .map(|one| {
                format!(
                    "{} {} {}",
                    one["Target"].as_str().unwrap(),
                    tag(one, "By").unwrap(),
                    one["Data"].as_str().unwrap()
                )
            })
            .collect()
    };
    let say = [("Action", "Say")];
    assert_eq!(heard(town.send("ALICE", "ROOM", &say, "hello")), ["ALICE al hello", "BOB al hello"]);
    assert_eq!(town.send("STRANGER", "ROOM", &say, "spam"), [] as [Value; 0]);
    let caught_up = town.send("CAROL", "ROOM", &[("Action", "Join"), ("Name", "ca")], "");
    assert_eq!(heard(caught_up), ["CAROL al hello"]);
    town.send("BOB", "ROOM", &[("Action", "Leave")], "");
    assert_eq!(town.view("ROOM", "room.members", &[]), json!(["al", "ca"]));
}

#[test]
fn the_oracle_answers_when_enough_operators_agree() {
    let mut town = Town::default();
    let tags = [("Operator", "OP1"), ("Operator", "OP2"), ("Operator", "OP3"), ("Quorum", "2")];
    town.spawn("ORACLE", &tags, ORACLE);
    let ask = |town: &mut Town| {
        let asked = town.send("ALICE", "ORACLE", &[("Action", "Request"), ("Reference", "9")], "price?");
        assert_eq!(asked.len(), 3);
        tag(&asked[0], "Request-Id").unwrap().to_owned()
    };
    let answer = |town: &mut Town, who: &str, id: &str, data: &str| {
        town.send(who, "ORACLE", &[("Action", "Answer"), ("Request-Id", id)], data)
    };
    let id = ask(&mut town);
    assert!(answer(&mut town, "OP1", &id, "42").is_empty());
    assert!(answer(&mut town, "OP1", &id, "42").is_empty(), "nobody votes twice");
    assert!(answer(&mut town, "THIEF", &id, "42").is_empty());
    let told = answer(&mut town, "OP3", &id, "42");
    assert_eq!((&told[0]["Target"], &told[0]["Data"]), (&json!("ALICE"), &json!("42")));
    assert_eq!((tag(&told[0], "Agreed"), tag(&told[0], "X-Reference")), (Some("2"), Some("9")));
    assert!(answer(&mut town, "OP2", &id, "7").is_empty(), "it is told once");
    let id = ask(&mut town);
    answer(&mut town, "OP1", &id, "1");
    answer(&mut town, "OP2", &id, "2");
    let told = answer(&mut town, "OP3", &id, "3");
    assert_eq!(tag(&told[0], "Action"), Some("No-Answer"));
    assert_eq!(town.view("ORACLE", "open", &[]), json!({"operators": 3, "quorum": 2, "requests": 0}));
}

#[test]
fn names_belong_to_the_first_until_their_lease_ends() {
    let mut town = Town::default();
    town.spawn("NAMES", &[], NAMES);
    town.now = 1_700_000_000_000;
    let call =
        |town: &mut Town, who: &str, tags: &[(&str, &str)]| town.send(who, "NAMES", tags, "").remove(0);
    let register = [("Action", "Register"), ("Name", "weft"), ("To", "SITE")];
    assert_eq!(tag(&call(&mut town, "ALICE", &register), "Action"), Some("Registered"));
    assert_eq!(tag(&call(&mut town, "BOB", &register), "Error"), Some("taken"));
    assert!(tag(&call(&mut town, "BOB", &[("Action", "Register"), ("Name", "No Good")]), "Error").is_some());
    let resolve = [("Action", "Resolve"), ("Name", "weft")];
    assert_eq!(tag(&call(&mut town, "X", &resolve), "To"), Some("SITE"));
    let transfer = [("Action", "Transfer"), ("Name", "weft"), ("Recipient", "BOB")];
    assert_eq!(tag(&call(&mut town, "BOB", &transfer), "Error"), Some("not yours"));
    assert_eq!(tag(&call(&mut town, "ALICE", &transfer), "Action"), Some("Transferred"));
    assert_eq!(town.view("NAMES", "resolve", &[("Name", "weft")]), json!({"name": "weft", "to": "BOB"}));
    town.now += 366 * 24 * 3_600 * 1_000;
    assert_eq!(tag(&call(&mut town, "X", &resolve), "To"), Some("nobody"));
    assert_eq!(tag(&call(&mut town, "CAROL", &register), "Action"), Some("Registered"));
}
