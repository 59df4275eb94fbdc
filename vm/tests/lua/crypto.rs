//! Hashes, codings and signatures, beside the crates that the node itself uses.

use std::fmt::Write as _;

use weft_protocol::crypto::{Signer, guest as offered};

use crate::process::Process;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Bytes of every length around a block's edge, and what they are.
fn inputs() -> impl Iterator<Item = Vec<u8>> {
    [0, 1, 3, 55, 56, 63, 64, 65, 110, 111, 112, 119, 120, 127, 128, 129, 135, 136, 137, 1000]
        .into_iter()
        .map(|length: usize| (0..length).map(|index| (index * 7 + length) as u8).collect())
}

fn hashed(process: &mut Process, name: &str, input: &[u8]) -> String {
    let program = format!(
        "local h, c = require('.hash'), require('.codec') return c.to_hex(h.{name}(c.from_hex('{}')))",
        hex(input)
    );
    process.eval(&program)
}

#[test]
fn hashes_are_the_standards() {
    let mut process = Process::spawn();
    for input in inputs() {
        assert_eq!(hashed(&mut process, "sha256", &input), hex(&offered::sha256(&input)), "{}", input.len());
        assert_eq!(
            hashed(&mut process, "keccak256", &input),
            hex(&offered::keccak256(&input)),
            "{}",
            input.len()
        );
    }
    // FIPS 180-4 and 202, and lengths at which the padding takes another block.
    for (name, input, expected) in [
        (
            "sha512",
            &b"abc"[..],
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (
            "sha512",
            &[b'a'; 111],
            "fa9121c7b32b9e01733d034cfc78cbf67f926c7ed83e82200ef86818196921760b4beff48404df811b953828274461673c68d04e297b0eb7b2b4d60fc6b566a2",
        ),
        (
            "sha512",
            &[b'a'; 112],
            "c01d080efd492776a1c43bd23dd99d0a2e626d481e16782e75d54c2503b5dc32bd05f0f1ba33e568b88fd2d970929b719ecbb152f58f130a407c8830604b70ca",
        ),
        ("sha3_256", b"abc", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
        (
            "sha3_512",
            b"abc",
            "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
        ),
    ] {
        assert_eq!(hashed(&mut process, name, input), expected, "{name}");
    }
}

#[test]
fn crypto_speaks_as_programs_of_aos_expect() {
    let mut process = Process::spawn();
    for (program, expected) in [
        (
            "crypto.digest.sha2_256('abc').asHex()",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("#crypto.digest.sha2_512('abc').asString()", "64"),
        ("crypto.digest.keccak256('abc').asBytes()[1]", "78"),
        // RFC 4231, cases 2 and 6.
        (
            "crypto.mac.hmac_sha256('what do ya want for nothing?', 'Jefe').asHex()",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            "crypto.mac.hmac_sha512('Test Using Larger Than Block-Size Key - Hash Key First', ('\\xaa'):rep(131)).asHex()",
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ),
        ("crypto.utils.hex.stringToHex('hi\\0')", "686900"),
        ("crypto.utils.hex.hexToString('6869')", "hi"),
        ("crypto.base64url.encode('\\xfb\\xff\\xfe?')", "-__-Pw"),
        ("crypto.base64.encode('\\xfb\\xff\\xfe?')", "+//+Pw=="),
        ("crypto.base64.decode('+//+Pw==') == crypto.base64url.decode('-__-Pw')", "true"),
        ("require('.base64').decode('aGVsbG8')", "hello"),
    ] {
        assert_eq!(
            process.eval(&format!("local crypto = require('.crypto') return {program}")),
            expected,
            "{program}"
        );
    }
    for text in ["a", "a===", "ab=c", "aGVsbG9=", "a b=", "aGVsbG8==="] {
        let said = process.eval(&format!("require('.crypto').base64.decode('{text}')"));
        assert!(said.contains("no base64"), "{text}: {said}");
    }
    assert!(process.eval("require('.crypto').hex.decode('0g')").contains("no hex"));
    assert!(process.eval("require('.crypto').hex.decode('abc')").contains("two digits"));
}

/// More bytes than Lua's stack has room for; each message may use little gas.
#[test]
fn large_data_has_its_bytes_in_an_array() {
    let mut process = Process::spawn();
    process.eval("C, L = require('.crypto'), ('x'):rep(210000) U = C.utils");
    process.eval("A = C.cipher.aes.encrypt(L, ('k'):rep(16))");
    for (program, expected) in [
        ("B = A.asBytes()", ""),
        ("#B .. ' ' .. tostring(B[210000] == A.asString():byte(-1))", "210000 true"),
        (
            "local all = U.array.concat(B, { 7 }) return #B .. ' ' .. #all .. ' ' .. all[210001]",
            "210000 210001 7",
        ),
        ("local all = Utils.concat(B, { 7 }) return #all .. ' ' .. all[210001]", "210001 7"),
        ("H = U.array.toHex(B)", ""),
        ("H == A.asHex()", "true"),
    ] {
        assert_eq!(process.eval(program), expected, "{program}");
    }
}

/// SP 800-38A: two blocks in every mode, there and back.
#[test]
fn aes_is_the_standards() {
    const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
    const KEYS: [&str; 3] = [
        "2b7e151628aed2a6abf7158809cf4f3c",
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    ];
    let mut process = Process::spawn();
    process.eval("A, D = require('.crypto').cipher.aes, require('.crypto').hex.decode");
    for (mode, bits, sealed) in [
        ("ECB", 128, "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"),
        ("ECB", 192, "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef"),
        ("ECB", 256, "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"),
        ("CBC", 128, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"),
        ("CBC", 192, "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a"),
        ("CBC", 256, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"),
        ("CFB", 128, "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b"),
        ("CFB", 192, "cdc80d6fddf18cab34c25909c99a417467ce7f7f81173621961a2b70171d3d7a"),
        ("CFB", 256, "dc7e84bfda79164b7ecd8486985d386039ffed143b28b1c832113c6331e5407b"),
        ("OFB", 128, "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed825"),
        ("OFB", 192, "cdc80d6fddf18cab34c25909c99a4174fcc28b8d4c63837c09e81700c1100401"),
        ("OFB", 256, "dc7e84bfda79164b7ecd8486985d38604febdc6740d20b3ac88f6ad82a4fb08d"),
        ("CTR", 128, "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"),
        ("CTR", 192, "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94"),
        ("CTR", 256, "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"),
    ] {
        let (key, iv) = (
            KEYS[(bits - 128) / 64],
            if mode == "CTR" {
                "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
            } else {
                "000102030405060708090a0b0c0d0e0f"
            },
        );
        let how = format!("D'{key}', D'{iv}', '{mode}', {bits}");
        assert_eq!(
            process.eval(&format!("A.encrypt(D'{PLAIN}', {how}).asHex()")),
            sealed.to_uppercase(),
            "{mode} {bits}"
        );
        assert_eq!(
            process.eval(&format!("A.decrypt('{sealed}', {how}).asHex()")),
            PLAIN.to_uppercase(),
            "{mode} {bits}"
        );
    }
    // All of a counter counts, and what is no whole block is filled up.
    let how = "('k'):rep(16), ('\\xff'):rep(16), 'CTR'";
    process.eval(&format!("C = A.encrypt(('\\0'):rep(20), {how}).asString()"));
    assert_eq!(process.eval("#C"), "32");
    assert_eq!(
        process.eval("C:sub(17) == A.encrypt(('\\0'):rep(16), ('k'):rep(16), nil, 'CTR').asString()"),
        "true"
    );
    assert_eq!(
        process.eval("A.decrypt(A.encrypt('text', ('k'):rep(16)).asHex(), ('k'):rep(16)).asString()"),
        "text\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    for (call, error) in [
        ("A.encrypt('x', 'short')", "128 bits"),
        ("A.encrypt('x', ('k'):rep(16), nil, nil, 256)", "256 bits"),
        ("A.encrypt('x', ('k'):rep(20), nil, nil, 160)", "16, 24 or 32 bytes"),
        ("A.encrypt('x', ('k'):rep(16), 'iv')", "has 16 bytes"),
        ("A.encrypt('x', ('k'):rep(16), nil, 'XTS')", "invalid option 'XTS'"),
        ("A.decrypt('x', ('k'):rep(16))", "two digits"),
    ] {
        let said = process.eval(call);
        assert!(said.contains(error), "{call}: {said}");
    }
}

/// RFC 2202, 4231, 6070 and 7914, and one whose key is longer than a block.
#[test]
fn keys_are_derived_and_messages_authenticated_as_the_standards_say() {
    let mut process = Process::spawn();
    process.eval("C = require('.crypto') K, M, B = C.kdf.pbkdf2, C.mac.createHmac, C.utils.array.fromString");
    for (program, expected) in [
        ("C.digest.sha1('abc').asHex()", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("C.digest.sha1(('a'):rep(119)).asHex()", "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56"),
        ("M('what do ya want for nothing?', 'Jefe').asHex()", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (
            "M('Test Using Larger Than Block-Size Key - Hash Key First', ('\\xaa'):rep(80), 'sha1').asHex()",
            "aa4ae5e15272d00e95705637ce8a3b55ed402112",
        ),
        (
            "M(C.utils.stream.fromString('what do ya want for nothing?'), B'Jefe', 'sha256').asHex()",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        ("K('password', 'salt', 2, 20).asHex()", "EA6C014DC72D6F8CCD1ED92ACE1D41F0D8DE8957"),
        (
            "K(B'passwordPASSWORDpassword', B'saltSALTsaltSALTsaltSALTsaltSALTsalt', 4096, 25, 'sha1').asHex()",
            "3D2EEC4FE41C849B80C8D83662C0E44A8B291A964CF2F07038",
        ),
        (
            "K('passwd', 'salt', 1, 64, 'sha256').asHex()",
            "55AC046E56E3089FEC1691C22544B605F94185216DDE0465E68B9D57C20DACBC49CA9CCCF179B645991664B39D77EF317C71B845B1E30BD509112041D3A19783",
        ),
        ("#K('p', 's', 1, 65536).asString()", "65536"),
    ] {
        assert_eq!(process.eval(program), expected, "{program}");
    }
    for (call, error) in [
        ("K('p', 's', 0, 20)", "at least one"),
        ("K('p', 's', 1, 65537)", "1 to 65536"),
        ("K('p', 's', 1, 20, 'md5')", "invalid option 'md5'"),
        ("M('d', 'k', 'sha512')", "invalid option 'sha512'"),
    ] {
        let said = process.eval(call);
        assert!(said.contains(error), "{call}: {said}");
    }
}

/// RFC 1319, 1320, 1321 and 7693; of BLAKE2b also edges of its blocks, as another implementation has them.
#[test]
fn old_digests_and_blake2b_are_the_standards() {
    let mut process = Process::spawn();
    process.eval("D = require('.crypto').digest");
    for (program, expected) in [
        ("D.md2('').asHex()", "8350e5a3e24c153df2275c9f80692773"),
        ("D.md2('abcdefghijklmnopqrstuvwxyz').asHex()", "4e8ddff3650292ab5a4108c3aa47940b"),
        ("D.md4('').asHex()", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        ("D.md4('message digest').asHex()", "d9130a8164549fe818874806e1c7014b"),
        ("D.md5('').asHex()", "d41d8cd98f00b204e9800998ecf8427e"),
        ("D.md5(('1234567890'):rep(8)).asHex()", "57edf4a22be3c955ac49da2e2107b67a"),
        (
            "D.blake2b('abc').asHex()",
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
        ),
        (
            "D.blake2b('', 32, 'key').asHex()",
            "e65edfce5a36261cd824cb0f0da736b1109dcf20d2b831d598f337bb3552a3e4",
        ),
        ("D.blake2b(('ab'):rep(64), 20).asHex()", "761e2ca61023a4968b6a1453d1d93bb2326e564e"),
        (
            "D.blake2b(('ab'):rep(128), 32, ('k'):rep(64)).asHex()",
            "ad5cc3240304df99f8be96be23b68e29999988662ca13533441782c4e0799c13",
        ),
        ("#D.blake2b('abc', 1).asBytes()", "1"),
    ] {
        assert_eq!(process.eval(program), expected, "{program}");
    }
    for (call, error) in [
        ("D.blake2b('', 65)", "1 to 64 bytes"),
        ("D.blake2b('', 0)", "1 to 64 bytes"),
        ("D.blake2b('', 64, ('k'):rep(65))", "up to 64 bytes"),
        ("require('.crypto').random(1, 2, 'seed')", "cannot be sown"),
    ] {
        let said = process.eval(call);
        assert!(said.contains(error), "{call}: {said}");
    }
    assert_eq!(process.eval("local n = require('.crypto').random(3, 4) return n == 3 or n == 4"), "true");
}

fn verifies(process: &mut Process, key: &[u8], signature: &[u8], message: &[u8]) -> bool {
    let program = format!(
        "local c = require('.crypto') local d = c.hex.decode
         return c.ed25519.verify(d('{}'), d('{}'), d('{}'))",
        hex(key),
        hex(signature),
        hex(message)
    );
    match process.eval(&program).as_str() {
        "true" => true,
        "false" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn ed25519_agrees_with_the_nodes_own() {
    let mut process = Process::spawn();
    let mut judge = |key: &[u8], signature: &[u8], message: &[u8], expected: bool, what: &str| {
        assert_eq!(offered::ed25519_verify(key, message, signature), expected, "{what}: the node's own");
        assert_eq!(verifies(&mut process, key, signature, message), expected, "{what}");
    };
    for number in 0..6u8 {
        let signer = Signer::from_seed(&[number; 32]);
        let key = signer.owner_key();
        let message = vec![number; usize::from(number) * 50];
        let signature = signer.sign(&message).unwrap();
        judge(&key, &signature, &message, true, "a signature");
        judge(&key, &signature, b"another", false, "another message");
        let mut flipped = signature.clone();
        flipped[usize::from(number) * 10] ^= 1 << number;
        judge(&key, &flipped, &message, false, "a bit of the signature");
        let mut other = key.clone();
        other[3] ^= 1;
        judge(&other, &signature, &message, false, "a bit of the key");
        // The same s with the order added, which some verifiers take for another signature.
        let order = [
            0xedu8, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut more = signature.clone();
        let mut carry = 0u16;
        for (byte, add) in more[32..].iter_mut().zip(order) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry as u8;
            carry >>= 8;
        }
        judge(&key, &more, &message, false, "s + order");
    }
    // Keys of small order, for which anybody can sign: nothing, minus one, and one of order four.
    let mut one = [0u8; 32];
    one[0] = 1;
    let mut minus = [0xff; 32];
    (minus[0], minus[31]) = (0xec, 0x7f);
    for key in [one, minus, [0; 32]] {
        let mut signature = vec![0; 64];
        signature[..32].copy_from_slice(&one);
        judge(&key, &signature, b"anything", false, "a key of small order");
    }
    assert!(process.eval("require('.crypto').ed25519.verify('', '', '')").contains("a key has 32 bytes"));
}
