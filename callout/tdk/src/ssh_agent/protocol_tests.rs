// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages of all kinds, to an agent with keys that only pretend to sign.

use std::cell::Cell;
use std::io::{self, Read, Write};

use ssh_key::Mpint;
use ssh_key::public::RsaPublicKey;

use super::*;
use crate::ssh_agent::connection::serve;

/// Signs with its name, the scheme and the data; or not at all.
struct Pretender(&'static str, Cell<bool>);

impl Sign for Pretender {
    fn sign(&self, scheme: Scheme, data: &[u8]) -> Option<Vec<u8>> {
        let signature = format!("{}, {scheme:?}: {}", self.0, data.escape_ascii());
        self.1.get().then(|| signature.into_bytes())
    }
}

fn public(modulus: &[u8]) -> KeyData {
    KeyData::Rsa(RsaPublicKey {
        e: Mpint::from_positive_bytes(&[1, 0, 1]).unwrap(),
        n: Mpint::from_positive_bytes(modulus).unwrap(),
    })
}

fn identities() -> Vec<Identity<Pretender>> {
    let identity = |name, modulus| {
        let key = Pretender(name, Cell::new(true));
        Identity::new(key, public(modulus), &format!("tpm2:derived:{name}\n"))
    };
    vec![identity("a", &[0xc1; 256]), identity("b", &[0xc3; 256])]
}

/// RFC 4251, section 5.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

fn blob(modulus: &[u8]) -> Vec<u8> {
    let number = [&[0], modulus].concat();
    [string(b"ssh-rsa"), string(&[1, 0, 1]), string(&number)].concat()
}

fn request(blob: &[u8], data: &[u8], flags: u32) -> Vec<u8> {
    [
        &[13][..],
        &string(blob),
        &string(data),
        &flags.to_be_bytes(),
    ]
    .concat()
}

const FAILURE: &[u8] = &[5];

#[test]
fn the_list_of_keys() {
    let keys = [
        string(&blob(&[0xc1; 256])),
        string(b"tpm2:derived:a?"),
        string(&blob(&[0xc3; 256])),
        string(b"tpm2:derived:b?"),
    ];
    let expected = [&[12, 0, 0, 0, 2][..], &keys.concat()].concat();
    assert_eq!(answer(&[11], &identities()), expected);
    let none: [Identity<Pretender>; 0] = [];
    assert_eq!(answer(&[11], &none), [12, 0, 0, 0, 0]);
}

#[test]
fn signatures_by_sha_2_alone() {
    let identities = identities();
    let signed = |algorithm: &str, text: &str| {
        let signature = [string(algorithm.as_bytes()), string(text.as_bytes())].concat();
        [&[14][..], &string(&signature)].concat()
    };
    let (a, b) = (blob(&[0xc1; 256]), blob(&[0xc3; 256]));
    for (flags, algorithm, text) in [
        (2, "rsa-sha2-256", "b, Sha256: \\x00x"),
        (4, "rsa-sha2-512", "b, Sha512: \\x00x"),
        // As ssh-agent(1) takes it.
        (6, "rsa-sha2-256", "b, Sha256: \\x00x"),
    ] {
        let answer = answer(&request(&b, b"\0x", flags), &identities);
        assert_eq!(answer, signed(algorithm, text), "{flags}");
    }
    assert_eq!(
        answer(&request(&a, b"", 4), &identities),
        signed("rsa-sha2-512", "a, Sha512: ")
    );
    // ssh-rsa, with SHA-1.
    for flags in [0, 1, 8, 0x8000_0000] {
        assert_eq!(answer(&request(&a, b"x", flags), &identities), FAILURE);
    }
    // Another's key.
    let other = blob(&[0xc5; 256]);
    assert_eq!(answer(&request(&other, b"x", 2), &identities), FAILURE);
    // A key that is gone.
    identities[0].key.1.set(false);
    assert_eq!(answer(&request(&a, b"x", 2), &identities), FAILURE);
    assert_ne!(answer(&request(&b, b"x", 2), &identities), FAILURE);
}

#[test]
fn nothing_else_is_done() {
    let identities = identities();
    for first in 0..=u8::MAX {
        for rest in [&b""[..], &[0], &[0xff; 40]] {
            let message = [&[first], rest].concat();
            let listed = message == [11];
            assert_eq!(
                answer(&message, &identities) == FAILURE,
                !listed,
                "{message:?}"
            );
        }
    }
    assert_eq!(answer(b"", &identities), FAILURE);
}

#[test]
fn requests_that_are_none() {
    let identities = identities();
    let key = blob(&[0xc1; 256]);
    let whole = request(&key, b"data", 2);
    assert_ne!(answer(&whole, &identities), FAILURE);
    for length in 0..whole.len() {
        assert_eq!(answer(&whole[..length], &identities), FAILURE, "{length}");
    }
    assert_eq!(answer(&[&whole[..], b"x"].concat(), &identities), FAILURE);
    for key in [
        &b""[..],
        b"ssh-rsa",
        &string(b"ssh-rsa"),
        &string(b"no-such-algorithm"),
        &string(b"ssh-rsa-cert-v01@openssh.com"),
        &[&key[..], b"x"].concat(),
        &[0xff; 300],
    ] {
        assert_eq!(
            answer(&request(key, b"x", 2), &identities),
            FAILURE,
            "{key:?}"
        );
    }
    // Each byte of a request, changed: an answer, whatever it is.
    for position in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut message = whole.clone();
            message[position] ^= change;
            let answer = answer(&message, &identities);
            assert!([5, 14].contains(&answer[0]), "{position} {change}");
        }
    }
}

/// What a client sends, and what it gets.
struct Client<'a>(&'a [u8], Vec<u8>);

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // In small pieces, as they may come.
        let length = buffer.len().min(3);
        self.0.read(&mut buffer[..length])
    }
}

impl Write for Client<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn conversation(sent: &[u8]) -> (io::Result<()>, Vec<u8>) {
    let mut client = Client(sent, Vec::new());
    let result = serve(&mut client, &identities());
    (result, client.1)
}

#[test]
fn messages_one_after_the_other() {
    let longest = vec![17; 256 * 1024];
    let sent = [
        string(b"\xff"),
        string(b""),
        string(&longest),
        string(&[11]),
    ]
    .concat();
    let (result, got) = conversation(&sent);
    result.unwrap();
    let failure = string(FAILURE);
    let list = string(&answer(&[11], &identities()));
    assert_eq!(got, [&failure, &failure, &failure, &list[..]].concat());
}

#[test]
fn what_ends_a_connection_and_nothing_else() {
    for (sent, kind) in [
        (&[0, 4, 0, 1][..], io::ErrorKind::InvalidData),
        (&[0xff; 64], io::ErrorKind::InvalidData),
        (&[0, 0, 0, 9, 11], io::ErrorKind::UnexpectedEof),
    ] {
        let (result, got) = conversation(sent);
        assert_eq!(result.unwrap_err().kind(), kind);
        assert!(got.is_empty());
    }
    for sent in [&b""[..], &[0], &[0, 0, 0]] {
        assert!(conversation(sent).0.is_ok());
    }
}
