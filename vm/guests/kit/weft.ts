// Guests of the plain format, `wasm32-weft-plain`, in AssemblyScript. `README.md` has the format and the build.
//
// Nothing here is allocated: AssemblyScript's heap needs a start function, which the format does not have.
// Top-level `let`s are globals of WebAssembly, of which none lasts. What is to last lies in `memory.data`.

/** A part of a text, in bytes of UTF-8: its address in the upper half, its length in the lower. */
export type Text = u64;

export function text(at: usize, length: i32): Text {
  return ((<u64>at) << 32) | <u64>length;
}

// @ts-ignore: decorator
@inline
export function at(one: Text): usize {
  return <usize>(one >> 32);
}

// @ts-ignore: decorator
@inline
export function len(one: Text): i32 {
  return <i32>one;
}

/** Zero again with every message. */
let taken: usize = 0;

/** Room behind the guest's own data, for the message and then the environment. */
export function room(length: i32): usize {
  const from = ((__heap_base + 7) & ~7) + taken;
  const needed = <i32>((<u64>from + <u64>(<u32>length) + 65543) >> 16);
  if (needed > memory.size() && memory.grow(needed - memory.size()) < 0) unreachable();
  taken += (<usize>length + 7) & ~7;
  return from;
}

/** Whether a text is this word of ASCII. */
export function is(one: Text, word: string): bool {
  if (len(one) != word.length) return false;
  for (let i = 0; i < word.length; i++) {
    if (<i32>load<u8>(at(one) + i) != word.charCodeAt(i)) return false;
  }
  return true;
}

function afterString(start: usize, end: usize): usize {
  let place = start + 1;
  for (; place < end && load<u8>(place) != 0x22; place++) {
    if (load<u8>(place) == 0x5c) place++;
  }
  return place < end ? place + 1 : end;
}

function afterValue(start: usize, end: usize): usize {
  let depth = 0;
  for (let place = start; place < end; place++) {
    const c = load<u8>(place);
    if (c == 0x22) place = afterString(place, end) - 1;
    else if (c == 0x7b || c == 0x5b) depth++;
    else if (c == 0x7d || c == 0x5d) {
      if (--depth < 0) return place;
    } else if (c == 0x2c && depth == 0) return place;
    if (depth == 0 && (c == 0x7d || c == 0x5d || c == 0x22)) return place + 1;
  }
  return end;
}

/** A field of a JSON object as it stands there, strings with their quotes and escapes; empty if it has none. */
export function field(object: Text, name: string): Text {
  let place = at(object) + 1;
  const end = at(object) + len(object);
  while (place < end && load<u8>(place) == 0x22) {
    const after = afterString(place, end);
    const key = text(place + 1, <i32>(after - place) - 2);
    const value = after + 1;
    place = afterValue(value, end);
    if (is(key, name)) return text(value, <i32>(place - value));
    if (place < end && load<u8>(place) == 0x2c) place++;
  }
  return 0;
}

/** A string without its quotes; its escapes stay. */
export function unquoted(one: Text): Text {
  if (len(one) < 2 || load<u8>(at(one)) != 0x22) return 0;
  return text(at(one) + 1, len(one) - 2);
}

/** The value of the first tag of this name; empty if there is none. */
export function tag(message: Text, name: string): Text {
  const tags = field(message, "Tags");
  let place = at(tags) + 1;
  const end = at(tags) + len(tags);
  while (len(tags) > 0 && place < end && load<u8>(place) == 0x7b) {
    const start = place;
    place = afterValue(place, end);
    const one = text(start, <i32>(place - start));
    if (is(unquoted(field(one, "name")), name)) return unquoted(field(one, "value"));
    if (place < end && load<u8>(place) == 0x2c) place++;
  }
  return 0;
}

const RESULT_MAX: i32 = 65536;
const RESULT: usize = memory.data(65536);
/** Zero again with every message. */
let written: i32 = 0;

/** Adds to the result; more than fits traps, and the message is undone. */
export function putText(one: Text): void {
  if (len(one) > RESULT_MAX - written) unreachable();
  memory.copy(RESULT + written, at(one), len(one));
  written += len(one);
}

/** Adds a word of ASCII. */
export function put(words: string): void {
  if (words.length > RESULT_MAX - written) unreachable();
  for (let i = 0; i < words.length; i++) store<u8>(RESULT + written + i, <u8>words.charCodeAt(i));
  written += words.length;
}

/** Adds a number. */
export function putNumber(number: u64): void {
  let left = number, count = 1;
  while ((left /= 10) != 0) count++;
  if (count > RESULT_MAX - written) unreachable();
  left = number;
  for (let i = count - 1; i >= 0; i--, left /= 10) store<u8>(RESULT + written + i, <u8>(0x30 + (left % 10)));
  written += count;
}

/** What `handle` returns. */
export function answer(): i64 {
  return (<i64>RESULT << 32) | <i64>written;
}
