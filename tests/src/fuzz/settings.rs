//! What people and programs on this machine hand to a node: its configuration, and requests to its
//! control socket.

use std::cell::LazyCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use weft_node::config::{Config, FILE_NAME, Inputs, Resolved};
use weft_node::control::api::{Reply, Request};
use weft_node::reads::{self, Read};
use weft_node::results::Cursor;

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| TempDir::new().expect("a folder"));
}

/// Reads a configuration: a file, and after its first zero byte lines of the environment.
pub(super) fn config(bytes: &[u8]) {
    let (file, env) = match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    let variables = env.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b'=')?)?;
        Some((String::from_utf8(name.to_vec()).ok()?, OsString::from_vec(value[1..].to_vec())))
    });
    let env = variables.filter(|(name, _)| name != "WEFT_DATA_DIR").collect();
    let Some(config) = load(file, env) else { return };
    let again = load(config.to_toml().as_bytes(), Inputs::default().env);
    assert_eq!(again.as_ref(), Some(&config), "what is shown gives the same configuration");
}

fn load(file: &[u8], env: std::collections::BTreeMap<String, OsString>) -> Option<Config> {
    FOLDER.with(|folder| {
        std::fs::write(folder.path().join(FILE_NAME), file).expect("the file can be written");
        let inputs = Inputs { data_dir: Some(folder.path().to_owned()), env, ..Inputs::default() };
        match Resolved::load(&inputs) {
            Ok(resolved) => {
                assert!(!resolved.shown().is_empty());
                Some(resolved.config)
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() < 4_096, "an error is for people: {} bytes", text.len());
                None
            }
        }
    })
}

/// Values that JSON of a peer may have here.
const VALUES_MAX: usize = 1_024;

/// Reads a line of a client and one of a node, a cursor, and what peers ask and answer for clients of theirs.
pub(super) fn control(bytes: &[u8]) {
    if let Some((request, again)) = again::<Request>(bytes) {
        assert_eq!(format!("{request:?}"), format!("{again:?}"), "a request means the same again");
    }
    if let Some((read, again)) = again::<Read>(bytes) {
        assert_eq!(format!("{read:?}"), format!("{again:?}"), "a question means the same again");
    }
    if let Ok(value) = reads::value(bytes, VALUES_MAX) {
        assert_eq!(reads::json_bytes(&value), value.to_string().len());
    }
    // Numbers of guests that are not whole may differ in their last digit.
    again::<Reply>(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(cursor) = Cursor::parse(text)
    {
        let shown = cursor.to_text();
        let again = Cursor::parse(&shown).expect("a cursor that is given out can be read");
        assert_eq!(again.to_text(), shown);
    }
}

/// What is understood can be written and read again.
fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<(T, T)> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_vec(&value).expect("what was read can be written");
    let again = serde_json::from_slice(&text).expect("what is written can be read");
    Some((value, again))
}
