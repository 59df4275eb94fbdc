//! What a module is given: the message JSON and the env JSON.
//!
//! Keys stand in the reference's order and absent ones are left out, because the tables that a
//! Lua guest builds, and so its memory, depend on every byte. What an unproven item claims about
//! its origin is taken out here, once, for every module.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::assignment::{Assignment, Excluded};
use crate::cron::Tick;
use crate::data_item::DataItem;
use crate::js::write_str;
use crate::l1::L1Tx;
use crate::module::Module;
use crate::owner::owner_text;
use crate::process::Process;
use crate::push::is_own_tag;
use crate::sender::Origin;
use crate::tag::{self, Tag};
use crate::time::TimePoint;

/// Names under which aos and its kin read where a message comes from.
const ORIGIN_NAMES: [&str; 3] = ["from-process", "from-module", "forwarded-by"];

/// The JSON of an assigned item.
pub fn message_json(assignment: &Assignment, item: &DataItem, origin: &Origin) -> String {
    let signer = owner_text(item);
    let (owner, from, forwarded_by) = match origin {
        Origin::Proven(source) => {
            let source = source.process.to_string();
            (source.clone(), source, Some(signer))
        }
        Origin::Legacy { from, .. } => (signer.clone(), from.clone(), Some(signer)),
        Origin::Direct => (signer.clone(), signer, None),
    };
    let data = item.data();
    let mut fields = Fields {
        data: Some(Some(String::from_utf8_lossy(&data))),
        owner,
        // Of an item that was not written to this process the module sees whom it was written to.
        target: item.target().map(|id| id.to_string()).unwrap_or_default(),
        from,
        forwarded_by,
        tags: visible(item.tags(), *origin != Origin::Direct),
        ..Fields::of_item(assignment, item)
    };
    fields.exclude(&assignment.excludes);
    fields.to_json()
}

/// The JSON of an assigned transaction of the base layer, as the reference reads it from a gateway: the wallet is
/// Owner and From, and the anchor is what the transaction follows. What it claims of its origin is taken out.
pub fn transaction_json(assignment: &Assignment, tx: &L1Tx) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tags: Vec<Tag> = tx.tags().iter().map(|tag| Tag::new(text(&tag.name), text(&tag.value))).collect();
    let (anchor, owner) = (URL_SAFE_NO_PAD.encode(tx.last_tx()), tx.owner().to_string());
    let mut fields = Fields {
        id: Some(tx.id().to_string()),
        signature: Some(URL_SAFE_NO_PAD.encode(tx.signature())),
        data: Some(Some(String::from_utf8_lossy(tx.data()))),
        owner: owner.clone(),
        target: tx.target().map(|target| target.to_string()).unwrap_or_default(),
        anchor: Some(Some(&anchor)),
        from: owner,
        tags: visible(&tags, false),
        assignment: Some(assignment),
        ..Fields::at(assignment.time)
    };
    fields.exclude(&assignment.excludes);
    fields.to_json()
}

/// The JSON of the Process item itself, at slot 0.
pub fn process_json(process: &Process, assignment: &Assignment) -> String {
    let item = process.item();
    let data = item.data();
    let mut fields = Fields {
        // The reference gives a process's data as null where it is no text.
        data: Some(std::str::from_utf8(&data).ok().map(Cow::Borrowed)),
        owner: process.owner().to_owned(),
        target: process.id().to_string(),
        from: process.owner().to_owned(),
        forwarded_by: process.parent().map(|_| owner_text(item)),
        tags: visible(item.tags(), process.parent().is_some()),
        ..Fields::of_item(assignment, item)
    };
    fields.exclude(&assignment.excludes);
    fields.to_json()
}

/// The JSON of a cron tick.
pub fn tick_json(process: &Process, tick: &Tick) -> String {
    let tags = process.crons().get(tick.cron).map(|cron| &cron.tags[..]).unwrap_or_default();
    let fields = Fields {
        owner: process.owner().to_owned(),
        target: process.id().to_string(),
        from: process.owner().to_owned(),
        tags: tags.iter().filter(|tag| !is_overwritten(&tag.name)).collect(),
        cron: true,
        ..Fields::at(tick.time)
    };
    fields.to_json()
}

/// A message that nobody signed and no log holds, evaluated on a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DryRun {
    /// `Id`, of the caller's choice.
    pub id: Option<String>,
    /// `Signature`, of the caller's choice: nobody checks it.
    pub signature: Option<String>,
    /// `Owner`: whoever the caller says.
    pub owner: String,
    /// `Target`; the process if none is given.
    pub target: Option<String>,
    /// `Data`.
    pub data: Option<String>,
    /// `Anchor`.
    pub anchor: Option<String>,
    /// `Tags`.
    pub tags: Vec<Tag>,
    /// `Timestamp`; that of the evaluated state if none is given.
    pub timestamp: Option<u64>,
    /// `Block-Height`; that of the evaluated state if none is given.
    pub height: Option<u64>,
}

/// The JSON of a dry run on the state at `time`. It keeps the reference's rule: From is what the
/// tags say.
pub fn dry_run_json(process: &Process, run: &DryRun, time: TimePoint) -> String {
    let from_process = tag::first(&run.tags, "From-Process");
    let time = TimePoint {
        timestamp: run.timestamp.unwrap_or(time.timestamp),
        height: run.height.unwrap_or(time.height),
    };
    let fields = Fields {
        id: run.id.clone(),
        signature: run.signature.clone(),
        data: run.data.as_deref().map(|data| Some(Cow::Borrowed(data))),
        owner: run.owner.clone(),
        target: run.target.clone().unwrap_or_else(|| process.id().to_string()),
        anchor: run.anchor.as_deref().map(Some),
        from: from_process.filter(|from| !from.is_empty()).unwrap_or(&run.owner).to_owned(),
        forwarded_by: from_process.map(|_| run.owner.clone()),
        tags: run.tags.iter().filter(|tag| !is_overwritten(&tag.name)).collect(),
        read_only: true,
        ..Fields::at(time)
    };
    fields.to_json()
}

/// The env JSON: the process and its module, beside every message.
pub fn env_json(process: &Process, module: &Module) -> String {
    let mut out = String::from("{\"Process\":");
    let own =
        |tag: &&Tag| !is_own_tag(&tag.name) && (process.parent().is_some() || !claims_origin(&tag.name));
    let tags: Vec<&Tag> = process.item().tags().iter().filter(own).collect();
    write_party(&mut out, &process.id().to_string(), process.owner(), &tags);
    out.push_str(",\"Module\":");
    let tags: Vec<&Tag> = module.tags().iter().collect();
    write_party(&mut out, &module.id().to_string(), module.owner(), &tags);
    out.push('}');
    out
}

fn write_party(out: &mut String, id: &str, owner: &str, tags: &[&Tag]) {
    out.push_str("{\"Id\":");
    write_str(id, out);
    out.push_str(",\"Owner\":");
    write_str(owner, out);
    out.push_str(",\"Tags\":");
    write_tags(tags, out);
    out.push('}');
}

/// The tags a module sees of an item: what it says of its origin only when that is accepted.
fn visible(tags: &[Tag], is_accepted: bool) -> Vec<&Tag> {
    tags.iter()
        .filter(|tag| !is_overwritten(&tag.name) && !is_own_tag(&tag.name))
        .filter(|tag| is_accepted || !claims_origin(&tag.name))
        .collect()
}

/// Tags that would overwrite the fields of the same names in a guest's table.
fn is_overwritten(name: &str) -> bool {
    name == "From" || name == "Owner"
}

/// Whether a guest may read this name as one of [`ORIGIN_NAMES`]: in any letter case, `_` read
/// as `-`, surrounding ASCII spaces and control characters ignored.
fn claims_origin(name: &str) -> bool {
    let name = name.trim_matches(|letter: char| letter <= ' ').replace('_', "-");
    ORIGIN_NAMES.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

/// The fields of a message. An outer `None` leaves the key out, an inner one prints null.
struct Fields<'a> {
    id: Option<String>,
    signature: Option<String>,
    data: Option<Option<Cow<'a, str>>>,
    owner: String,
    target: String,
    anchor: Option<Option<&'a str>>,
    from: String,
    forwarded_by: Option<String>,
    tags: Vec<&'a Tag>,
    assignment: Option<&'a Assignment>,
    time: TimePoint,
    cron: bool,
    read_only: bool,
}

impl<'a> Fields<'a> {
    /// A message with nothing but a time.
    const fn at(time: TimePoint) -> Self {
        Self {
            id: None,
            signature: None,
            data: None,
            owner: String::new(),
            target: String::new(),
            anchor: None,
            from: String::new(),
            forwarded_by: None,
            tags: Vec::new(),
            assignment: None,
            time,
            cron: false,
            read_only: false,
        }
    }

    /// What every assigned item shows alike.
    fn of_item(assignment: &'a Assignment, item: &'a DataItem) -> Self {
        Self {
            id: Some(item.id().to_string()),
            signature: Some(URL_SAFE_NO_PAD.encode(item.signature())),
            // The reference shows an anchor only where its bytes are text.
            anchor: Some(item.anchor().and_then(|anchor| std::str::from_utf8(anchor).ok())),
            assignment: Some(assignment),
            ..Self::at(assignment.time)
        }
    }

    fn exclude(&mut self, fields: &[Excluded]) {
        for field in fields {
            match field {
                Excluded::Data => self.data = None,
                Excluded::Tags => self.tags.clear(),
                Excluded::Signature => self.signature = None,
                Excluded::Anchor => self.anchor = None,
            }
        }
    }

    fn to_json(&self) -> String {
        let data = self.data.as_ref().map(Option::as_deref);
        let mut object = ObjectWriter::new(data.flatten().map_or(0, str::len));
        object.text("Id", self.id.as_deref());
        object.text("Signature", self.signature.as_deref());
        object.text_or_null("Data", data);
        object.text("Owner", Some(&self.owner));
        object.text("Target", Some(&self.target));
        object.text_or_null("Anchor", self.anchor);
        object.text("From", Some(&self.from));
        object.text("Forwarded-By", self.forwarded_by.as_deref());
        write_tags(&self.tags, object.key("Tags"));
        if let Some(assignment) = self.assignment {
            object.number("Epoch", assignment.epoch);
            object.number("Nonce", assignment.slot);
        }
        object.number("Timestamp", self.time.timestamp);
        object.number("Block-Height", self.time.height);
        object.text("Hash-Chain", self.assignment.map(|a| a.hash_chain.to_string()).as_deref());
        object.flag("Cron", self.cron);
        object.flag("Read-Only", self.read_only);
        object.finish()
    }
}

/// Appends keys and values of one compact JSON object.
struct ObjectWriter(String);

impl ObjectWriter {
    fn new(data_bytes: usize) -> Self {
        let mut out = String::with_capacity(2_048 + data_bytes);
        out.push('{');
        Self(out)
    }

    fn key(&mut self, key: &str) -> &mut String {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        write_str(key, &mut self.0);
        self.0.push(':');
        &mut self.0
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            write_str(value, self.key(key));
        }
    }

    fn text_or_null(&mut self, key: &str, value: Option<Option<&str>>) {
        match value {
            Some(None) => self.key(key).push_str("null"),
            Some(value) => self.text(key, value),
            None => {}
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key).push_str(&value.to_string());
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key).push_str(if value { "true" } else { "false" });
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn write_tags(tags: &[&Tag], out: &mut String) {
    out.push('[');
    for (index, tag) in tags.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str("{\"name\":");
        write_str(&tag.name, out);
        out.push_str(",\"value\":");
        write_str(&tag.value, out);
        out.push('}');
    }
    out.push(']');
}
