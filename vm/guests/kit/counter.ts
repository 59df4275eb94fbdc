// A counter: `Increment` counts, everything else is told the count; `Ping` is answered with a message.
import { answer, field, is, put, putNumber, putText, room, tag, text } from "./weft";

/** What lasts. */
const COUNT: usize = memory.data(8, 8);

export function alloc(length: i32): usize {
  return room(length);
}

export function handle(bytes: usize, length: i32, environment: usize, environmentLength: i32): i64 {
  const message = text(bytes, length), action = tag(message, "Action");
  if (is(action, "Increment")) store<u64>(COUNT, load<u64>(COUNT) + 1);
  put('{"ok":true,"response":{"Output":"');
  putNumber(load<u64>(COUNT));
  put('","Messages":[');
  if (is(action, "Ping")) {
    put('{"Target":');
    putText(field(message, "From"));
    put(',"Data":"');
    putNumber(load<u64>(COUNT));
    put('","Anchor":"00000000000000000000000000000000","Tags":[{"name":"Action","value":"Pong"}]}');
  }
  put('],"Spawns":[],"Assignments":[]}}');
  return answer();
}
