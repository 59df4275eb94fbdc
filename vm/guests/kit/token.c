/* A token of 1,024 holders: the first who mints owns it; `Transfer` to `Recipient` tells both sides. */
#include "weft.h"

#define ACCOUNTS_MAX 1024
#define NAME_MAX 64

typedef struct account {
  char name[NAME_MAX];
  unsigned length;
  unsigned long long balance;
} account;

/* What lasts. */
static account accounts[ACCOUNTS_MAX];
static unsigned known;
static unsigned owner_known;
static account owner;
/* All balances together, so that none of them can overflow. */
static unsigned long long supply;

static int same(const account *one, weft_text name) {
  if (one->length != name.length) return 0;
  for (unsigned i = 0; i < name.length; i++)
    if (one->name[i] != name.bytes[i]) return 0;
  return 1;
}

static void call(account *one, weft_text name) {
  one->length = name.length;
  for (unsigned i = 0; i < name.length; i++) one->name[i] = name.bytes[i];
}

/* The account of this name, or NULL. */
static account *find(weft_text name) {
  for (unsigned i = 0; i < known; i++)
    if (same(&accounts[i], name)) return &accounts[i];
  return 0;
}

/* As `find`, and makes one if there is none: for who is being paid alone, or strangers could take up all the
   room. An account with nothing in it makes way. NULL where there is no room. */
static account *find_or_open(weft_text name) {
  account *found = find(name);
  if (found != 0 || name.length == 0 || name.length > NAME_MAX) return found;
  for (unsigned i = 0; i < known && found == 0; i++)
    if (accounts[i].balance == 0) found = &accounts[i];
  if (found == 0 && known < ACCOUNTS_MAX) found = &accounts[known++];
  if (found != 0) call(found, name);
  return found;
}

/* A whole number above zero, or 0. */
static unsigned long long quantity(weft_text text) {
  unsigned long long number = 0;
  if (text.length == 0 || text.length > 18) return 0;
  for (unsigned i = 0; i < text.length; i++) {
    if (text.bytes[i] < '0' || text.bytes[i] > '9') return 0;
    number = number * 10 + (unsigned long long)(text.bytes[i] - '0');
  }
  return number;
}

static void put_message(weft_text to, const char *action, weft_text about, unsigned long long amount) {
  weft_put("{\"Target\":\"");
  weft_put_text(to);
  weft_put("\",\"Data\":\"\",\"Anchor\":\"00000000000000000000000000000000\",\"Tags\":[{\"name\":\"Action\",\"value\":\"");
  weft_put(action);
  weft_put("\"},{\"name\":\"Account\",\"value\":\"");
  weft_put_text(about);
  weft_put("\"},{\"name\":\"Quantity\",\"value\":\"");
  weft_put_number(amount);
  weft_put("\"}]}");
}

static void transfer(weft_text from, weft_text to, unsigned long long amount) {
  account *payer = find(from), *payee = 0;
  if (amount > 0 && payer != 0 && payer->balance >= amount) {
    payer->balance -= amount;
    payee = find_or_open(to);
    if (payee == 0) payer->balance += amount;
  }
  if (payee == 0) {
    put_message(from, "Transfer-Error", to, amount);
    return;
  }
  payee->balance += amount;
  put_message(from, "Debit-Notice", to, amount);
  weft_put(",");
  put_message(to, "Credit-Notice", from, amount);
}

static void mint(weft_text from, unsigned long long amount) {
  account *payee = 0;
  if (amount > 0 && supply + amount > supply && (!owner_known || same(&owner, from))) payee = find_or_open(from);
  if (payee == 0) {
    put_message(from, "Mint-Error", from, amount);
    return;
  }
  if (!owner_known) call(&owner, from);
  owner_known = 1;
  payee->balance += amount;
  supply += amount;
  put_message(from, "Minted", from, amount);
}

WEFT_EXPORT(alloc) char *alloc(unsigned length) { return weft_room(length); }

WEFT_EXPORT(handle)
unsigned long long handle(const char *bytes, unsigned length, const char *environment, unsigned environment_length) {
  (void)environment, (void)environment_length;
  weft_text message = {bytes, length}, action = weft_tag(message, "Action");
  weft_text from = weft_unquoted(weft_field(message, "From"));
  unsigned long long amount = quantity(weft_tag(message, "Quantity"));
  weft_begin();
  weft_put("{\"ok\":true,\"response\":{\"Output\":\"\",\"Messages\":[");
  if (weft_is(action, "Mint")) mint(from, amount);
  if (weft_is(action, "Transfer")) transfer(from, weft_tag(message, "Recipient"), amount);
  if (weft_is(action, "Balance")) {
    account *asked = find(from);
    put_message(from, "Balance", from, asked == 0 ? 0 : asked->balance);
  }
  weft_put("],\"Spawns\":[],\"Assignments\":[]}}");
  return weft_answer();
}
