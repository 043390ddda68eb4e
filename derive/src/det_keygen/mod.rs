// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RSA and ECDSA keys from a seed, as C2SP *det-keygen* makes them, and Ed25519
//! keys.
//!
//! The same seed gives the same key in every implementation of
//! <https://c2sp.org/det-keygen>: HMAC_DRBG over SHA-256 draws candidates, and
//! whether one is prime or in range is a fact that no implementation can see
//! differently. (Seeding a random generator and handing it to a library's key
//! generation gives a key that changes when the library does.)
//!
//! ```
//! use tpm_derived_keys::det_keygen::{self, Curve};
//!
//! let key = det_keygen::ecdsa(&[0x42; 24], Curve::P256)?;
//! assert_eq!(key.to_pkcs8_der()?.len(), 138);
//! assert!(det_keygen::rsa(&[0x42; 24], 2047).is_err());
//! # Ok::<(), det_keygen::DetKeygenError>(())
//! ```
//!
//! How long a search for primes takes tells how many candidates it took, and
//! which of them a small prime divided: of numbers that were thrown away. Tests
//! take as long for one prime as for another. The other values of the key are then
//! computed by the crate `rsa`, in a time that depends on the primes a little, and
//! is the same whenever this key is made. `docs/benchmarks.md` says more.

use std::fmt;

mod drbg;
mod ecdsa;
mod ed25519;
mod key;
mod prime;
mod rsa;
mod sieve;
mod stream;

pub use ecdsa::Curve;
pub use key::PrivateKey;
#[doc(hidden)]
pub use prime::Arithmetic;

/// The fewest bytes that a seed may have: 128 bits.
const MIN_SEED: usize = 16;

/// An RSA key of `bits` bits with public exponent 65537; `bits` is a multiple of
/// 16 from 2048 to 16384.
///
/// It is searched for on all cores that the calling thread may run on
/// (sched_setaffinity(2); `taskset -c 0` leaves one). It has signed and verified
/// once before it is handed out.
///
/// # Errors
///
/// [`DetKeygenError::Seed`] for a seed of less than 16 bytes,
/// [`DetKeygenError::Bits`] for another size, [`DetKeygenError::Key`] for a key
/// that does not work: a fault of the machine.
pub fn rsa(seed: &[u8], bits: u32) -> Result<PrivateKey, DetKeygenError> {
    rsa_by(seed, bits, &prime::AwsLc)
}

/// The same key by another arithmetic than AWS-LC's: for benchmarks and tests, which
/// compare them. The arithmetic sees the primes, and has to tell them right.
///
/// # Errors
///
/// As for [`rsa`].
#[doc(hidden)]
pub fn rsa_by(
    seed: &[u8],
    bits: u32,
    arithmetic: &impl Arithmetic,
) -> Result<PrivateKey, DetKeygenError> {
    let key = rsa::generate(check_seed(seed)?, bits, arithmetic)?;
    if !rsa::self_test(&key) {
        return Err(DetKeygenError::Key("the RSA key's self-test fails"));
    }
    Ok(PrivateKey::Rsa(key))
}

/// An ECDSA key.
///
/// # Errors
///
/// [`DetKeygenError::Seed`] for a seed of less than 16 bytes,
/// [`DetKeygenError::OutOfRange`] for a seed that nobody has ever found.
pub fn ecdsa(seed: &[u8], curve: Curve) -> Result<PrivateKey, DetKeygenError> {
    ecdsa::generate(check_seed(seed)?, curve)
}

/// The Ed25519 key whose private key, in the sense of RFC 8032 section 5.1.5, is
/// these 32 bytes.
///
/// # Errors
///
/// [`DetKeygenError::Ed25519Seed`] for another length.
pub fn ed25519(private: &[u8]) -> Result<PrivateKey, DetKeygenError> {
    ed25519::generate(private)
}

fn check_seed(seed: &[u8]) -> Result<&[u8], DetKeygenError> {
    if seed.len() < MIN_SEED {
        return Err(DetKeygenError::Seed(seed.len()));
    }
    Ok(seed)
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetKeygenError {
    /// A seed of this many bytes, which are too few.
    Seed(usize),
    /// An Ed25519 key of this many bytes instead of 32.
    Ed25519Seed(usize),
    /// An RSA key of this many bits.
    Bits(u32),
    /// The DRBG gave no scalar in range: for P-256 less likely than 2^-32 in
    /// 2^32 keys, for P-384 than 2^-194. A fault of the machine is likelier.
    OutOfRange,
    /// The library for keys refused or failed; says what.
    Key(&'static str),
}

impl fmt::Display for DetKeygenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(length) => write!(
                f,
                "a seed of {length} bytes: it takes {MIN_SEED} at least, and should have 24"
            ),
            Self::Ed25519Seed(length) => {
                write!(f, "an Ed25519 private key of {length} bytes: it takes 32")
            }
            Self::Bits(bits) => write!(
                f,
                "RSA with {bits} bits: it takes a multiple of 16, from {} to {}",
                rsa::MIN_BITS,
                rsa::MAX_BITS
            ),
            Self::OutOfRange => write!(f, "no scalar in range: is this machine sound?"),
            Self::Key(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for DetKeygenError {}
