// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random requests, the same ones for the same seed.

use crate::oracle::Request;

/// A small generator of numbers (SplitMix64): nothing secret comes from it.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).unwrap()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        // Any byte but 0.
        (0..length)
            .map(|_| u8::try_from(1 + self.number() % 255).unwrap())
            .collect()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A well-formed request for raw bytes, with extremes more often than
    /// chance would have them.
    pub fn request(&mut self) -> Request {
        let any = self.below(1024) + 1;
        let length = self.one_of(&[1, 16, 31, 32, 33, 64, 1024, any]);
        let kind = self.one_of(&["path", "csum", "id", "cgroup", "verity"]);
        let (key_type, what) = match self.below(40) {
            0 => ("asymmetric", "rsa2048".into()),
            1..=4 => ("user", self.one_of(&["p256", "p384", "ed25519"]).into()),
            _ => (
                self.one_of(&["user", "logon", "big_key"]),
                length.to_string(),
            ),
        };
        let mut info = format!("{what} {kind}");
        if self.below(2) == 0 {
            let generation = self.one_of(&[0, 1, u64::from(u32::MAX), 7]);
            info = format!("{info} gen={generation}");
        }
        if self.below(4) == 0 {
            info += " scope=any";
        }
        if self.below(4) == 0 {
            info = info.replace(' ', "\t ") + " v=1 ";
        }
        let key_id_length = 1 + self.below(255);
        let realm_length = self.one_of(&[0, 0, 1, 64]);
        let any_uid = u32::try_from(self.number() % 70000).unwrap();
        Request {
            key_type: key_type.into(),
            description: [b"tpm2:derived:", &self.bytes(key_id_length)[..]].concat(),
            info: info.into(),
            uid: self.one_of(&[0, 1000, u32::MAX - 1, any_uid]),
            realm: self.bytes(realm_length),
            value: self.value(kind),
        }
    }

    fn value(&mut self, kind: &str) -> Vec<u8> {
        match kind {
            "path" | "cgroup" => {
                let any = 1 + self.below(200);
                let length = self.one_of(&[1, any, 4094]);
                let mut name = self.bytes(length);
                // One component, and an unusual one.
                for byte in &mut name {
                    *byte = if b"/.)".contains(byte) { b'x' } else { *byte };
                }
                [b"/", &name[..]].concat()
            }
            "csum" => self.bytes(32),
            "verity" if self.below(2) == 0 => [&[0, 1], &self.bytes(32)[..]].concat(),
            "verity" => [&[0, 2], &self.bytes(64)[..]].concat(),
            _ => Vec::new(),
        }
    }
}
