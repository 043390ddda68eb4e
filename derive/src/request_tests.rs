// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;

fn info(callout_info: &[u8]) -> Result<Request, RequestError> {
    Request::parse(b"user", b"tpm2:derived:test", callout_info)
}

fn key_id(key_id: &[u8]) -> Result<Request, RequestError> {
    Request::parse(b"user", &[PREFIX.as_bytes(), key_id].concat(), b"32 path")
}

#[test]
fn a_whole_request() {
    let request = Request::parse(
        b"logon",
        b"tpm2:derived:disk",
        b" 64\tcsum  gen=7 v=1 scope=any ",
    )
    .unwrap();
    assert_eq!(request.key_type(), KeyType::Logon);
    assert_eq!(request.key_id().as_bytes(), b"disk");
    assert_eq!(request.what(), What::Raw(64));
    assert_eq!(request.kind(), Kind::Csum);
    assert_eq!(request.generation(), 7);
    assert_eq!(request.scope(), Scope::Any);
}

#[test]
fn defaults() {
    let request = info(b"32 path").unwrap();
    assert_eq!(request.generation(), 0);
    assert_eq!(request.scope(), Scope::Uid);
}

#[test]
fn lengths() {
    assert_eq!(info(b"1 id").unwrap().what(), What::Raw(1));
    assert_eq!(info(b"1024 id").unwrap().what(), What::Raw(1024));
    for bad in [
        "0",
        "1025",
        "99999999999",
        "99999999999999999999999",
        "-1",
        "+5",
        "0x20",
        "032",
        "00",
        "3 2",
        "32x",
        "1e3",
        "٣",
        "32\n",
        "\u{b}32",
    ] {
        let error = info(format!("{bad} id").as_bytes()).unwrap_err();
        assert!(
            matches!(error, RequestError::What(_) | RequestError::Identity(_)),
            "{bad}: {error}"
        );
    }
}

#[test]
fn words_that_are_missing_or_unknown() {
    for empty in ["", " ", "\t \t"] {
        assert_eq!(info(empty.as_bytes()), Err(RequestError::MissingWhat));
    }
    assert_eq!(info(b"32"), Err(RequestError::MissingIdentity));
    for bad in ["32 paths", "32 PATH", "32 uid", "32 path\n"] {
        let error = info(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, RequestError::Identity(_)), "{bad}: {error}");
    }
    for bad in [
        "32 path junk",
        "32 path v=2",
        "32 path v=",
        "32 path scope=uid",
        "32 path scope=any,x",
        "32 path =1",
        "rsa2048 path 32",
    ] {
        let error = info(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, RequestError::Option(_)), "{bad}: {error}");
    }
    for bad in [
        "rsa1024 path",
        "rsa path",
        "rsa2048x path",
        "p521 path",
        "\u{ff} path",
    ] {
        let error = info(bad.as_bytes()).unwrap_err();
        assert!(matches!(error, RequestError::What(_)), "{bad}: {error}");
    }
}

#[test]
fn generations() {
    assert_eq!(info(b"32 id gen=0").unwrap().generation(), 0);
    assert_eq!(
        info(b"32 id gen=4294967295").unwrap().generation(),
        u32::MAX
    );
    for bad in [
        "gen=",
        "gen=-1",
        "gen=+1",
        "gen=01",
        "gen=4294967296",
        "gen=1x",
        "gen=0x1",
    ] {
        let error = info(format!("32 id {bad}").as_bytes()).unwrap_err();
        assert!(
            matches!(error, RequestError::Generation(_)),
            "{bad}: {error}"
        );
    }
}

#[test]
fn an_option_twice() {
    for bad in ["gen=1 gen=1", "v=1 v=1", "scope=any gen=2 scope=any"] {
        let error = info(format!("32 id {bad}").as_bytes()).unwrap_err();
        assert!(matches!(error, RequestError::Twice(_)), "{bad}: {error}");
    }
}

#[test]
fn key_ids() {
    for good in [
        &b"x"[..],
        b"a;b",
        b"with blanks in it",
        b"two\nlines",
        b"\xff\xfe\x01",
        b"%k",
        &[b'k'; 255],
    ] {
        assert_eq!(key_id(good).unwrap().key_id().as_bytes(), good);
    }
    assert_eq!(key_id(b""), Err(RequestError::KeyIdLength(0)));
    assert_eq!(key_id(&[b'k'; 256]), Err(RequestError::KeyIdLength(256)));
    assert_eq!(key_id(b"a\0b"), Err(RequestError::KeyIdNul));
}

#[test]
fn descriptions_and_types_that_are_not_ours() {
    for bad in [
        &b""[..],
        b"tpm2:derived",
        b"tpm2:Derived:x",
        b"x tpm2:derived:x",
    ] {
        let error = Request::parse(b"user", bad, b"32 path").unwrap_err();
        assert!(matches!(error, RequestError::Prefix(_)), "{error}");
    }
    for bad in [&b""[..], b"keyring", b"encrypted", b"User", b"user "] {
        let error = Request::parse(bad, b"tpm2:derived:x", b"32 path").unwrap_err();
        assert!(matches!(error, RequestError::KeyType(_)), "{error}");
    }
}

#[test]
fn an_asymmetric_key_of_a_plain_length_is_rsa2048() {
    let request = Request::parse(b"asymmetric", b"tpm2:derived:x", b"32 csum").unwrap();
    assert_eq!(request.what(), What::Rsa(2048));
}

#[test]
fn the_kernel_takes_only_rsa_private_keys() {
    let asymmetric = |info: &[u8]| Request::parse(b"asymmetric", b"tpm2:derived:x", info);
    for (info, what) in [
        (&b"1 id"[..], What::Rsa(2048)),
        (b"rsa3072 path", What::Rsa(3072)),
        (b"rsa4096 csum", What::Rsa(4096)),
    ] {
        assert_eq!(asymmetric(info).unwrap().what(), what);
    }
    for (info, what) in [
        (&b"p256 path"[..], "p256"),
        (b"p384 id", "p384"),
        (b"ed25519 csum", "ed25519"),
    ] {
        let error = asymmetric(info).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("key type asymmetric can't be {what}")
        );
        assert!(
            error
                .hint()
                .contains("the kernel takes only RSA private keys")
        );
    }
    assert!(asymmetric(b"0 path").is_err());
}

#[test]
fn messages_are_short_and_printable() {
    let long = [b"\xff\n\x1b[2J", &[b'x'; 4000][..]].concat();
    for error in [
        info(&long).unwrap_err(),
        Request::parse(&long, b"tpm2:derived:x", b"32 path").unwrap_err(),
        Request::parse(b"user", &long, b"32 path").unwrap_err(),
        info(&[b"32 path ", &long[..]].concat()).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.len() < 250 && text.bytes().all(|b| (0x20..0x7f).contains(&b)),
            "{text}"
        );
        assert!(!error.hint().is_empty());
    }
}
