//! A token of 1,024 holders: the first who mints owns it; `Transfer` to `Recipient` tells both sides.
#![no_std]
#![no_main]

mod weft;
use weft::{Answer, State, field, given, room, tag, unquoted};

const ACCOUNTS_MAX: usize = 1_024;
const NAME_MAX: usize = 64;

#[derive(Clone, Copy)]
struct Name {
    bytes: [u8; NAME_MAX],
    length: usize,
}

impl Name {
    /// None if it is empty or too long.
    fn of(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; NAME_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        (!text.is_empty()).then_some(Self { bytes, length: text.len() })
    }

    fn is(&self, text: &[u8]) -> bool {
        self.bytes.get(..self.length) == Some(text)
    }
}

#[derive(Clone, Copy)]
struct Account {
    name: Name,
    balance: u64,
}

struct Token {
    accounts: [Option<Account>; ACCOUNTS_MAX],
    owner: Option<Name>,
    /// All balances together, so that none of them can overflow.
    supply: u64,
}

/// What lasts.
static TOKEN: State<Token> = State::new(Token { accounts: [None; ACCOUNTS_MAX], owner: None, supply: 0 });

impl Token {
    fn find(&mut self, name: &[u8]) -> Option<&mut Account> {
        self.accounts.iter_mut().flatten().find(|account| account.name.is(name))
    }

    /// Adds to an account, which is made if there is none: for who is paid alone, or strangers could take up all
    /// the room. One with nothing in it makes way. False where there is no room.
    fn credit(&mut self, to: &[u8], amount: u64) -> bool {
        if let Some(account) = self.find(to) {
            account.balance += amount;
            return true;
        }
        let Some(name) = Name::of(to) else { return false };
        let free = |account: &&mut Option<Account>| account.is_none_or(|account| account.balance == 0);
        let place = self.accounts.iter_mut().find(free);
        place.map(|place| *place = Some(Account { name, balance: amount })).is_some()
    }

    fn transfer(&mut self, from: &[u8], to: &[u8], amount: u64) -> bool {
        let Some(payer) = self.find(from).filter(|payer| amount > 0 && payer.balance >= amount) else {
            return false;
        };
        payer.balance -= amount;
        if self.credit(to, amount) {
            return true;
        }
        if let Some(payer) = self.find(from) {
            payer.balance += amount;
        }
        false
    }

    fn mint(&mut self, from: &[u8], amount: u64) -> bool {
        let Some(supply) = self.supply.checked_add(amount).filter(|_| amount > 0) else { return false };
        if self.owner.is_some_and(|owner| !owner.is(from)) || !self.credit(from, amount) {
            return false;
        }
        self.supply = supply;
        self.owner = self.owner.or(Name::of(from));
        true
    }
}

/// A whole number above zero, or 0.
fn quantity(text: &[u8]) -> u64 {
    if text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn message(answer: &mut Answer, to: &[u8], action: &str, about: &[u8], amount: u64) {
    answer.put(r#"{"Target":""#).put(to);
    answer
        .put(r#"","Data":"","Anchor":"00000000000000000000000000000000","Tags":[{"name":"Action","value":""#);
    answer.put(action).put(r#""},{"name":"Account","value":""#).put(about);
    answer.put(r#""},{"name":"Quantity","value":""#).number(amount).put(r#""}]}"#);
}

#[unsafe(no_mangle)]
extern "C" fn alloc(length: usize) -> *mut u8 {
    room(length)
}

/// # Safety
/// The texts lie where [`alloc`] gave room for them.
#[unsafe(no_mangle)]
unsafe extern "C" fn handle(bytes: *const u8, length: usize, _: *const u8, _: usize) -> u64 {
    // SAFETY: as the host promises.
    let given = unsafe { given(bytes, length) };
    let (from, to) = (unquoted(field(given, "From")), tag(given, "Recipient"));
    let (amount, token, answer) = (quantity(tag(given, "Quantity")), TOKEN.get(), Answer::begin());
    answer.put(r#"{"ok":true,"response":{"Output":"","Messages":["#);
    match tag(given, "Action") {
        b"Mint" => {
            let said = if token.mint(from, amount) { "Minted" } else { "Mint-Error" };
            message(answer, from, said, from, amount);
        }
        b"Transfer" if token.transfer(from, to, amount) => {
            message(answer, from, "Debit-Notice", to, amount);
            answer.put(",");
            message(answer, to, "Credit-Notice", from, amount);
        }
        b"Transfer" => message(answer, from, "Transfer-Error", to, amount),
        b"Balance" => {
            let balance = token.find(from).map_or(0, |account| account.balance);
            message(answer, from, "Balance", from, balance);
        }
        _ => {}
    }
    answer.put(r#"],"Spawns":[],"Assignments":[]}}"#).end()
}
