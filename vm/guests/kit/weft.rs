//! Guests of the plain format, `wasm32-weft-plain`, in Rust without its standard library. `README.md` has
//! the format and the build. Statics last from message to message, for they lie in linear memory.

use core::cell::UnsafeCell;

/// A static that a guest changes: there is one thread, and one message at a time.
pub struct State<T>(UnsafeCell<T>);

// SAFETY: a guest has one thread.
unsafe impl<T> Sync for State<T> {}

impl<T> State<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// What is kept. Whoever asks lets go of it before somebody asks again.
    #[allow(clippy::mut_from_ref)]
    pub fn get(&self) -> &mut T {
        // SAFETY: one thread, and one reference at a time, as said above.
        unsafe { &mut *self.0.get() }
    }
}

unsafe extern "C" {
    static __heap_base: u8;
}

static TAKEN: State<usize> = State::new(0);

/// Room behind the guest's own data, for the message and then the environment. [`Answer::begin`] gives it back.
pub fn room(length: usize) -> *mut u8 {
    let taken = TAKEN.get();
    let from = &raw const __heap_base as usize + *taken;
    let needed = (from + length + 8).div_ceil(65_536);
    let pages = core::arch::wasm32::memory_size(0);
    if needed > pages && core::arch::wasm32::memory_grow(0, needed - pages) == usize::MAX {
        core::arch::wasm32::unreachable();
    }
    *taken += (length + 7) & !7;
    from as *mut u8
}

/// What the host wrote at an address that [`room`] gave.
///
/// # Safety
/// The address and length are those of `handle`, and the text is used until it returns.
pub unsafe fn given<'a>(address: *const u8, length: usize) -> &'a [u8] {
    // SAFETY: as the caller says.
    unsafe { core::slice::from_raw_parts(address, length) }
}

/// The rest of a JSON text after the string that begins it.
fn after_string(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The length of the value that begins a JSON text.
fn value_length(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'"' => at += after_string(&text[at..]),
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => (depth, at) = (depth - 1, at + 1),
            b',' if depth == 0 => return at,
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// A field of a JSON object as it stands there, strings with their quotes and escapes; empty if it has none.
pub fn field<'a>(object: &'a [u8], name: &str) -> &'a [u8] {
    let mut rest = object.get(1..).unwrap_or_default();
    while rest.first() == Some(&b'"') {
        let key = after_string(rest);
        let value = rest.get(key + 1..).unwrap_or_default();
        let length = value_length(value);
        if rest.get(1..key - 1) == Some(name.as_bytes()) {
            return &value[..length];
        }
        rest = value.get(length + 1..).unwrap_or_default();
    }
    &[]
}

/// A string without its quotes; its escapes stay.
pub fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        _ => &[],
    }
}

/// The value of the first tag of this name; empty if there is none.
pub fn tag<'a>(message: &'a [u8], name: &str) -> &'a [u8] {
    let mut rest = field(message, "Tags").get(1..).unwrap_or_default();
    while rest.first() == Some(&b'{') {
        let (one, after) = rest.split_at(value_length(rest));
        if unquoted(field(one, "name")) == name.as_bytes() {
            return unquoted(field(one, "value"));
        }
        rest = after.get(1..).unwrap_or_default();
    }
    &[]
}

/// The result, as it is written: more than fits traps, and the message is undone.
pub struct Answer {
    bytes: [u8; 65_536],
    written: usize,
}

static ANSWER: State<Answer> = State::new(Answer { bytes: [0; 65_536], written: 0 });

impl Answer {
    /// Before anything is put.
    pub fn begin() -> &'static mut Self {
        *TAKEN.get() = 0;
        let answer = ANSWER.get();
        answer.written = 0;
        answer
    }

    pub fn put(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        let text = text.as_ref();
        let Some(room) = self.bytes.get_mut(self.written..self.written + text.len()) else {
            core::arch::wasm32::unreachable()
        };
        room.copy_from_slice(text);
        self.written += text.len();
        self
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        let (mut digits, mut at, mut left) = ([0; 20], 20, number);
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                return self.put(&digits[at..]);
            }
        }
    }

    /// What `handle` returns.
    pub fn end(&self) -> u64 {
        (self.bytes.as_ptr() as u64) << 32 | self.written as u64
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
