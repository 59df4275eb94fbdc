//! Network namespaces: each node with an address and a wire of its own, which can be slow, lose
//! packets, or be cut.
//!
//! A hub namespace holds a bridge; each node's namespace holds one end of a wire whose other end is a
//! port of that bridge. Nothing is connected with the machine's own network, so addresses may repeat
//! from testnet to testnet. All names begin with `weft-` and the launcher's process number, by which
//! a guard finds what a dead launcher left behind.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::TestnetError;

/// The program that makes namespaces and wires.
pub(crate) const IP: &str = "ip";
/// The program that makes wires slow.
const TC: &str = "tc";
/// What the names of all namespaces begin with.
const PREFIX: &str = "weft-";
/// The port of every node in its namespace.
const PORT: u16 = 4904;
/// What a wire with a rate lets through at once: below this a rate of many megabits is not reached.
const BURST: &str = "64kb";
/// How long a packet waits for its turn on such a wire before it is dropped.
const QUEUE: &str = "400ms";

/// How long one command may take: the longest makes sixty-four namespaces, in a second or two.
const COMMAND_WAIT: Duration = Duration::from_secs(60);

/// How good a wire is. Nothing set is as good as the machine's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// Milliseconds that a packet takes from a node to the hub.
    pub delay_ms: u32,
    /// How much longer or shorter that takes at random.
    pub jitter_ms: u32,
    /// How many of a hundred packets are lost.
    pub loss_percent: f64,
    /// Megabits a second; 0 for as many as there are.
    pub rate_mbit: u32,
}

impl Link {
    /// What `tc` is told, if anything. Delay and loss take `netem`, which not every kernel has; a
    /// rate alone takes `tbf`, which is everywhere.
    fn discipline(&self) -> Option<Vec<String>> {
        let Self { delay_ms, jitter_ms, loss_percent, rate_mbit } = *self;
        let words = |text: String| Some(text.split_whitespace().map(str::to_owned).collect());
        if delay_ms == 0 && jitter_ms == 0 && loss_percent <= 0.0 {
            let rate = format!("tbf rate {rate_mbit}mbit burst {BURST} latency {QUEUE}");
            return if rate_mbit == 0 { None } else { words(rate) };
        }
        let mut text = format!("netem delay {delay_ms}ms {jitter_ms}ms");
        if loss_percent > 0.0 {
            text.push_str(&format!(" loss {loss_percent}%"));
        }
        if rate_mbit > 0 {
            text.push_str(&format!(" rate {rate_mbit}mbit"));
        }
        words(text)
    }
}

/// The namespaces of a testnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lanes {
    prefix: String,
}

impl Lanes {
    /// Those of this launcher: none is made yet.
    pub fn of_this_launcher() -> Self {
        Self { prefix: format!("{PREFIX}{}", std::process::id()) }
    }

    /// The namespace of a node.
    pub fn name(&self, node: usize) -> String {
        format!("{}-{node}", self.prefix)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    /// The arguments of `ip` that run a program as a node.
    pub(crate) fn enter(&self, node: usize) -> [String; 3] {
        ["netns".into(), "exec".into(), self.name(node)]
    }

    /// The address of a node. There are at most 64.
    fn address(node: usize) -> String {
        format!("10.77.0.{}", node + 1)
    }

    /// Where a node listens.
    pub(crate) fn listen(&self, node: usize) -> String {
        format!("/ip4/{}/tcp/{PORT}", Self::address(node))
    }

    /// Makes namespaces and wires for so many nodes.
    ///
    /// # Errors
    /// That this user may not, or that the system cannot.
    pub(crate) async fn make(&self, nodes: usize, link: &Link) -> Result<(), TestnetError> {
        let hub = self.hub();
        let mut names = format!("netns add {hub}\n");
        for node in 0..nodes {
            let name = self.name(node);
            names.push_str(&format!("netns add {name}\n"));
            names.push_str(&format!("link add eth0 netns {name} type veth peer name v{node} netns {hub}\n"));
        }
        batch(&[], &names).await?;
        let mut ports = "link add br0 type bridge\nlink set br0 up\n".to_owned();
        for node in 0..nodes {
            ports.push_str(&format!("link set v{node} master br0\nlink set v{node} up\n"));
        }
        batch(&["-n", &hub], &ports).await?;
        for node in 0..nodes {
            let address = Self::address(node);
            let own = format!("addr add {address}/24 dev eth0\nlink set eth0 up\nlink set lo up\n");
            batch(&["-n", &self.name(node)], &own).await?;
            self.shape(node, link).await?;
        }
        Ok(())
    }

    /// Makes the wire of a node so good and no better.
    ///
    /// # Errors
    /// That the system has no such wires.
    pub(crate) async fn shape(&self, node: usize, link: &Link) -> Result<(), TestnetError> {
        let name = self.name(node);
        let base = ["-n", &name, "qdisc"];
        let Some(discipline) = link.discipline() else {
            // One that has no discipline cannot lose it.
            let _ = run(TC, &[&base[..], &["del", "dev", "eth0", "root"]].concat(), "").await;
            return Ok(());
        };
        let discipline: Vec<&str> = discipline.iter().map(String::as_str).collect();
        run(TC, &[&base[..], &["replace", "dev", "eth0", "root"], &discipline].concat(), "").await
    }

    /// Cuts the network into groups that do not reach each other. Whoever is in none stays with the
    /// first.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn cut(&self, groups: &[Vec<usize>]) -> Result<(), TestnetError> {
        let mut lines = String::new();
        for (group, nodes) in groups.iter().enumerate() {
            if group > 0 {
                lines.push_str(&format!("link add br{group} type bridge\nlink set br{group} up\n"));
            }
            lines.extend(nodes.iter().map(|node| format!("link set v{node} master br{group}\n")));
        }
        batch(&["-n", &self.hub()], &lines).await
    }

    /// Makes one network of the groups again.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn join(&self, groups: &[Vec<usize>]) -> Result<(), TestnetError> {
        let mut lines = String::new();
        for (group, nodes) in groups.iter().enumerate().skip(1) {
            lines.extend(nodes.iter().map(|node| format!("link set v{node} master br0\n")));
            lines.push_str(&format!("link del br{group}\n"));
        }
        batch(&["-n", &self.hub()], &lines).await
    }
}

/// Why there are no namespaces here, if that is so.
pub(crate) async fn missing() -> Option<String> {
    let name = format!("{PREFIX}{}-try", std::process::id());
    let made = run(IP, &["netns", "add", &name], "").await;
    match made {
        Ok(()) => run(IP, &["netns", "del", &name], "").await.err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// Why wires cannot be made this good, if that is so: delay and loss take a part of the kernel.
pub(crate) async fn missing_for(link: &Link) -> Option<String> {
    let lanes = Lanes { prefix: format!("{PREFIX}{}-try", std::process::id()) };
    let made = lanes.make(1, link).await;
    remove(&lanes.prefix).await;
    made.err().map(|error| error.to_string())
}

/// Removes all namespaces whose name begins with this and a dash, and what is in them.
pub(crate) async fn remove(prefix: &str) {
    for name in list().await {
        if name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('-')) {
            // It may be gone already: that is what is wanted.
            let _ = run(IP, &["netns", "del", &name], "").await;
        }
    }
}

/// What the names of the namespaces of a launcher begin with.
pub(crate) fn prefix_of(launcher: u32) -> String {
    format!("{PREFIX}{launcher}")
}

/// The process numbers of launchers that have namespaces.
pub(crate) async fn launchers() -> Vec<u32> {
    let mut found: Vec<u32> = list().await.iter().filter_map(|name| launcher_of(name)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whose namespace this is, if it is one of a testnet.
fn launcher_of(name: &str) -> Option<u32> {
    let (launcher, node) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let is_ours = matches!(node, "hub" | "try" | "try-hub" | "try-0") || node.parse::<usize>().is_ok();
    launcher.parse().ok().filter(|_| is_ours)
}

async fn list() -> Vec<String> {
    let mut command = Command::new(IP);
    command.args(["netns", "list"]).stdin(Stdio::null()).kill_on_drop(true);
    let listed = timeout(COMMAND_WAIT, command.output()).await.ok().and_then(Result::ok);
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

async fn batch(first: &[&str], lines: &str) -> Result<(), TestnetError> {
    run(IP, &[first, &["-batch", "-"]].concat(), lines).await
}

/// Runs a program to its end.
async fn run(program: &'static str, args: &[&str], input: &str) -> Result<(), TestnetError> {
    let failed =
        |why: String| TestnetError::Namespaces { what: format!("{program} {}: {why}", args.join(" ")) };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let ended = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends before it has read everything says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = timeout(COMMAND_WAIT, ended).await;
    let output = output.map_err(|_| failed(format!("it does not end within {COMMAND_WAIT:?}")))?;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().next().unwrap_or("it failed without a word").trim().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_link_is_as_bad_as_it_is_told() {
        let said = |link: Link| link.discipline().map(|words| words.join(" "));
        assert_eq!(said(Link::default()), None);
        let rate = said(Link { rate_mbit: 10, ..Link::default() }).unwrap();
        assert_eq!(rate, "tbf rate 10mbit burst 64kb latency 400ms");
        let slow = Link { delay_ms: 20, jitter_ms: 2, loss_percent: 1.5, rate_mbit: 10 };
        assert_eq!(said(slow).unwrap(), "netem delay 20ms 2ms loss 1.5% rate 10mbit");
    }

    #[test]
    fn namespaces_are_known_by_their_launcher() {
        assert_eq!(launcher_of("weft-812-hub"), Some(812));
        assert_eq!(launcher_of("weft-812-13"), Some(812));
        for other in ["weft-hub", "weft-812", "weft-812-x", "left-812-1", "weft--1"] {
            assert_eq!(launcher_of(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn what_the_system_says_is_one_line() {
        let error = run("ip", &["netns", "exec", "weft-0-none", "true"], "").await.unwrap_err().to_string();
        assert!(error.starts_with("no network namespaces: ip netns exec weft-0-none true: "), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}
