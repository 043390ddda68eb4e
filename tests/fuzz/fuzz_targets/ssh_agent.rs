// SPDX-License-Identifier: Apache-2.0 OR MIT
#![no_main]

#[path = "../../../callout/tdk/src/ssh_agent/protocol.rs"]
#[allow(dead_code)]
mod protocol;

use protocol::{Identity, Scheme, Sign, answer};
use ssh_key::Mpint;
use ssh_key::public::{KeyData, RsaPublicKey};

struct Pretender;

impl Sign for Pretender {
    fn sign(&self, _: Scheme, data: &[u8]) -> Option<Vec<u8>> {
        (!data.is_empty()).then(|| data.to_vec())
    }
}

// A message of a client. SSH_AGENT_FAILURE is 5, the identities 12, a signature 14.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let public = KeyData::Rsa(RsaPublicKey {
        e: Mpint::from_positive_bytes(&[1, 0, 1]).expect("a number"),
        n: Mpint::from_positive_bytes(&[0xc1; 256]).expect("a number"),
    });
    let answer = answer(data, &[Identity::new(Pretender, public, "a")]);
    match data.first() {
        Some(11) => assert!(matches!(answer.first(), Some(5 | 12))),
        Some(13) => assert!(matches!(answer.first(), Some(5 | 14))),
        _ => assert_eq!(answer, [5]),
    }
});
