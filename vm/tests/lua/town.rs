//! Several processes of programs at once: messages are carried from one to the other as the node's
//! messengers do it, with From and Owner set to the sender, and what is spawned is told to its parent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use weft_vm::{Instance, Outcome, Weave};

use crate::process::{LIMITS, module, tag};

struct Resident {
    instance: Instance,
    environment: String,
    nonce: u64,
}

/// Processes, what is on its way between them, and what wallets got.
#[derive(Default)]
pub(crate) struct Town {
    residents: BTreeMap<String, Resident>,
    /// Target and message.
    pub(crate) way: VecDeque<(String, Value)>,
    /// What was sent to somebody who is no process.
    mail: Vec<Value>,
    pub(crate) now: u64,
    /// What processes may read.
    pub(crate) items: Option<Arc<dyn Weave>>,
    messages: u64,
}

pub(crate) fn tags_of(tags: &[(&str, &str)]) -> Vec<Value> {
    tags.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

impl Town {
    /// A process that boots from its data.
    pub(crate) fn spawn(&mut self, id: &str, tags: &[(&str, &str)], program: &str) {
        self.spawn_from("Data", id, tags, program);
    }

    /// A process that boots from what `On-Boot` names.
    pub(crate) fn spawn_from(&mut self, source: &str, id: &str, tags: &[(&str, &str)], data: &str) {
        let all =
            tags_of(&[&[("Type", "Process"), ("Module", "MODULE"), ("On-Boot", source)], tags].concat());
        self.begin(id, "OWNER", json!(all), json!(data));
        self.settle();
    }

    fn begin(&mut self, id: &str, owner: &str, tags: Value, program: Value) {
        let environment = json!({
            "Process": {"Id": id, "Owner": owner, "Tags": tags},
            "Module": {"Id": "MODULE", "Owner": "OWNER", "Tags": []},
        });
        let mut instance = module().instantiate(LIMITS).unwrap();
        if let Some(items) = &self.items {
            instance.offer(Arc::clone(items));
        }
        let resident = Resident { instance, environment: environment.to_string(), nonce: 0 };
        self.residents.insert(id.to_owned(), resident);
        let boot = json!({"Id": id, "From": owner, "Owner": owner, "Data": program, "Tags": tags});
        self.way.push_back((id.to_owned(), boot));
    }

    /// Does what a response asks for.
    fn carry(&mut self, from: &str, response: &Value) {
        for sent in response["Messages"].as_array().unwrap() {
            assert!(sent["Tags"].as_array().unwrap().iter().all(|tag| tag["value"].is_string()), "{sent}");
            let target = sent["Target"].as_str().unwrap().to_owned();
            let data = sent.get("Data").cloned().unwrap_or_default();
            self.way.push_back((
                target,
                json!({"From": from, "Owner": from, "Data": data, "Tags": sent["Tags"]}),
            ));
        }
        for spawn in response["Spawns"].as_array().unwrap() {
            let child = format!("CHILD{}", self.residents.len());
            self.begin(&child, from, spawn["Tags"].clone(), spawn["Data"].clone());
            let mut tags = spawn["Tags"].as_array().unwrap().clone();
            tags.extend(tags_of(&[("Process", &child), ("Action", "Spawned"), ("Type", "Message")]));
            self.way.push_back((
                from.to_owned(),
                json!({"From": from, "Owner": from, "Data": " ", "Tags": tags}),
            ));
        }
    }

    /// A message of a wallet, and everything that comes of it; what wallets got.
    pub(crate) fn send(&mut self, from: &str, to: &str, tags: &[(&str, &str)], data: &str) -> Vec<Value> {
        let tags = tags_of(&[&[("Type", "Message")], tags].concat());
        self.way.push_back((to.to_owned(), json!({"From": from, "Owner": from, "Data": data, "Tags": tags})));
        self.settle();
        std::mem::take(&mut self.mail)
    }

    pub(crate) fn settle(&mut self) {
        while let Some((to, mut message)) = self.way.pop_front() {
            let Some(resident) = self.residents.get_mut(&to) else {
                message["Target"] = json!(to);
                self.mail.push(message);
                continue;
            };
            self.messages += 1;
            assert!(self.messages < 10_000, "they never stop talking");
            let id = message["Id"].as_str().map_or_else(|| format!("M{:042}", self.messages), str::to_owned);
            let more = json!({"Id": id, "Target": to, "Nonce": resident.nonce, "Epoch": 0, "Timestamp": self.now,
                "Block-Height": 1, "Hash-Chain": "h", "Cron": message["Cron"].as_bool().unwrap_or(false),
                "Read-Only": false});
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            resident.nonce += 1;
            let response = resident.evaluate(&message);
            assert_eq!(response.get("Error"), None, "{to}: {message}: {response}");
            self.carry(&to, &response);
        }
    }

    /// What a view shows.
    pub(crate) fn view(&mut self, process: &str, path: &str, tags: &[(&str, &str)]) -> Value {
        let tags = tags_of(&[&[("Action", "Weft-Read"), ("Path", path)], tags].concat());
        let resident = self.residents.get_mut(process).unwrap();
        let ask = json!({"Id": "R", "From": "X", "Owner": "X", "Target": process, "Data": "", "Tags": tags,
            "Timestamp": self.now, "Read-Only": true});
        let response = resident.evaluate(&ask);
        serde_json::from_str(response["Output"]["data"].as_str().unwrap_or_else(|| panic!("{response}")))
            .unwrap()
    }

    pub(crate) fn balance(&mut self, token: &str, account: &str) -> u128 {
        let path = format!("Balances.{account}");
        let all = self.view(token, "Balances", &[]);
        all.get(account).map_or(0, |_| self.view(token, &path, &[]).as_str().unwrap().parse().unwrap())
    }
}

impl Resident {
    fn evaluate(&mut self, message: &Value) -> Value {
        let text = message.to_string();
        let ended = self.instance.evaluate(text.as_bytes(), self.environment.as_bytes()).unwrap().outcome;
        let Outcome::Returned(bytes) = ended else { panic!("{ended:?}: {text}") };
        self.instance.keep().unwrap();
        let result: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(result["ok"], true, "{result}");
        result["response"].clone()
    }
}

pub(crate) fn mint(town: &mut Town, token: &str, to: &str, amount: &str) {
    let tags = [("Action", "Mint"), ("Recipient", to), ("Quantity", amount)];
    let mail = town.send("OWNER", token, &tags, "");
    assert_eq!(tag(&mail[0], "Action"), Some("Minted"));
}
