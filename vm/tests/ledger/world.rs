//! A ledger with people around it, and a judge who knows which claims are true.

use weft_protocol::{Address, Hash, Id, Network, Tag};

use super::guest::ledger::{
    ClaimKey, Claimed, Court, Ledger, Message, Opened, Refuted, Send, Terms, Unshown,
};

/// A token of twelve decimals.
pub const ONE: u128 = 1_000_000_000_000;
/// Slots to challenge and to answer.
pub const PERIOD: u64 = 8;

/// A second, in which one message comes if nothing else is said.
pub const SECOND_MS: u64 = 1_000;

/// Reads claims of the form `leaves sum`. `false`: no answer saves it. `at=N`: of the pushes N and after, instead of those
/// that nobody else has. `began=T`: its window began at T, instead of now. `unproven`: its first leaf is not shown.
pub struct Knowing(pub u64);

impl Court for Knowing {
    fn opened(&self, key: &ClaimKey, data: &str) -> Result<Opened, Unshown> {
        let words: Vec<&str> = data.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|_| Unshown("no number".into()));
        let named =
            |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).map(number).transpose();
        let (Some(count), Some(sum)) = (words.first(), words.get(1)) else {
            return Err(Unshown("no claim".into()));
        };
        if words.contains(&"unproven") {
            return Err(Unshown("the first leaf is not shown".into()));
        }
        let first = named("at=")?.unwrap_or(1_000 * u64::from(key.messenger.0[0]));
        let mut root = Hash([u8::from(!words.contains(&"false")); 32]);
        root.0[8..16].copy_from_slice(&first.to_be_bytes());
        let count = number(count)? as u32;
        let sum = sum.parse().map_err(|_| Unshown("no number".into()))?;
        let pushes = (first..first + u64::from(count)).collect();
        Ok(Opened {
            claimed: Claimed { count, root, sum },
            pushes,
            began: named("began=")?.unwrap_or(self.0),
        })
    }

    fn answered(&self, _: &ClaimKey, claim: &Claimed, _: u32, data: &str) -> Result<(), Unshown> {
        let is_shown = data == "the logs" && claim.root.0[0] == 1;
        is_shown.then_some(()).ok_or(Unshown("nothing".into()))
    }

    fn refuted(&self, _: &ClaimKey, claim: &Claimed, leaf: u32, data: &str) -> Result<Refuted, Unshown> {
        if data != "an earlier slot" {
            return Err(Unshown("nothing".into()));
        }
        let first = u64::from_be_bytes(claim.root.0[8..16].try_into().unwrap());
        Ok(Refuted { push: first + u64::from(leaf), amount: claim.sum / u128::from(claim.count) })
    }

    fn signer(&self, process: Id, data: &str) -> Result<String, Unshown> {
        match data {
            "header" => Ok(Address(process.0.map(|byte| byte ^ 0xff)).to_string()),
            _ => Err(Unshown("no header".into())),
        }
    }
}

/// The name of somebody, or of a process.
pub fn name(number: u8) -> String {
    Id([number; 32]).to_string()
}

pub const TOKEN: u8 = 200;
pub const LEDGER: u8 = 201;
pub const OWNER: u8 = 202;

pub struct World {
    pub ledger: Ledger,
    pub terms: Terms,
    pub slot: u64,
    /// What passes with a slot, in milliseconds.
    pub pace: u64,
    pub time: u64,
}

impl World {
    /// A ledger that a token funds.
    pub fn funded() -> Self {
        Self::of(&[
            ("Token", &name(TOKEN)),
            ("Network", "00000007"),
            ("Challenge-Slots", "8"),
            ("Challenge-Seconds", "8"),
            ("Ticker", "T"),
        ])
    }

    pub fn of(tags: &[(&str, &str)]) -> Self {
        let tags: Vec<Tag> = tags.iter().map(|(name, value)| Tag::new(*name, *value)).collect();
        let terms = Terms::read(Id([LEDGER; 32]), &name(OWNER), &tags).unwrap();
        Self { ledger: Ledger::new(), terms, slot: 0, pace: SECOND_MS, time: 0 }
    }

    /// Sends a message and checks what holds after every one.
    pub fn send(&mut self, from: &str, action: &str, tags: &[(&str, &str)], data: &str) -> Vec<Send> {
        self.skip(1);
        let mut all = vec![Tag::new("Action", action)];
        all.extend(tags.iter().map(|(name, value)| Tag::new(*name, *value)));
        let message = Message { id: "m", from, tags: &all, data, slot: Some(self.slot), time: self.time };
        let mut waited = self.ledger.clone();
        let idle = Message { tags: &[], ..message };
        let knowing = Knowing(self.time);
        let due = waited.handle(&self.terms, &knowing, &idle).len();
        let sends = self.ledger.handle(&self.terms, &knowing, &message);
        let sums = self.ledger.sums();
        assert!(sums.conserve(), "{action} {tags:?}: {sums:?}");
        if is_refused(&sends) {
            assert_eq!(sends.len(), due + 1, "{action} was refused and did something");
            assert!(self.ledger == waited, "{action} {tags:?} was refused and left a trace");
        }
        sends
    }

    /// What somebody asks, with the text of the error if that is refused.
    pub fn ask(&mut self, from: u8, action: &str, tags: &[(&str, &str)]) -> Result<Vec<Send>, String> {
        self.tell(from, action, tags, "")
    }

    pub fn tell(
        &mut self,
        from: u8,
        action: &str,
        tags: &[(&str, &str)],
        data: &str,
    ) -> Result<Vec<Send>, String> {
        let sends = self.send(&name(from), action, tags, data);
        if is_refused(&sends) { Err(sends.last().unwrap().data.clone()) } else { Ok(sends) }
    }

    /// Puts money into the ledger for somebody.
    pub fn fund(&mut self, to: u8, amount: u128) {
        let tags = [("Sender", &*name(to)), ("Quantity", &*amount.to_string())];
        let sends = self.ask(TOKEN, "Credit-Notice", &tags).unwrap();
        assert_eq!(value(&sends[0], "Action"), "Deposit-Notice");
    }

    pub fn balance(&mut self, of: u8) -> u128 {
        let sends = self.ask(of, "Balance", &[]).unwrap();
        value(sends.last().unwrap(), "Balance").parse().unwrap()
    }

    pub fn bond(&mut self, of: u8) -> u128 {
        let sends = self.ask(of, "Bond-Of", &[]).unwrap();
        value(sends.last().unwrap(), "Bond").parse().unwrap()
    }

    /// Lets slots go by, with their time, before the next message.
    pub fn skip(&mut self, slots: u64) {
        self.slot += slots;
        self.time += slots * self.pace;
    }

    /// Sends a message without looking at what holds after it: what the answer says.
    pub fn quiet(&mut self, from: &str, action: &str, tags: &[(&str, &str)], data: &str) -> String {
        self.skip(1);
        let mut all = vec![Tag::new("Action", action)];
        all.extend(tags.iter().map(|(name, value)| Tag::new(*name, *value)));
        let message = Message { id: "m", from, tags: &all, data, slot: Some(self.slot), time: self.time };
        let sends = self.ledger.handle(&self.terms, &Knowing(self.time), &message);
        sends.last().filter(|_| is_refused(&sends)).map(|send| send.data.clone()).unwrap_or_default()
    }

    /// Lets slots pass.
    pub fn pass(&mut self, slots: u64) -> Vec<Send> {
        self.skip(slots.saturating_sub(1));
        self.send(&name(OWNER), "Settle", &[], "")
    }
}

fn is_refused(sends: &[Send]) -> bool {
    sends.last().is_some_and(|send| value(send, "Action").ends_with("-Error"))
}

/// The value of a message's tag.
pub fn value<'a>(send: &'a Send, name: &str) -> &'a str {
    send.tags.iter().find(|tag| tag.name == name).map_or("", |tag| &tag.value)
}

/// Whether a message of this kind is among those.
pub fn has(sends: &[Send], action: &str, to: u8) -> bool {
    sends.iter().any(|send| value(send, "Action") == action && send.target == name(to))
}

/// The wait of bonds and escrows.
pub const WAIT: u64 = 2 * PERIOD;
/// The wait before the windows before a claimed one close.
pub const CLOSES: u64 = 4 * PERIOD;

/// The name of one of many.
pub fn one_of(number: usize) -> String {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Id(bytes).to_string()
}

#[test]
fn terms_that_say_nothing_are_refused_by_name() {
    for (tag, bad) in [
        ("Token", "x"),
        ("Challenge-Slots", "7"),
        ("Challenge-Slots", "32769"),
        ("Challenge-Slots", "+9"),
        ("Challenge-Seconds", "0"),
        ("Challenge-Seconds", "2592001"),
        ("Challenge-Seconds", "1.5"),
        ("Network", "local"),
        ("Network", "7"),
        ("Network", "+0000007"),
        ("Network", "0000000A"),
    ] {
        let tags = [Tag::new(tag, bad)];
        let error = Terms::read(Id([1; 32]), "owner", &tags).unwrap_err().to_string();
        assert!(error.contains(tag), "{error}");
    }
    let terms = World::of(&[("Network", "00000007")]).terms;
    assert_eq!(terms.network, Some(Network(7)));
    assert_eq!((terms.challenge_slots, terms.challenge_ms), (256, 24 * 60 * 60 * 1_000));
}
