// A token of 1,024 holders: the first who mints owns it; `Transfer` to `Recipient` tells both sides.
import { Text, answer, at, field, is, len, put, putNumber, putText, room, tag, text, unquoted } from "./weft";

const ACCOUNTS_MAX: i32 = 1024;
const NAME_MAX: i32 = 64;

/** An account, where it lies in memory. */
@unmanaged
class Account {
  balance: u64;
  length: i32;
  // The name follows.
}
const NAME: usize = offsetof<Account>();
const ACCOUNT: usize = NAME + <usize>NAME_MAX;

@unmanaged
class State {
  /** All balances together, so that none of them can overflow. */
  supply: u64;
  known: i32;
  isOwned: bool;
}

/** What lasts. */
const STATE = changetype<State>(memory.data(24, 8));
const OWNER = changetype<Account>(memory.data(80, 8));
const ACCOUNTS: usize = memory.data(81920, 8);

function account(i: i32): Account {
  return changetype<Account>(ACCOUNTS + ACCOUNT * <usize>i);
}

function nameOf(one: Account): usize {
  return changetype<usize>(one) + NAME;
}

function same(one: Account, name: Text): bool {
  return one.length == len(name) && memory.compare(nameOf(one), at(name), len(name)) == 0;
}

function call(one: Account, name: Text): void {
  one.length = len(name);
  memory.copy(nameOf(one), at(name), len(name));
}

/** The account of this name, if there is one. */
function find(name: Text): Account | null {
  for (let i = 0; i < STATE.known; i++) {
    if (same(account(i), name)) return account(i);
  }
  return null;
}

/** As `find`, and makes one for who is being paid; one with nothing in it makes way. None where there is no room. */
function findOrOpen(name: Text): Account | null {
  let found = find(name);
  if (found || len(name) == 0 || len(name) > NAME_MAX) return found;
  for (let i = 0; i < STATE.known && !found; i++) {
    if (account(i).balance == 0) found = account(i);
  }
  if (!found && STATE.known < ACCOUNTS_MAX) found = account(STATE.known++);
  if (found) call(found, name);
  return found;
}

/** A whole number above zero, or 0. */
function quantity(one: Text): u64 {
  let number: u64 = 0;
  if (len(one) > 18) return 0;
  for (let i = 0; i < len(one); i++) {
    const digit = load<u8>(at(one) + i) - 0x30;
    if (digit > 9) return 0;
    number = number * 10 + digit;
  }
  return number;
}

function putMessage(to: Text, action: string, about: Text, amount: u64): void {
  put('{"Target":"');
  putText(to);
  put('","Data":"","Anchor":"00000000000000000000000000000000","Tags":[{"name":"Action","value":"');
  put(action);
  put('"},{"name":"Account","value":"');
  putText(about);
  put('"},{"name":"Quantity","value":"');
  putNumber(amount);
  put('"}]}');
}

function transfer(from: Text, to: Text, amount: u64): void {
  const payer = find(from);
  if (amount > 0 && payer && payer.balance >= amount) {
    payer.balance -= amount;
    const payee = findOrOpen(to);
    if (payee) {
      payee.balance += amount;
      putMessage(from, "Debit-Notice", to, amount);
      put(",");
      putMessage(to, "Credit-Notice", from, amount);
      return;
    }
    payer.balance += amount;
  }
  putMessage(from, "Transfer-Error", to, amount);
}

function mint(from: Text, amount: u64): void {
  const may = amount > 0 && STATE.supply + amount > STATE.supply && (!STATE.isOwned || same(OWNER, from));
  const payee = may ? findOrOpen(from) : null;
  if (!payee) {
    putMessage(from, "Mint-Error", from, amount);
    return;
  }
  if (!STATE.isOwned) call(OWNER, from);
  STATE.isOwned = true;
  payee.balance += amount;
  STATE.supply += amount;
  putMessage(from, "Minted", from, amount);
}

export function alloc(length: i32): usize {
  return room(length);
}

export function handle(bytes: usize, length: i32, environment: usize, environmentLength: i32): i64 {
  const message = text(bytes, length), action = tag(message, "Action");
  const from = unquoted(field(message, "From")), amount = quantity(tag(message, "Quantity"));
  put('{"ok":true,"response":{"Output":"","Messages":[');
  if (is(action, "Mint")) mint(from, amount);
  if (is(action, "Transfer")) transfer(from, tag(message, "Recipient"), amount);
  if (is(action, "Balance")) {
    const asked = find(from);
    putMessage(from, "Balance", from, asked ? asked.balance : 0);
  }
  put('],"Spawns":[],"Assignments":[]}}');
  return answer();
}
