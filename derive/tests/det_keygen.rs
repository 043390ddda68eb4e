// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keys from seeds stay what they are. `tests/oracle` checks the same file with
//! code of its own.

#![allow(clippy::unwrap_used)]

use sha2::{Digest, Sha256};
use tpm_derived_keys::det_keygen::{Curve, DetKeygenError, PrivateKey, ecdsa, ed25519, rsa};

fn key(what: &str, seed: &[u8]) -> Result<PrivateKey, DetKeygenError> {
    match what {
        "p256" => ecdsa(seed, Curve::P256),
        "p384" => ecdsa(seed, Curve::P384),
        "ed25519" => ed25519(seed),
        rsa_bits => rsa(seed, rsa_bits.strip_prefix("rsa").unwrap().parse().unwrap()),
    }
}

/// Each line: what, the seed, and SHA-256 of the PKCS#8.
#[test]
fn golden() {
    let lines = include_str!("../../tests/golden/det-keygen.txt").lines();
    assert!(lines.clone().count() >= 33);
    for line in lines {
        let [what, seed, digest] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let key = key(what, &hex::decode(seed).unwrap()).unwrap();
        let der = key.to_pkcs8_der().unwrap();
        assert_eq!(hex::encode(Sha256::digest(&*der)), digest, "{what} {seed}");
    }
}

#[test]
fn seeds_that_are_refused() {
    for what in ["rsa2048", "p256", "p384"] {
        for length in [0, 15] {
            let error = key(what, &vec![1; length]).unwrap_err();
            assert_eq!(error, DetKeygenError::Seed(length), "{what}");
        }
        assert!(key(what, &[1; 16]).is_ok());
    }
    for length in [0, 31, 33, 64] {
        let error = key("ed25519", &vec![1; length]).unwrap_err();
        assert_eq!(error, DetKeygenError::Ed25519Seed(length));
    }
}

#[test]
fn nothing_of_a_key_is_printed() {
    for what in ["rsa2048", "p256", "p384", "ed25519"] {
        let key = key(what, &[7; 32]).unwrap();
        assert!(format!("{key:?}").ends_with("(..)"), "{key:?}");
    }
}
