// SPDX-License-Identifier: Apache-2.0 OR MIT
//! det-keygen's ECDSA keys.

use zeroize::Zeroizing;

use super::drbg::Drbg;
use super::{DetKeygenError, PrivateKey};

/// A curve of SP 800-186.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// P-256, secp256r1.
    P256,
    /// P-384, secp384r1.
    P384,
}

pub(super) fn generate(seed: &[u8], curve: Curve) -> Result<PrivateKey, DetKeygenError> {
    match curve {
        Curve::P256 => {
            let mut drbg = Drbg::new(seed, b"det ECDSA key gen P-256");
            // One more: a scalar is out of range once in 2^32 keys.
            draw(&mut drbg, 32, p256::SecretKey::from_slice)
                .or_else(|| {
                    drbg.next();
                    draw(&mut drbg, 32, p256::SecretKey::from_slice)
                })
                .map(PrivateKey::P256)
        }
        Curve::P384 => {
            let mut drbg = Drbg::new(seed, b"det ECDSA key gen P-384");
            draw(&mut drbg, 48, p384::SecretKey::from_slice).map(PrivateKey::P384)
        }
    }
    .ok_or(DetKeygenError::OutOfRange)
}

/// The leftmost bits as a scalar, if it is in range: from 1 to the curve's order
/// less 1.
fn draw<K, E>(drbg: &mut Drbg, length: usize, scalar: impl Fn(&[u8]) -> Result<K, E>) -> Option<K> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    drbg.generate(&mut bytes);
    scalar(&bytes).ok()
}
