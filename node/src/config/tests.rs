#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use weft_protocol::Address;

use super::*;

fn inputs(folder: &Path) -> Inputs {
    Inputs { data_dir: Some(folder.into()), ..Inputs::default() }
}

fn with_file(text: &str) -> (tempfile::TempDir, Inputs) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), text).unwrap();
    let inputs = inputs(folder.path());
    (folder, inputs)
}

fn error_of(text: &str) -> String {
    let (_folder, inputs) = with_file(text);
    Resolved::load(&inputs).unwrap_err().to_string()
}

fn source_of(resolved: &Resolved, key: &str) -> Source {
    resolved.shown().into_iter().find(|shown| shown.key == key).unwrap().source
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let (folder, mut inputs) = with_file("network = \"from-file\"\nweave_block_ms = 111\nlisten = []");
    inputs.env.insert("WEFT_NETWORK".into(), "from-env".into());
    inputs.env.insert("WEFT_ROLES".into(), "compute, anchor".into());
    inputs.flags.insert("network", "from-flag".into());
    let resolved = Resolved::load(&inputs).unwrap();
    assert_eq!(resolved.config.network, "from-flag");
    assert_eq!(resolved.config.roles, BTreeSet::from([Role::Compute, Role::Anchor]));
    assert_eq!(resolved.config.weave_block_ms, 111);
    assert_eq!(resolved.config.listen, Vec::<String>::new());
    assert_eq!(source_of(&resolved, "network"), Source::Flag("network".into()));
    assert_eq!(source_of(&resolved, "roles"), Source::Env("WEFT_ROLES".into()));
    assert_eq!(source_of(&resolved, "weave_block_ms"), Source::File(folder.path().join(FILE_NAME)));
    assert_eq!(source_of(&resolved, "rules"), Source::Default);
}

/// Whoever made the network says how to find it; whoever runs the node has the last word.
#[test]
fn the_file_of_a_network_is_below_the_nodes_own() {
    let peer = "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let id = weft_protocol::Network::of_name("team-abcd2345");
    let file = format!("network = \"team-abcd2345\"\nid = \"{id}\"\nbootstrap = [\"{peer}\"]");
    let (folder, mut inputs) = with_file("");
    let joined = folder.path().join(NETWORK_FILE_NAME);
    std::fs::write(&joined, file).unwrap();
    let resolved = Resolved::load(&inputs).unwrap();
    assert_eq!(resolved.config.network, "team-abcd2345");
    std::fs::write(folder.path().join(FILE_NAME), "network = \"mine-own\"").unwrap();
    let resolved = Resolved::load(&inputs).unwrap();
    assert_eq!((&*resolved.config.network, &resolved.config.bootstrap), ("mine-own", &vec![peer.to_owned()]));
    assert_eq!(source_of(&resolved, "network"), Source::File(folder.path().join(FILE_NAME)));
    assert_eq!(source_of(&resolved, "bootstrap"), Source::File(joined));
    inputs.env.insert("WEFT_BOOTSTRAP".into(), "".into());
    assert_eq!(Resolved::load(&inputs).unwrap().config.bootstrap, Vec::<String>::new());
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let error = error_of("messenger_windw_ms = 5");
    assert!(error.contains("weft.toml"), "{error}");
    assert!(
        error.contains("unknown key `messenger_windw_ms`; did you mean `messenger_window_ms`?"),
        "{error}"
    );
    assert!(error_of("zzz = 5").contains("`weft config show` lists the keys"));
    assert!(error_of("data_dir = \"/x\"").contains("cannot be set in this file"));
}

#[test]
fn a_mistyped_variable_is_refused_and_one_of_others_warns() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str| {
        let mut inputs = inputs(folder.path());
        inputs.env.insert(name.into(), "x".into());
        Resolved::load(&inputs)
    };
    for (slip, key) in [
        ("WEFT_NETWROK", "network"),
        ("WEFT_LOGG", "log"),
        ("WEFT_ROLE", "roles"),
        ("WEFT_DATADIR", "data_dir"),
        ("WEFT_REPLAY", "replays"),
    ] {
        let error = with(slip).unwrap_err().to_string();
        assert!(error.contains(slip) && error.contains(&format!("did you mean `{key}`?")), "{error}");
    }
    // A cluster sets the first of these for services by names of ours; tests set the last.
    for other in [
        "WEFT_SERVICE_HOST",
        "WEFT_PORT",
        "WEFT_PORT_4001_TCP",
        "WEFT_GATEWAY_PORT",
        "WEFT_COMPUTE_PORT",
        "WEFT_SCHEDULER_PORT",
        "WEFT_FULL",
        "WEFT_BIN",
        "WEFT_SEED",
    ] {
        let warnings = with(other).unwrap().warnings;
        let expected = format!("environment variable {other} sets no known key");
        assert!(warnings.len() == 1 && warnings[0].starts_with(&expected), "{warnings:?}");
    }
    let hint = "environment variable WEFT_NETWORK_MODE sets no known key; did you mean WEFT_NETWORK?";
    assert_eq!(with("WEFT_NETWORK_MODE").unwrap().warnings, [hint]);
}

#[test]
fn a_bad_value_names_source_key_value_and_expectation() {
    let error = error_of("network = \"Weft!\"");
    assert!(error.contains("weft.toml: `network` is \"Weft!\"; expected 4 to 16 characters"), "{error}");
    for (text, part) in [
        ("network = \"abc\"", "4 to 16"),
        ("rules = 0", "expected 1, the only version"),
        ("listen = [\"127.0.0.1:80\"]", "`127.0.0.1:80` is not"),
        ("listen = \"/ip4/127.0.0.1/tcp/0\"", "expected a list"),
        ("bootstrap = [\"/ip4/127.0.0.1/tcp/80\"]", "with a peer id"),
        ("gateways = [\"arweave.net\"]", "begins with https:// or http://, such as `https://arweave.net`"),
        ("gateways = \"https://arweave.net\"", "expected a list"),
        ("settlement_depth = 0", "a whole number from 1"),
        ("roles = [\"schedular\"]", "scheduler, compute, messenger and anchor"),
        ("schedule_for = \"everyone\"", "expected `own`, `anyone`"),
        ("schedule_for = []", "1 to 1024 addresses"),
        ("spawn_budget = -1", "a whole number from 0 to 1000000"),
        ("weave_block_ms = 1.5", "a whole number from 50"),
        ("price_per_push = -1", "a whole number from 0 to 100000000000000"),
        ("price_per_kib = \"cheap\"", "a whole number from 0"),
        ("compute_threads = 0", "a whole number from 1 to 256"),
        ("memory_budget = \"4 apples\"", "such as `4gb`"),
        ("disk_budget = \"1mb\"", "`none`, or bytes from 64mb"),
        ("bandwidth_out = \"1kb\"", "`none`, or bytes from 64kb"),
        ("profile = \"laptop\"", "`local`, `home` or `server`"),
        ("log = \"weft=shout\"", "log directives"),
        ("log_format = \"xml\"", "`text` or `json`"),
        ("network = ", "is not valid TOML"),
        ("[network]\nname = \"x\"", "`network` is"),
    ] {
        let error = error_of(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn where_batches_go_is_said_whole_or_not_at_all() {
    let whole = "anchor = \"arweave\"\nanchor_gateways = [\"https://a.example/\", \"http://127.0.0.1:1984\"]\n\
                 anchor_wallet = \"/keys/wallet.json\"\nanchor_day_limit = 5\n";
    let (_folder, inputs) = with_file(whole);
    let config = Resolved::load(&inputs).unwrap().config;
    assert_eq!(config.anchor.gateways, ["https://a.example", "http://127.0.0.1:1984"]);
    assert_eq!((config.anchor.quorum(), config.anchor.day_limit), (2, Some(5)));
    // Where each batch costs money, many slots wait for one.
    assert_eq!((config.anchor_batch_slots, config.anchor_batch_age_ms), (10_000, 3_600_000));
    let (_folder, inputs) = with_file(&format!("{whole}anchor_batch_slots = 7"));
    assert_eq!(Resolved::load(&inputs).unwrap().config.anchor_batch_slots, 7);
    for (text, part) in [
        (
            "anchor = \"arweave\"",
            "`anchor` is arweave, and it needs `anchor_wallet`, `anchor_day_limit`, `anchor_gateways`, which are not set",
        ),
        (&whole.replace("anchor_day_limit = 5", ""), "it needs `anchor_day_limit`"),
        (
            &whole.replace("arweave", "bundler"),
            "it needs `anchor_bundler`, which is not set, and it has no use for `anchor_wallet`, `anchor_day_limit`, which \
             are set",
        ),
        (
            "anchor_gateways = [\"https://a.example\"]",
            "`anchor` is local, and it has no use for `anchor_gateways`",
        ),
        (&format!("{whole}anchor_quorum = 3"), "`anchor_quorum` is 3, and `anchor_gateways` has 2"),
        ("weave_accepts = true", "set `weave_listen`"),
        ("anchor = \"chain\"", "expected `local`, `arweave` or `bundler`"),
        ("anchor_gateways = [\"a.example\"]", "a list of at most 8 addresses"),
        ("anchor_gateways = [\"http://a\", \"http://a/\"]", "named twice"),
        ("anchor_quorum = 0", "`majority`, or a whole number from 1 to 8"),
        ("anchor_weave = \"local:x\"", "such as arweave.N.1"),
        ("anchor_day_limit = -1", "`unset`, or a whole number"),
        ("anchor_wallet = \"\"", "`off`, or the path of a file"),
        ("anchor_bundler = \"ftp://x\"", "`off`, or an address that begins with"),
    ] {
        let error = error_of(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn an_oversized_file_is_refused_unread() {
    let (folder, inputs) = with_file("");
    let file = std::fs::File::create(folder.path().join(FILE_NAME)).unwrap();
    file.set_len(source::FILE_BYTES_MAX + 1).unwrap();
    assert!(matches!(Resolved::load(&inputs), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn the_written_form_reads_back_equal() {
    let (folder, inputs) = with_file("");
    let address = Address([7; 32]);
    let config = Config {
        network: "other-net".into(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        roles: BTreeSet::from([Role::Scheduler]),
        schedule_for: Whose::Listed(BTreeSet::from([address])),
        compute_for: Whose::Own,
        others_gas: None,
        others_dry_run_gas: Some(0),
        price_per_push: 3,
        price_per_kib: 100_000_000_000_000,
        clock_offset_ms: -250,
        others_memory_bytes: 1 << 20,
        others_logs_bytes: 3 << 20,
        others_messages_bytes: u64::MAX,
        memory_budget_bytes: (64 << 20) + 1,
        disk_budget_bytes: 3 << 30,
        log_format: LogFormat::Json,
        ..Config::new(folder.path())
    };
    std::fs::write(folder.path().join(FILE_NAME), config.to_toml()).unwrap();
    assert_eq!(Resolved::load(&inputs).unwrap().config, config);
}

#[test]
fn what_is_made_for_strangers_has_a_bound_on_the_disk() {
    let (_folder, mut inputs) = with_file("");
    let budget = |inputs: &Inputs| Resolved::load(inputs).unwrap().config.disk_budget_bytes;
    assert_eq!(budget(&inputs), u64::MAX);
    for (profile, bytes) in [("home", 20 << 30), ("server", 100 << 30)] {
        inputs.flags.insert("profile", profile.into());
        assert_eq!(budget(&inputs), bytes);
    }
}

#[test]
fn a_profile_sets_what_nobody_else_does() {
    for profile in Profile::ALL {
        let (_folder, mut inputs) = with_file("disk_budget = \"5gb\"");
        inputs.env.insert("WEFT_TOPICS".into(), "7".into());
        inputs.flags.insert("profile", profile.name().into());
        let resolved = Resolved::load(&inputs).unwrap();
        let config = &resolved.config;
        assert_eq!((config.profile, config.topics, config.disk_budget_bytes), (profile, 7, 5 << 30));
        let of_profile = |shown: &&Shown| shown.source == Source::Profile(profile.name());
        let shown = resolved.shown();
        let set: Vec<_> = shown.iter().filter(of_profile).map(|shown| shown.key).collect();
        assert_eq!(set.is_empty(), profile == Profile::Local);
        assert!(!set.contains(&"topics") && !set.contains(&"disk_budget"), "{set:?}");
        if profile == Profile::Home {
            assert_eq!(config.bandwidth_out_bytes, 1 << 20);
            assert!(config.upnp && config.mdns && !config.relay);
            assert!(config.memory_budget_bytes >= 16 << 20 && config.compute_threads >= 1);
        }
        // What it gives is what a file may give.
        let (folder, again) = with_file(&config.to_toml());
        let read = Resolved::load(&again).unwrap().config;
        assert_eq!(Config { data_dir: folder.path().into(), ..config.clone() }, read);
    }
}

#[test]
fn the_data_folder_is_found_in_order() {
    let env = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let all = [(DATA_DIR_ENV, "/weft"), ("XDG_DATA_HOME", "/xdg"), ("HOME", "/home/me")];
    let of = |env| Inputs { env, ..Inputs::default() }.data_dir().map(|(path, _)| path);
    assert_eq!(of(env(&all)).unwrap(), Path::new("/weft"));
    assert_eq!(of(env(&all[1..])).unwrap(), Path::new("/xdg/weft"));
    assert_eq!(of(env(&all[2..])).unwrap(), Path::new("/home/me/.local/share/weft"));
    assert!(matches!(of(BTreeMap::new()), Err(ConfigError::NoDataDir)));
}

#[test]
fn a_variable_that_is_no_text_is_refused_and_a_folder_need_not_be_text() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = OsString::from_vec(b"/data/\xff".to_vec());
    let mut inputs = Inputs { env: [(DATA_DIR_ENV.into(), odd.clone())].into(), ..Inputs::default() };
    assert_eq!(inputs.data_dir().unwrap().0, Path::new(&odd));
    inputs.env.insert("WEFT_LOG".into(), odd.clone());
    let error = Resolved::load(&inputs).unwrap_err().to_string();
    let expected = r#"environment variable WEFT_LOG: `log` is "/data/\xFF"; expected text in UTF-8"#;
    assert_eq!(error, expected);
    // One that nobody reads is none of our business.
    let inputs = Inputs { env: [("WEFT_X".into(), odd)].into(), data_dir: Some("/nowhere".into()), ..inputs };
    assert_eq!(Resolved::load(&inputs).unwrap().warnings.len(), 1);
}

#[test]
fn a_file_that_is_none_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    std::fs::create_dir(&path).unwrap();
    let error = Resolved::load(&inputs(folder.path())).unwrap_err().to_string();
    assert_eq!(error, format!("cannot read {}: it is not a file", path.display()));
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let error = Resolved::load(&inputs(folder.path())).unwrap_err().to_string();
    assert_eq!(error, format!("cannot read {}: it is not a file", path.display()));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"log = \"\xff\"").unwrap();
    let error = Resolved::load(&inputs(folder.path())).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read {}: ", path.display())), "{error}");
}

#[test]
fn an_error_repeats_only_the_beginning_of_what_is_long() {
    let long = "k".repeat(10_000);
    for text in [format!("{long} = 1"), format!("network = \"{long}\""), format!("{long} {long}")] {
        let error = error_of(&text);
        assert!(error.contains("weft.toml") && error.len() < 1_000, "{} characters: {error}", error.len());
    }
}

#[test]
fn a_flag_is_checked_without_a_node() {
    for (key, text) in [("compute_threads", "2"), ("log", "warn"), ("results_kept", "1000")] {
        Config::check_flag(key, text).unwrap();
    }
    let error = |key, text| Config::check_flag(key, text).unwrap_err().to_string();
    assert!(error("compute_treads", "2").contains("did you mean `compute_threads`?"));
    assert!(error("compute-threads", "2").contains("did you mean `compute_threads`?"));
    assert!(error("compute_threads", "many").contains("`compute_threads` is \"many\"; expected a whole"));
}
