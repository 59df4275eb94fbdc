//! The law of dependencies: protocol <- { net, vm, storage } <- node <- { testnet, tests }.

use super::{Breach, hold, root};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Every crate of the workspace, and which of its siblings it may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("weft-protocol", &[]),
    ("weft-net", &["weft-protocol"]),
    ("weft-vm", &["weft-protocol"]),
    ("weft-storage", &["weft-protocol"]),
    ("weft-node", &["weft-protocol", "weft-net", "weft-vm", "weft-storage"]),
    ("weft-testnet", &["weft-protocol", "weft-net", "weft-node"]),
    ("weft-tests", &["weft-protocol", "weft-net", "weft-vm", "weft-storage", "weft-node", "weft-testnet"]),
];

/// Foreign packages that one crate wraps and no other may depend on.
const WRAPPED: &[(&str, &str)] = &[
    ("libp2p", "weft-net"),
    ("redb", "weft-storage"),
    ("arweave-rs", "weft-storage"),
    ("wasmtime", "weft-vm"),
    ("wasmparser", "weft-vm"),
    ("wasm-encoder", "weft-vm"),
];

/// What the law says of one edge of the graph.
fn judge(package: &str, dependency: &str) -> Option<String> {
    let Some((_, siblings)) = MAY_NAME.iter().find(|(name, _)| *name == package) else {
        return Some(format!("{package} is not in the law's table: add it, with what it may name"));
    };
    if MAY_NAME.iter().any(|(name, _)| *name == dependency) && !siblings.contains(&dependency) {
        return Some(format!("{package} may not depend on {dependency}"));
    }
    let wrapped = WRAPPED.iter().find(|(name, home)| {
        let is_of_family =
            dependency == *name || dependency.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        is_of_family && package != *home
    });
    wrapped.map(|(_, home)| format!("{package} may not depend on {dependency}: {home} wraps it"))
}

fn metadata() -> Metadata {
    MetadataCommand::new().current_dir(root()).no_deps().exec().expect("cargo metadata")
}

fn breach(package: &str, what: String) -> Breach {
    Breach { law: "dependencies", path: format!("{package}/Cargo.toml"), line: 1, what }
}

#[test]
fn crates_depend_downwards_only() {
    let metadata = metadata();
    let mut breaches = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            // A bench may measure what a crate is built on beside the crate.
            if dependency.kind == DependencyKind::Development && !dependency.name.starts_with("weft-") {
                continue;
            }
            breaches.extend(judge(&package.name, &dependency.name).map(|what| breach(&package.name, what)));
        }
    }
    assert_eq!(metadata.packages.len(), MAY_NAME.len(), "the law's table and the workspace differ");
    hold(&breaches);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for package in &metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} sets its own lints", package.name);
    }
}

#[test]
fn no_version_is_written_outside_the_workspace_table() {
    for package in &metadata().packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') {
                assert!(line.contains("workspace = true"), "{}: `{line}`", package.name);
            }
        }
    }
}

#[test]
fn an_edge_against_the_law_is_found() {
    assert!(judge("weft-net", "weft-storage").is_some());
    assert!(judge("weft-protocol", "weft-vm").is_some());
    assert!(judge("weft-vm", "weft-node").is_some());
    assert!(judge("weft-testnet", "weft-storage").is_some());
    assert!(judge("weft-new", "serde").is_some());
    assert!(judge("weft-node", "libp2p").is_some());
    assert!(judge("weft-node", "libp2p-gossipsub").is_some());
    assert!(judge("weft-tests", "wasmtime").is_some());
    assert!(judge("weft-node", "redb").is_some());
}

#[test]
fn an_edge_within_the_law_passes() {
    assert_eq!(judge("weft-node", "weft-storage"), None);
    assert_eq!(judge("weft-net", "libp2p-swarm-test"), None);
    assert_eq!(judge("weft-vm", "wasmtime"), None);
    assert_eq!(judge("weft-tests", "weft-testnet"), None);
    assert_eq!(judge("weft-protocol", "serde"), None);
}
