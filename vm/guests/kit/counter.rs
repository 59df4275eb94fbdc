//! A counter: `Increment` counts, everything else is told the count; `Ping` is answered with a message.
#![no_std]
#![no_main]

mod weft;
use weft::{Answer, State, field, given, room, tag};

/// What lasts.
static COUNT: State<u64> = State::new(0);

#[unsafe(no_mangle)]
extern "C" fn alloc(length: usize) -> *mut u8 {
    room(length)
}

/// # Safety
/// The texts lie where [`alloc`] gave room for them.
#[unsafe(no_mangle)]
unsafe extern "C" fn handle(bytes: *const u8, length: usize, _: *const u8, _: usize) -> u64 {
    // SAFETY: as the host promises.
    let message = unsafe { given(bytes, length) };
    let (action, count) = (tag(message, "Action"), COUNT.get());
    if action == b"Increment" {
        *count += 1;
    }
    let answer = Answer::begin();
    answer.put(r#"{"ok":true,"response":{"Output":""#).number(*count).put(r#"","Messages":["#);
    if action == b"Ping" {
        answer.put(r#"{"Target":"#).put(field(message, "From")).put(r#","Data":""#).number(*count);
        answer.put(r#"","Anchor":"00000000000000000000000000000000","#);
        answer.put(r#""Tags":[{"name":"Action","value":"Pong"}]}"#);
    }
    answer.put(r#"],"Spawns":[],"Assignments":[]}}"#).end()
}
