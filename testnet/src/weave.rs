//! One weave for a whole testnet: that of node 0, to which the others post as they would to Arweave.
//!
//! Node 0 writes its own batches there without asking anybody. The others sign transactions, pay for them with a wallet
//! that everybody has, and ask how deep they lie: what they do with a weave that costs money.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::TestnetError;
use crate::node::Node;

/// The node whose weave it is.
pub(crate) const KEEPER: usize = 0;
/// The wallet that pays: anybody has it, and the weave of a testnet asks no more of it than a signature.
const WALLET: &str = include_str!("../../tests/vectors/wallet.json");
/// Its file, in the folder of the testnet.
const WALLET_NAME: &str = "public-wallet.json";
/// What each node may spend in a day, in winston: more than it can.
const DAY_LIMIT: &str = "1000000000000";
/// Blocks after which what they hold is final: none of this weave is ever replaced.
const CONFIRMATIONS: &str = "3";
/// Between two questions after what was posted, in milliseconds: somebody is watching.
const CHECK_MS: &str = "500";

/// The flags of a node of such a testnet, while these are up.
///
/// # Errors
/// The wallet cannot be written.
pub(crate) fn flags(dir: &Path, node: usize, up: &[Node]) -> Result<Vec<OsString>, TestnetError> {
    if node == KEEPER {
        return Ok(["--weave-listen", "127.0.0.1:0", "--weave-accepts", "true"].map(OsString::from).into());
    }
    let keeper = up.get(KEEPER).map(Node::ready);
    let Some((keeper, address)) = keeper.and_then(|keeper| Some((keeper, keeper.weave_api.clone()?))) else {
        return Err(TestnetError::NoWeave);
    };
    let weave = format!("weft.{}", keeper.network);
    let mut flags: Vec<OsString> = [
        ("--anchor", "arweave"),
        ("--anchor-gateways", address.as_str()),
        ("--anchor-weave", weave.as_str()),
        ("--anchor-day-limit", DAY_LIMIT),
        ("--anchor-confirmations", CONFIRMATIONS),
        ("--anchor-check-ms", CHECK_MS),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.into(), value.into()])
    .collect();
    flags.extend(["--anchor-wallet".into(), wallet(dir)?.into()]);
    Ok(flags)
}

/// Writes the wallet where the nodes read it, for its user alone: they warn of any other.
fn wallet(dir: &Path) -> Result<PathBuf, TestnetError> {
    let (path, unfinished) = (dir.join(WALLET_NAME), dir.join(format!("{WALLET_NAME}.tmp")));
    // Never empty under its name: nodes that were started a moment ago read it.
    let opened =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let written = opened
        .and_then(|mut file| file.write_all(WALLET.as_bytes()))
        .and_then(|()| std::fs::rename(&unfinished, &path));
    written.map_err(|source| TestnetError::File { path: path.clone(), source })?;
    Ok(path)
}
