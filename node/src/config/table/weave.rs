//! The embedded weave, and those of others that are read.

use toml::Value;

use super::super::doors::{set_door, show_address};
use super::super::numbers::{set_ms, set_u64};
use super::super::reach::{set_bool, set_gateways};
use super::super::setting::{Setting, Takes, number, texts};

/// The deepest settlement: two weeks of blocks. More is a typing error.
const SETTLEMENT_DEPTH_MAX: u64 = 10_000;

/// `The weave`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "weave_block_ms",
        takes: Takes::One("MS"),
        help: "milliseconds between two blocks of the embedded weave",
        set: |config, given| set_ms(&mut config.weave_block_ms, given, 50),
        show: |config| number(config.weave_block_ms),
    },
    Setting {
        key: "weave_listen",
        takes: Takes::One("ADDRESS"),
        help: "where to serve the embedded weave over HTTP as an Arweave node does, for `weft recover` and others: a \
               port on 127.0.0.1 such as 1984, an address and a port, or off",
        set: |config, given| set_door(&mut config.weave_listen, given),
        show: |config| show_address(config.weave_listen),
    },
    Setting {
        key: "weave_accepts",
        takes: Takes::One("BOOL"),
        help: "whether others may post batches to the embedded weave, at `weave_listen`: so the nodes of a test \
               network can share one (they set `anchor = \"arweave\"`)",
        set: |config, given| set_bool(&mut config.weave_accepts, given),
        show: |config| Value::Boolean(config.weave_accepts),
    },
    Setting {
        key: "gateways",
        takes: Takes::Many("URL"),
        help: "gateways of the weave, such as https://arweave.net, from which to read what neither this node nor its \
               peers have; nothing is posted to them",
        set: set_gateways,
        show: |config| texts(&config.gateways),
    },
    Setting {
        key: "settlement_depth",
        takes: Takes::One("NUMBER"),
        help: "how many blocks must confirm a base-layer transaction before it is assigned, if the process does not \
               say (`Settlement-Depth`)",
        set: |config, given| set_u64(&mut config.settlement_depth, given, 1, SETTLEMENT_DEPTH_MAX),
        show: |config| number(config.settlement_depth),
    },
];
