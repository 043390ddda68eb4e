// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Two modular exponentiations at once: the one operation that decides how long
//! a search for primes takes.
//!
//! AWS-LC computes two in the time of little more than one where the processor
//! has AVX-512 IFMA and the numbers have 1024, 1536 or 2048 bits, and one after
//! the other elsewhere. In either case neither time nor memory accesses depend
//! on the numbers, but for their length.
//!
//! ```
//! // 2^5 mod 23 and 5^11 mod 23
//! let powers = tdk_modexp::pow_mod([
//!     (&[2], &[5], &[23]),
//!     (&[5], &[11], &[23]),
//! ])
//! .unwrap();
//! assert_eq!(powers.each_ref().map(|power| power.as_slice()), [&[9], &[22]]);
//! ```

mod bn;

/// Base, exponent and modulus: big-endian, the modulus odd and greater than 1,
/// the base smaller than the modulus.
pub type Power<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// `base^exponent mod modulus` for each of two: big-endian, as many bytes as
/// the modulus has.
///
/// None, if a base is not smaller than its modulus, a modulus is even or 1, or
/// memory has run out. AWS-LC wipes what it frees; the results are the caller's
/// to wipe.
pub fn pow_mod(powers: [Power<'_>; 2]) -> Option<[Vec<u8>; 2]> {
    bn::pow_mod(powers)
}
