// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The numbers in `docs/derivation.md` are those of this library.

#![allow(clippy::unwrap_used)]

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tpm_derived_keys::KeyInfo;
use tpm_derived_keys::identity::{Identity, Realm, Scope, Subject};
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{Fake, RootKey};

/// The page, with each number in one piece: digits that go on in the next line
/// are joined.
fn page() -> String {
    let page = include_str!("../../docs/derivation.md");
    let mut joined = String::new();
    for line in page.lines() {
        let digits = line.trim_start();
        let continues = line.starts_with("        ")
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !continues {
            joined.push('\n');
        }
        joined.push_str(if continues { digits } else { line });
    }
    joined
}

/// The part of the page about one example.
fn example(number: u32) -> String {
    let page = page();
    let start = page.find(&format!("\n### {number}. ")).unwrap();
    let rest = &page[start + 1..];
    rest[..rest.find("\n### ").unwrap_or(rest.len())].to_owned()
}

fn number(example: &str, name: &str) -> String {
    let mut lines = example.lines();
    let line = lines.find(|line| line.starts_with(name)).expect(name);
    line.split_once("= ").unwrap().1.to_owned()
}

fn secret() -> [u8; 32] {
    let page = page();
    hex::decode(number(&page, "root secret"))
        .unwrap()
        .try_into()
        .unwrap()
}

fn check(
    n: u32,
    [key_type, description, info]: [&str; 3],
    subject: Subject,
    uid: u32,
    realm: &[u8],
) {
    let text = example(n);
    let asked = format!("Type `{key_type}`, description `{description}`, callout info `{info}`");
    assert!(text.contains(&asked), "{text}");
    let request =
        Request::parse(key_type.as_bytes(), description.as_bytes(), info.as_bytes()).unwrap();
    let realm = Realm::new(realm).unwrap();
    let identity = Identity::new(subject.clone(), request.scope(), uid, realm.clone()).unwrap();
    let info = KeyInfo::from(&request);
    assert_eq!(
        hex::encode(identity.to_bytes()),
        number(&text, "identity bytes")
    );
    assert_eq!(
        hex::encode(identity.digest().as_bytes()),
        number(&text, "identity digest")
    );
    assert_eq!(hex::encode(info.to_bytes()), number(&text, "key info"));

    let mut tpm = Fake::with_root_secret(secret());
    let mut root = RootKey::create(&mut tpm).unwrap();
    let okm = root.identity_key(&identity.digest()).unwrap().expand(&info);
    let mut hmac = Hmac::<Sha256>::new_from_slice(&secret()).unwrap();
    hmac.update(identity.digest().as_bytes());
    let identity_key = hmac.finalize().into_bytes();
    assert_eq!(hex::encode(identity_key), number(&text, "identity key"));
    assert_eq!(hex::encode(okm.as_bytes()), number(&text, "okm"));

    // The same by the stages.
    let identified = request.identify(subject, uid, &realm).unwrap();
    let unlocked = identified.decided_by_operator().unlock(&mut root).unwrap();
    let payload = unlocked.payload().unwrap();
    assert_eq!(payload.as_bytes(), okm.as_bytes());
}

#[test]
fn example_1() {
    let asked = ["user", "tpm2:derived:test", "32 path"];
    check(
        1,
        asked,
        Subject::path(b"/usr/bin/keyctl").unwrap(),
        1000,
        b"",
    );
}

#[test]
fn example_2() {
    let digest = hex::decode("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let subject = Subject::Csum(digest.unwrap().try_into().unwrap());
    check(
        2,
        ["logon", "tpm2:derived:disk", "64 csum gen=1"],
        subject,
        0,
        b"blue",
    );
}

#[test]
fn example_3() {
    let asked = ["big_key", "tpm2:derived:a b;c", "40 id"];
    check(3, asked, Subject::Id, 4_294_967_294, b"");
}

#[test]
fn example_4() {
    let subject = Subject::cgroup(b"/system.slice/nginx.service").unwrap();
    let asked = ["user", "tpm2:derived:db", "16 cgroup scope=any"];
    check(4, asked, subject.clone(), 1000, b"");
    // Any uid gives the same.
    check(4, asked, subject, 0, b"");
}

#[test]
fn what_can_be_read_back_differs_from_what_can_not() {
    let okm = |key_type: &[u8], description: &[u8]| {
        let mut tpm = Fake::with_root_secret(secret());
        let mut root = RootKey::create(&mut tpm).unwrap();
        let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
        let request = Request::parse(key_type, description, b"32 id").unwrap();
        let key = root.identity_key(&identity.digest()).unwrap();
        key.expand(&KeyInfo::from(&request)).as_bytes().to_vec()
    };
    let user = okm(b"user", b"tpm2:derived:x");
    assert_eq!(okm(b"big_key", b"tpm2:derived:x"), user);
    assert_ne!(okm(b"logon", b"tpm2:derived:x"), user);
}
