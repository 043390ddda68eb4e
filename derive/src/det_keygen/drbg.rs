// SPDX-License-Identifier: Apache-2.0 OR MIT
//! HMAC_DRBG over SHA-256 (SP 800-90A Rev. 1, section 10.1.2), without
//! reseeding and additional input.

use hmac::digest::FixedOutput as _;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const SIZE: usize = 32;

pub(super) struct Drbg {
    key: Zeroizing<[u8; SIZE]>,
    value: Zeroizing<[u8; SIZE]>,
}

impl Drbg {
    /// Section 10.1.2.3, with `seed || personalization` as seed material.
    pub(super) fn new(seed: &[u8], personalization: &[u8]) -> Self {
        let mut drbg = Self {
            key: Zeroizing::new([0; SIZE]),
            value: Zeroizing::new([1; SIZE]),
        };
        drbg.update(0, &[seed, personalization]);
        drbg.update(1, &[seed, personalization]);
        drbg
    }

    /// `V = HMAC(K, V)` until there are enough; section 10.1.2.5, step 4.
    pub(super) fn generate(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(SIZE) {
            self.step();
            chunk.copy_from_slice(&self.value[..chunk.len()]);
        }
    }

    /// What follows each call of `generate`; section 10.1.2.5, step 6.
    pub(super) fn next(&mut self) {
        self.update(0, &[]);
    }

    fn update(&mut self, byte: u8, material: &[&[u8]]) {
        let mut hmac = self.hmac();
        hmac.update(&*self.value);
        hmac.update(&[byte]);
        for part in material {
            hmac.update(part);
        }
        hmac.finalize_into((&mut *self.key).into());
        self.step();
    }

    fn step(&mut self) {
        let mut hmac = self.hmac();
        hmac.update(&*self.value);
        hmac.finalize_into((&mut *self.value).into());
    }

    fn hmac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&*self.key).expect("HMAC takes a key of any length")
    }
}
