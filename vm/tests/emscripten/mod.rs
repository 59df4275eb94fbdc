//! The text of small guests in the emscripten formats, for the tests that need one.

/// A module with 32- or 64-bit memory whose `handle` is the body given; the message is its first
/// parameter. `more` stands before it: imports first.
pub fn wat(is_64: bool, more: &str, handle: &str) -> String {
    let (word, memory) = if is_64 { ("i64", "i64 1 64") } else { ("i32", "1 64") };
    let (imports, rest) = more.split_once("---").unwrap_or(("", more));
    format!(
        "(module {imports}
           (memory (export \"memory\") {memory})
           (global $sp (mut {word}) ({word}.const 65536))
           {rest}
           (func (export \"emscripten_stack_get_current\") (result {word}) (global.get $sp))
           (func (export \"_emscripten_stack_restore\") (param {word}) (global.set $sp (local.get 0)))
           (func (export \"_emscripten_stack_alloc\") (param {word}) (result {word})
             (global.set $sp ({word}.and ({word}.sub (global.get $sp) (local.get 0)) ({word}.const -16)))
             (global.get $sp))
           (func (export \"handle\") (param {word} {word}) (result {word}) {handle}))"
    )
}
