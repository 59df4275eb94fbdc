#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_key_is_private_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("a/b");
    let made = load_or_create(&data_dir).unwrap();
    assert_eq!(mode(&key_path(&data_dir)), 0o600);
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(load(&data_dir).unwrap().signer.address(), made.signer.address());
    assert_eq!(load_or_create(&data_dir).unwrap().signer.address(), made.signer.address());
    assert_eq!(std::fs::read_dir(&data_dir).unwrap().count(), 1);
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let first = create(folder.path()).unwrap();
    assert!(matches!(create(folder.path()), Err(KeyError::Exists(_))));
    assert!(matches!(import_seed(folder.path(), &[1; 32]), Err(KeyError::Exists(_))));
    assert_eq!(load(folder.path()).unwrap().signer.address(), first.signer.address());
}

#[test]
fn a_key_that_others_can_open_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path()).unwrap();
    let path = key_path(folder.path());
    for bits in [0o644, 0o640, 0o602] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        assert!(error.contains(&format!("{bits:04o}")), "{error}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    load(folder.path()).unwrap();
}

#[test]
fn a_missing_or_broken_key_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains("weft key new"));
    for (text, part) in [
        ("", "expected a JSON Web Key"),
        ("[]", "expected a JSON Web Key"),
        ("{}", "no `kty`"),
        ("{\"kty\":\"EC\"}", "`EC`; expected `OKP`"),
        ("{\"kty\":\"OKP\"}", "`crv` is not"),
        ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}", "no `d`"),
        ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"AAAA\"}", "`d` is not 32 bytes"),
    ] {
        let error = import_jwk(folder.path(), Path::new("given.json"), text).unwrap_err().to_string();
        assert!(error.starts_with("given.json is not a usable key"), "{error}");
        assert!(error.contains(part), "{text}: {error}");
    }
    let zero = URL_SAFE_NO_PAD.encode([0; 32]);
    let twisted = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"{zero}\",\"x\":\"{zero}\"}}");
    assert!(import_jwk(folder.path(), Path::new("x"), &twisted).unwrap_err().to_string().contains("`x`"));
    assert!(!key_path(folder.path()).exists());
}

#[test]
fn an_ed25519_jwk_is_imported() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = create(one.path()).unwrap();
    let text = std::fs::read_to_string(key_path(one.path())).unwrap();
    let imported = import_jwk(two.path(), Path::new("x"), &text).unwrap();
    assert_eq!(imported.signer.address(), made.signer.address());
    assert_eq!(load(two.path()).unwrap().signer.address(), made.signer.address());
}

#[test]
fn seeds_are_read_in_three_forms() {
    let seed = [0xab; 32];
    assert_eq!(parse_seed(&seed).unwrap(), seed);
    assert_eq!(parse_seed(format!("{}\n", "ab".repeat(32)).as_bytes()).unwrap(), seed);
    assert_eq!(parse_seed(URL_SAFE_NO_PAD.encode(seed).as_bytes()).unwrap(), seed);
    let secret = "zz".repeat(32);
    let error = parse_seed(secret.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("64 characters") && !error.contains("zz"), "{error}");
    // Multi-byte text of the right length must not be cut inside a character.
    assert!(parse_seed("\u{e9}".repeat(32).as_bytes()).is_err());
}

#[test]
fn what_is_no_file_is_named_and_its_mode_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), Path::new("/dev/zero")] {
        let error = load_file(path).unwrap_err().to_string();
        let expected =
            format!("{} is not a usable key: expected a file of at most 65536 bytes", path.display());
        assert_eq!(error, expected);
    }
    let path = folder.path().join("binary");
    std::fs::write(&path, [0xff; 100]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = load_file(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{} is not a usable key: it is not text", path.display()));
    // A sign is no hex digit, though a number may have one.
    assert!(parse_seed("+f".repeat(32).as_bytes()).is_err());
}
