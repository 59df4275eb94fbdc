//! Nodes on machines of their own, as far as the kernel goes: each in a network namespace with one address,
//! all on one switch, or behind a router of its own. Takes root and Linux; where either is missing, or the kernel
//! cannot delay or translate packets, the tests are skipped, which is said, in the list of skips too. Whatever
//! else fails is a fault of the test.

use std::io::ErrorKind;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::node::{Node, until, until_is, up};

/// The address of a house behind a router.
const BEHIND: &str = "192.168.77.2";

/// Namespaces with an address each, in one network. They go with this.
struct Village {
    name: String,
    houses: usize,
}

/// Villages of this program so far: each has its own names.
static VILLAGES: AtomicU32 = AtomicU32::new(0);

/// What these programs say where a machine has no root for us, or its kernel no netem or no translation.
const LACKING: [&str; 5] = [
    "Operation not permitted",
    "Permission denied",
    "Specified qdisc kind is unknown",
    "Protocol not supported",
    "Operation not supported",
];

/// What a router at home does: who is behind it may call, and hears answers; nobody calls in.
const HOME_ROUTER: &str = "
    table ip home {
        chain out { type nat hook postrouting priority 100; oifname eth0 masquerade; }
        chain through {
            type filter hook forward priority 0; policy drop;
            iifname home accept
            ct state established,related accept
        }
    }";

fn output(program: &str, args: &[&str]) -> std::io::Result<Output> {
    Command::new(program).args(args).env("LC_ALL", "C").output()
}

/// Runs a program, or says what of it this machine lacks.
fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let ran = match output(program, args) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(format!("no `{program}`")),
        ran => ran.unwrap_or_else(|error| panic!("`{program}`: {error}")),
    };
    if ran.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&ran.stderr);
    let failed = format!("`{program} {}`: {}", args.join(" "), text.trim());
    assert!(LACKING.iter().any(|lacking| text.contains(lacking)), "{failed}");
    Err(failed)
}

impl Drop for Village {
    fn drop(&mut self) {
        // Some may not be there: it may have ended half made.
        for house in 0..=self.houses {
            let _ = output("ip", &["netns", "del", &self.house(house)]);
        }
    }
}

impl Village {
    /// So many namespaces, or why there can be none.
    fn new(houses: usize) -> Result<Self, String> {
        let number = VILLAGES.fetch_add(1, Ordering::Relaxed);
        let village = Self { name: format!("weft-{}-{number}", std::process::id()), houses };
        let switch = village.house(0);
        run("ip", &["netns", "add", &switch])?;
        run("ip", &["-n", &switch, "link", "add", "switch", "type", "bridge"])?;
        run("ip", &["-n", &switch, "link", "set", "switch", "up"])?;
        for number in 1..=houses {
            let (house, port) = (village.house(number), format!("port{number}"));
            let address = format!("{}/24", Self::address(number));
            run("ip", &["netns", "add", &house])?;
            let to = ["type", "veth", "peer", "name", "eth0", "netns", &house];
            run("ip", &[&["-n", &switch, "link", "add", &port][..], &to].concat())?;
            run("ip", &["-n", &switch, "link", "set", &port, "master", "switch", "up"])?;
            run("ip", &["-n", &house, "link", "set", "lo", "up"])?;
            run("ip", &["-n", &house, "address", "add", &address, "dev", "eth0"])?;
            run("ip", &["-n", &house, "link", "set", "eth0", "up"])?;
            run("ip", &["-n", &house, "route", "add", "default", "dev", "eth0"])?;
        }
        Ok(village)
    }

    /// Number 0 is the switch.
    fn house(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    fn address(number: usize) -> String {
        format!("10.77.0.{number}")
    }

    /// Delays and loses what goes out of every house, or says why that cannot be.
    fn disturb(&self) -> Result<(), String> {
        for number in 1..=self.houses {
            let house = self.house(number);
            let how = ["netem", "delay", "100ms", "30ms", "loss", "1%"];
            run("tc", &[&["-n", &house, "qdisc", "add", "dev", "eth0", "root"][..], &how].concat())?;
        }
        Ok(())
    }

    /// Makes a house the router of another one, which was on the switch and is behind it from now on; or says
    /// why that cannot be.
    fn shut_in(&self, inmate: usize, router: usize) -> Result<(), String> {
        // Inside it would be missing without a word.
        run("nft", &["--version"])?;
        let (inner, outer) = (self.house(inmate), self.house(router));
        run("ip", &["-n", &inner, "link", "del", "eth0"])?;
        let wire = ["link", "add", "home", "type", "veth", "peer", "name", "eth0", "netns", &inner];
        run("ip", &[&["-n", &outer][..], &wire].concat())?;
        run("ip", &["-n", &outer, "address", "add", "192.168.77.1/24", "dev", "home"])?;
        run("ip", &["-n", &outer, "link", "set", "home", "up"])?;
        run("ip", &["-n", &inner, "address", "add", &format!("{BEHIND}/24"), "dev", "eth0"])?;
        run("ip", &["-n", &inner, "link", "set", "eth0", "up"])?;
        run("ip", &["-n", &inner, "route", "add", "default", "via", "192.168.77.1"])?;
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run("ip", &["netns", "exec", &outer, "sh", "-c", forward])?;
        run("ip", &["netns", "exec", &outer, "nft", HOME_ROUTER])
    }

    fn node(&self, number: usize, extra: &[&str]) -> Node {
        self.node_at(number, &Self::address(number), extra)
    }

    fn node_at(&self, number: usize, address: &str, extra: &[&str]) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let listen = format!("/ip4/{address}/tcp/4904");
        let plain = up(folder.path(), &[&["--listen", &listen], extra].concat());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.house(number)]).arg(plain.get_program()).args(plain.get_args());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap());
        }
        Node::start_by(folder, command)
    }
}

/// Says why a test is left out, in the list of skips too.
fn skip(name: &str, reason: &str) {
    super::skip::skip(name, reason).unwrap();
}

/// One bootstrap address: they find each other; one spawns, another sends, a third computes, any answers.
fn three_nodes_are_one_network(village: &Village) {
    let first = village.node(1, &[]);
    let known = first.ready["listen"][0].as_str().unwrap().to_owned();
    assert!(known.starts_with("/ip4/10.77.0.1/tcp/4904"), "{known}");
    let others = [2, 3].map(|number| village.node(number, &["--bootstrap", &known]));
    let [second, third] = &others;
    for node in [&first, second, third] {
        until_is("everybody knows everybody", &json!(2), || node.json(&["status"])["peers"].clone());
    }
    let process = first.counter();
    second.json(&["host", &process, "--compute"]);
    let mut last = Value::Null;
    for count in 1..=5 {
        last = third.json(&["send", &process, "--action", "Increment", "--wait"]);
        assert_eq!(last["result"]["result"]["Output"], count.to_string());
    }
    let item = last["id"].as_str().unwrap();
    for node in [&first, second, third] {
        let result = node.json(&["result", &process, item, "--wait"]);
        assert_eq!(result["result"]["Output"], "5");
    }
    let root = |node: &Node| {
        until("the state after the last slot", || {
            let detail = node.json(&["inspect", &process, "--state-root"]);
            let is_there = detail["computed"]["slot"] == detail["head"] && detail["state_root"].is_string();
            if is_there { Ok(detail["state_root"].clone()) } else { Err(detail.to_string()) }
        })
    };
    assert_eq!(root(&first), root(second));
    for node in others.into_iter().chain([first]) {
        node.stop();
    }
}

#[test]
fn three_nodes_with_addresses_of_their_own_are_one_network() {
    match Village::new(3) {
        Ok(village) => three_nodes_are_one_network(&village),
        Err(why) => skip("three_nodes_with_addresses_of_their_own_are_one_network", &why),
    }
}

#[test]
fn three_nodes_far_apart_are_one_network() {
    let village = Village::new(3).and_then(|village| village.disturb().map(|()| village));
    match village {
        Ok(village) => three_nodes_are_one_network(&village),
        Err(why) => skip("three_nodes_far_apart_are_one_network", &why),
    }
}

/// Nobody is told of anybody: they hear each other's multicast.
#[test]
fn neighbours_find_each_other_by_mdns() {
    let village = match Village::new(2) {
        Ok(village) => village,
        Err(why) => return skip("neighbours_find_each_other_by_mdns", &why),
    };
    let nodes = [1, 2].map(|number| village.node(number, &["--mdns", "true"]));
    for node in &nodes {
        until_is("the neighbour", &json!(1), || node.json(&["status"])["peers"].clone());
    }
    for node in nodes {
        node.stop();
    }
}

/// A node behind a router: it takes a place at a relay by itself, is found there, and talks directly soon after.
#[test]
fn a_node_behind_a_router_is_reached_by_a_relay_and_then_directly() {
    const NAME: &str = "a_node_behind_a_router_is_reached_by_a_relay_and_then_directly";
    let village = match Village::new(4).and_then(|village| village.shut_in(4, 3).map(|()| village)) {
        Ok(village) => village,
        Err(why) => return skip(NAME, &why),
    };
    let relay = village.node(1, &["--reachable", "yes"]);
    let known = relay.ready["listen"][0].as_str().unwrap().to_owned();
    let home = village.node_at(4, BEHIND, &["--bootstrap", &known]);
    let check = |node: &Node, name: &str| {
        let doctor = node.weft(&["net", "doctor", "--json"]).json();
        let checks = doctor["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["text"].as_str().unwrap().to_owned()
    };
    let relay_name = relay.ready["peer_id"].as_str().unwrap();
    until("a place at the relay", || match check(&home, "relays") {
        text if text.contains(relay_name) => Ok(()),
        text => Err(text),
    });
    let process = home.counter();
    // All that is known of it is its place.
    let home_name = home.ready["peer_id"].as_str().unwrap();
    let place = format!("{known}/p2p-circuit/p2p/{home_name}");
    let guest = village.node(2, &["--reachable", "yes", "--bootstrap", &place]);
    until("a direct connection", || {
        let peers = guest.json(&["peers"]);
        let found = peers.as_array().unwrap().iter().find(|info| info["peer_id"] == home_name);
        match found.map(|info| info["relayed"] == false) {
            Some(true) => Ok(()),
            _ => Err(peers.to_string()),
        }
    });
    let upgraded = [&guest, &home].map(|node| check(node, "direct"));
    assert!(upgraded.iter().any(|text| !text.starts_with('0')), "it was direct at once: {upgraded:?}");
    // Without the relay they have each other.
    relay.stop();
    let sent = guest.json(&["send", &process, "--action", "Increment", "--wait"]);
    assert_eq!((&sent["slot"], &sent["result"]["result"]["Output"]), (&json!(1), &json!("1")));
    guest.stop();
    home.stop();
}
