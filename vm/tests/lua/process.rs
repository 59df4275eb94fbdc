//! A process of the Lua guest, and the messages that it is sent.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use weft_vm::{Engine, EngineConfig, Format, Instance, Limits, Module, Outcome, guests};

/// What one message may use: about a tenth of a second.
pub(crate) const LIMITS: Limits = Limits { gas: 100_000_000_000, memory_bytes: 64 << 20 };
/// Who the process is from.
pub(crate) const OWNER: &str = "FOOBARfoobarFOOBARfoobarFOOBARfoobarFOOBAR01";
/// The process itself.
pub(crate) const PROCESS: &str = "PROCESSprocessPROCESSprocessPROCESSprocess1";
/// Another process.
pub(crate) const FRIEND: &str = "FRIENDfriendFRIENDfriendFRIENDfriendFRIEND1";

/// The guest, compiled once for all tests.
pub(crate) fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        let engine = Engine::new(EngineConfig::default()).unwrap();
        engine.compile(guests::LUA, Format::Plain).unwrap()
    })
}

/// A message on its way, as the node writes it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    from: String,
    owner: String,
    target: String,
    tags: Vec<(String, String)>,
    data: String,
    more: Map<String, Value>,
}

impl Message {
    pub(crate) fn new(action: &str, data: &str) -> Self {
        Self {
            from: OWNER.into(),
            owner: OWNER.into(),
            target: PROCESS.into(),
            tags: vec![("Action".into(), action.into())],
            data: data.into(),
            more: Map::new(),
        }
    }

    /// From somebody who signed it.
    pub(crate) fn from(mut self, from: &str) -> Self {
        self.from = from.into();
        self.owner = from.into();
        self
    }

    /// Signed by somebody else than it is from.
    pub(crate) fn signed(mut self, owner: &str) -> Self {
        self.owner = owner.into();
        self
    }

    pub(crate) fn to(mut self, target: &str) -> Self {
        self.target = target.into();
        self
    }

    pub(crate) fn tag(mut self, name: &str, value: &str) -> Self {
        self.tags.push((name.into(), value.into()));
        self
    }

    /// A field beside the usual ones.
    pub(crate) fn field(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.into(), value);
        self
    }

    /// As the node writes it.
    pub(crate) fn json(&self, nonce: u64) -> String {
        let first = nonce == 0;
        let kind = if first { "Process" } else { "Message" };
        let mut tags = vec![json!({"name": "Type", "value": kind})];
        tags.extend(self.tags.iter().map(|(name, value)| json!({"name": name, "value": value})));
        let mut message = json!({
            "Id": if first { PROCESS.to_owned() } else { format!("MESSAGE{nonce:036}") },
            "Data": self.data, "Owner": self.owner, "From": self.from, "Target": self.target, "Tags": tags,
            "Epoch": 0, "Nonce": nonce, "Timestamp": 1_700_000_000_000u64 + nonce,
            "Block-Height": 1_300_000 + nonce, "Hash-Chain": format!("chain{nonce}"), "Cron": false,
            "Read-Only": false,
        });
        message.as_object_mut().unwrap().extend(self.more.clone());
        message.to_string()
    }
}

/// A process, and the number of its next message.
pub(crate) struct Process {
    pub(crate) instance: Instance,
    pub(crate) nonce: u64,
    environment: String,
}

impl Process {
    pub(crate) fn spawn() -> Self {
        Self::booted(&[], "")
    }

    /// With tags of its own, and data to boot from.
    pub(crate) fn booted(tags: &[(&str, &str)], data: &str) -> Self {
        let mut process = Self::unborn(tags);
        let boot = tags.iter().fold(Message::new("Boot", data), |boot, (name, value)| boot.tag(name, value));
        process.take(&boot);
        process
    }

    /// Before its first message.
    pub(crate) fn unborn(tags: &[(&str, &str)]) -> Self {
        let mut all =
            vec![json!({"name": "Name", "value": "test"}), json!({"name": "Module", "value": "MODULE"})];
        all.extend(tags.iter().map(|(name, value)| json!({"name": name, "value": value})));
        let environment = json!({
            "Process": {"Id": PROCESS, "Owner": OWNER, "Tags": all},
            "Module": {"Id": "MODULE", "Owner": OWNER, "Tags": []},
        });
        Self {
            instance: module().instantiate(LIMITS).unwrap(),
            nonce: 0,
            environment: environment.to_string(),
        }
    }

    /// The same process, in an instance of its own that begins with the same memory.
    pub(crate) fn restored(&mut self) -> Self {
        let image = self.instance.memory_image().unwrap();
        Self {
            instance: module().restore(&image, LIMITS).unwrap(),
            nonce: self.nonce,
            environment: self.environment.clone(),
        }
    }

    /// What becomes of a message; whether it is kept is up to the test.
    pub(crate) fn outcome(&mut self, message: &Message) -> Outcome {
        let text = message.json(self.nonce);
        self.nonce += 1;
        self.instance.evaluate(text.as_bytes(), self.environment.as_bytes()).unwrap().outcome
    }

    /// Its response; the message is kept unless it failed.
    pub(crate) fn take(&mut self, message: &Message) -> Value {
        let Outcome::Returned(bytes) = self.outcome(message) else { panic!("a message trapped") };
        let result: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(result["ok"], true, "{result}");
        let response = result["response"].clone();
        if response.get("Error").is_some() {
            self.instance.roll_back().unwrap();
        } else {
            self.instance.keep().unwrap();
        }
        response
    }

    pub(crate) fn send(&mut self, action: &str, data: &str) -> Value {
        self.take(&Message::new(action, data))
    }

    /// What an Eval shows, or its error.
    pub(crate) fn eval(&mut self, data: &str) -> String {
        let response = self.send("Eval", data);
        bare(response["Error"].as_str().or(response["Output"]["data"].as_str()).unwrap())
    }
}

/// A text without its colours.
pub(crate) fn bare(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    out + rest
}

/// The value of a tag of something that was sent.
pub(crate) fn tag<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    let tags = entry["Tags"].as_array()?;
    tags.iter().find(|tag| tag["name"] == name)?["value"].as_str()
}
