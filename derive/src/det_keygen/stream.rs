// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The candidates for RSA's primes, in their order.

use zeroize::Zeroizing;

use super::drbg::Drbg;

/// A number, big-endian, wiped when dropped.
pub(super) type Candidate = Zeroizing<Vec<u8>>;

/// Where candidates come from: det-keygen's DRBG, and in tests what reaches the
/// rare cases.
///
/// The DRBG steps after a prime as it does after a composite, and after a pair
/// of primes that is rejected. So the candidates of a seed are one sequence,
/// whatever becomes of them; they can be drawn ahead.
pub(super) trait Candidates: Send {
    /// The next one.
    fn draw(&mut self) -> Candidate;
}

/// det-keygen, RSA, steps 1 to 12.
pub(super) struct Stream {
    drbg: Drbg,
    length: usize,
}

impl Stream {
    /// `bits` are those of the modulus.
    pub(super) fn new(seed: &[u8], bits: u16) -> Self {
        let personalization = [b"det RSA key gen".as_slice(), &bits.to_be_bytes()].concat();
        Self {
            drbg: Drbg::new(seed, &personalization),
            length: usize::from(bits / 16),
        }
    }
}

impl Candidates for Stream {
    fn draw(&mut self) -> Candidate {
        let mut candidate = Zeroizing::new(vec![0; self.length]);
        self.drbg.generate(&mut candidate);
        self.drbg.next();
        candidate[0] |= 0b1100_0000;
        candidate[self.length - 1] |= 0b0000_0111;
        candidate
    }
}
