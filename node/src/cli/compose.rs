//! Making the items that the CLI signs: their tags stand where aoconnect puts them.

use bytes::Bytes;
use weft_protocol::data_item::Draft;
use weft_protocol::{Address, Id, Tag};

use super::exit::CliError;

/// The variant of the protocol: the reference's testnet, whose rules ours build on.
const VARIANT: &str = "ao.TN.1";

/// What a Process item says beside its tags.
#[derive(Debug)]
pub(crate) struct ProcessTerms {
    pub(crate) module: Id,
    pub(crate) scheduler: Address,
    pub(crate) compute: Vec<Address>,
    pub(crate) quorum: Option<usize>,
}

/// A message to a process.
pub(crate) fn message(
    process: Id,
    action: Option<String>,
    tags: Vec<Tag>,
    anchor: Option<[u8; 32]>,
    data: Vec<u8>,
) -> Result<Draft, CliError> {
    let user = action.map(|action| Tag::new("Action", action)).into_iter().chain(tags).collect();
    let tags = framed(user, "Message", &[], Vec::new())?;
    Ok(Draft {
        target: Some(process),
        anchor: Some(anchor.unwrap_or_else(fresh_anchor)),
        tags,
        data: data.into(),
    })
}

/// A new process.
pub(crate) fn process(
    terms: ProcessTerms,
    name: Option<String>,
    tags: Vec<Tag>,
    data: Vec<u8>,
) -> Result<Draft, CliError> {
    let ProcessTerms { module, scheduler, compute, quorum } = terms;
    let user = name.map(|name| Tag::new("Name", name)).into_iter().chain(tags).collect();
    let mut ours = vec![Tag::new("Module", module.to_string()), Tag::new("Scheduler", scheduler.to_string())];
    ours.extend(compute.iter().map(|address| Tag::new("Compute", address.to_string())));
    if !compute.is_empty() {
        let majority = compute.len() / 2 + 1;
        ours.push(Tag::new("Compute-Quorum", quorum.unwrap_or(majority).to_string()));
    }
    let flags = [
        ("Module", "--module"),
        ("Scheduler", "--scheduler"),
        ("Compute", "--compute"),
        ("Compute-Quorum", "--quorum"),
    ];
    let tags = framed(user, "Process", &flags, ours)?;
    Ok(Draft { target: None, anchor: Some(fresh_anchor()), tags, data: data.into() })
}

/// A module. Its item has no anchor: the same bytes with the same tags are the same module.
pub(crate) fn module(
    wasm: Bytes,
    format: &str,
    memory_limit: &str,
    compute_limit: &str,
    tags: Vec<Tag>,
) -> Result<Draft, CliError> {
    let ours = vec![
        Tag::new("Module-Format", format),
        Tag::new("Input-Encoding", "JSON-1"),
        Tag::new("Output-Encoding", "JSON-1"),
        Tag::new("Memory-Limit", memory_limit),
        Tag::new("Compute-Limit", compute_limit),
        Tag::new("Content-Type", "application/wasm"),
    ];
    let flags = [
        ("Module-Format", "--format"),
        ("Memory-Limit", "--memory-limit"),
        ("Compute-Limit", "--compute-limit"),
        ("Input-Encoding", ""),
        ("Output-Encoding", ""),
        ("Content-Type", ""),
    ];
    let tags = framed(tags, "Module", &flags, ours)?;
    Ok(Draft { target: None, anchor: None, tags, data: wasm })
}

/// `Data-Protocol`, the user's tags, `Variant`, `Type`, then the rest of ours. A user's `Variant`
/// replaces ours; any other tag that we set is refused with the flag that sets it.
fn framed(user: Vec<Tag>, kind: &str, flags: &[(&str, &str)], ours: Vec<Tag>) -> Result<Vec<Tag>, CliError> {
    let fixed = [("Data-Protocol", ""), ("Type", "")];
    for (name, flag) in fixed.iter().chain(flags) {
        if user.iter().any(|tag| tag.name == *name) {
            let instead = if flag.is_empty() { String::new() } else { format!(": use {flag}") };
            return Err(CliError::input(format!("--tag {name}: this command sets that tag itself{instead}")));
        }
    }
    let (variants, user): (Vec<Tag>, Vec<Tag>) = user.into_iter().partition(|tag| tag.name == "Variant");
    let variant = variants.into_iter().next().unwrap_or_else(|| Tag::new("Variant", VARIANT));
    let mut tags = vec![Tag::new("Data-Protocol", "ao")];
    tags.extend(user);
    tags.extend([variant, Tag::new("Type", kind)]);
    tags.extend(ours);
    Ok(tags)
}

/// 32 random characters: an ed25519 signature repeats itself, so without an anchor the same words
/// said twice would be one item. Characters, because the module sees an anchor only if it is text.
fn fresh_anchor() -> [u8; 32] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    rand::random::<[u8; 32]>().map(|byte| ALPHABET[usize::from(byte % 64)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(draft: &Draft) -> Vec<&str> {
        draft.tags.iter().map(|tag| tag.name.as_str()).collect()
    }

    #[test]
    fn tags_stand_in_order() {
        let user = vec![Tag::new("X", "1"), Tag::new("Variant", "mine"), Tag::new("Y", "2")];
        let draft = message(Id([1; 32]), Some("Eval".into()), user, None, Vec::new()).unwrap();
        assert_eq!(names(&draft), ["Data-Protocol", "Action", "X", "Y", "Variant", "Type"]);
        assert_eq!(draft.tags[4].value, "mine");
        let terms = ProcessTerms {
            module: Id([2; 32]),
            scheduler: Address([3; 32]),
            compute: vec![Address([4; 32]), Address([5; 32])],
            quorum: None,
        };
        let draft = process(terms, Some("n".into()), Vec::new(), Vec::new()).unwrap();
        let expected = [
            "Data-Protocol",
            "Name",
            "Variant",
            "Type",
            "Module",
            "Scheduler",
            "Compute",
            "Compute",
            "Compute-Quorum",
        ];
        assert_eq!(names(&draft), expected);
        assert_eq!(draft.tags[8].value, "2");
    }

    #[test]
    fn a_tag_of_ours_is_refused_with_its_flag() {
        let error = module(Bytes::new(), "f", "1-gb", "1", vec![Tag::new("Memory-Limit", "x")]).unwrap_err();
        assert_eq!(error.text, "--tag Memory-Limit: this command sets that tag itself: use --memory-limit");
        assert!(message(Id([1; 32]), None, vec![Tag::new("Type", "x")], None, Vec::new()).is_err());
    }

    #[test]
    fn two_equal_messages_are_two_items() {
        let one = message(Id([1; 32]), None, Vec::new(), None, Vec::new()).unwrap();
        let two = message(Id([1; 32]), None, Vec::new(), None, Vec::new()).unwrap();
        assert_ne!(one.anchor, two.anchor);
        assert!(one.anchor.unwrap().is_ascii());
        let module = |wasm| module(Bytes::from_static(wasm), "f", "1-gb", "1", Vec::new()).unwrap();
        assert_eq!(module(b"x"), module(b"x"));
    }
}
