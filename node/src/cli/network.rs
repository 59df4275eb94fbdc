//! `weft network`: a network of one's own, and the file by which others join it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use rand::RngExt as _;
use serde_json::json;
use weft_protocol::Network;

use super::Context;
use super::configure;
use super::exit::{CliError, Exit};
use super::screen::pairs;
use crate::backup::STORE_NAME;
use crate::config::{Config, NETWORK_FILE_NAME, RULES, network_file};
use crate::keyring;

/// What is put behind a chosen name, so that two networks that were named alike never meet: characters of
/// which none looks like another.
const SUFFIX_CHARS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// How many: a million networks of one name share a suffix with a chance of one in a million.
const SUFFIX_LEN: usize = 8;
/// Characters that a person may choose; with the suffix and its dash they are a network's name.
const CHOSEN_MAX: usize = 16 - 1 - SUFFIX_LEN;

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Create a network: writes the file with which others join
    Init {
        /// What to call it: 1 to 7 characters of a-z and 0-9; a random part is added
        name: String,
        /// A peer through whom to find the network, ending in /p2p/PEER-ID; may repeat
        #[arg(long, alias = "peer", value_name = "MULTIADDR")]
        bootstrap: Vec<String>,
        /// Where to write the file [default: NAME.network.toml]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Join a network: its file applies to this data folder from the next start on. A folder with a store
    /// stays in its network
    Join {
        /// The file that `weft network init` wrote
        file: PathBuf,
    },
    /// Show the network of this data folder and its names on the wire
    Show,
}

pub(super) fn run(command: NetworkCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        NetworkCommand::Init { name, bootstrap, output } => init(&name, &bootstrap, output, context),
        NetworkCommand::Join { file } => join(&file, context),
        NetworkCommand::Show => show(context),
    }
}

fn init(
    chosen: &str,
    bootstrap: &[String],
    output: Option<PathBuf>,
    context: &Context,
) -> Result<Exit, CliError> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !(1..=CHOSEN_MAX).contains(&chosen.len()) || !chosen.bytes().all(is_good) {
        return Err(CliError::input(format!(
            "`{chosen}` cannot name a network: expected 1 to {CHOSEN_MAX} characters of a-z and 0-9"
        )));
    }
    let mut random = rand::rng();
    let mut name = format!("{chosen}-");
    for _ in 0..SUFFIX_LEN {
        name.push(char::from(SUFFIX_CHARS[random.random_range(0..SUFFIX_CHARS.len())]));
    }
    let file = output.unwrap_or_else(|| PathBuf::from(format!("{name}.network.toml")));
    let text = file_text(&name, bootstrap);
    // What others will refuse is not written.
    network_file::check(&file, &text)?;
    write_new(&file, &text)?;
    let answer = json!({ "network": name, "id": Network::of_name(&name).to_string(), "file": file });
    context.screen.answer(&answer, || {
        format!("network {name}: {}\nothers join it with `weft network join FILE`", file.display())
    })?;
    Ok(Exit::Ok)
}

fn file_text(name: &str, bootstrap: &[String]) -> String {
    let list: Vec<toml::Value> = bootstrap.iter().cloned().map(toml::Value::String).collect();
    let mut table = toml::Table::new();
    table.insert("network".into(), toml::Value::String(name.into()));
    table.insert("id".into(), toml::Value::String(Network::of_name(name).to_string()));
    table.insert("rules".into(), toml::Value::Integer(RULES.into()));
    table.insert("bootstrap".into(), toml::Value::Array(list));
    let mut text = String::from("# A network of Weft; `weft network join FILE` joins it.\n");
    // Writing to a string cannot fail.
    let _ = write!(text, "{table}");
    text
}

fn write_new(file: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::input(format!("cannot write {}: {error}", file.display()));
    let mut file = std::fs::File::create_new(file).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn join(file: &Path, context: &Context) -> Result<Exit, CliError> {
    let text = network_file::read(file)?
        .ok_or_else(|| CliError::input(format!("there is no file {}", file.display())))?;
    let network = network_file::check(file, &text)?;
    let folder = context.data_dir()?;
    // A store never changes its network, and the file that goes may be the only place that says how to
    // find the old one.
    if let Some(old) = other_network(&folder, &network)? {
        let folder = folder.display();
        return Err(CliError::no(format!(
            "the store in {folder} belongs to network {old} for good; join {network} with another data folder"
        )));
    }
    keyring::make_data_dir(&folder)?;
    replace(&folder, &text)
        .map_err(|error| CliError::fault(format!("cannot write into {}: {error}", folder.display())))?;
    let resolved = configure::resolve(&Default::default(), context)?;
    if resolved.config.network != network {
        let other = &resolved.config.network;
        context
            .screen
            .remark(&format!("warning: weft.toml or the environment says network {other}, which wins"));
    }
    let answer = json!({ "network": network, "id": Network::of_name(&network).to_string() });
    context.screen.answer(&answer, || {
        format!("{} belongs to network {network} from the next start on", folder.display())
    })?;
    Ok(Exit::Ok)
}

/// The network of the folder's store, if it is another than this one: its name where that is known, else its
/// id. What the environment or `weft.toml` says is asked neither: it may be as wrong as the file. An error
/// where neither the store nor the file says it, as a node has the store open or it is damaged.
fn other_network(folder: &Path, joined: &str) -> Result<Option<String>, CliError> {
    let store = folder.join(STORE_NAME);
    if !store.exists() {
        return Ok(None);
    }
    let file = folder.join(NETWORK_FILE_NAME);
    let text = network_file::read(&file).ok().flatten();
    let named = text.and_then(|text| network_file::check(&file, &text).ok());
    match (weft_storage::network_of(&store), named) {
        (Ok(network), _) if network == Network::of_name(joined) => Ok(None),
        (Ok(network), named) => {
            let named = named.filter(|name| Network::of_name(name) == network);
            Ok(Some(named.unwrap_or_else(|| called(network))))
        }
        // The node that has it open, or the one that wrote it, took its network from there.
        (Err(_), Some(named)) => Ok(Some(named).filter(|name| name != joined)),
        (Err(error), None) => Err((&error).into()),
    }
}

/// What a network is called: by its name where that is one that nobody had to choose, else by its id.
pub(super) fn called(network: Network) -> String {
    let local = Config::new("").network;
    if Network::of_name(&local) == network { local } else { network.to_string() }
}

/// Puts the file in its place whole: whoever is killed meanwhile has the old one.
fn replace(folder: &Path, text: &str) -> std::io::Result<()> {
    let path = folder.join(NETWORK_FILE_NAME);
    let unfinished = path.with_extension("toml.part");
    let mut file = std::fs::File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    std::fs::File::open(folder)?.sync_all()
}

fn show(context: &Context) -> Result<Exit, CliError> {
    let config = configure::resolve(&Default::default(), context)?.config;
    let network = config.network();
    let answer = json!({
        "network": config.network, "id": network.to_string(), "short": network.short(),
        "rules": config.rules, "bootstrap": config.bootstrap,
    });
    context.screen.answer(&answer, || {
        pairs(&[
            ("network", config.network.clone()),
            ("id", network.to_string()),
            ("topics", format!("ao1/{}/...", network.short())),
            ("protocols", format!("/ao/{}/...", network.short())),
            ("rules", config.rules.to_string()),
            ("bootstrap", config.bootstrap.join("\n")),
        ])
    })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_written_file_is_one_that_can_be_joined() {
        let peer = "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".to_owned();
        let text = file_text("team-abcd2345", &[peer]);
        assert_eq!(network_file::check(Path::new("x"), &text).unwrap(), "team-abcd2345");
    }
}
