// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The public half of an RSA key that the kernel keeps.
//!
//! The kernel shows nobody an asymmetric key's modulus n, not even to its owner.
//! But it encrypts: E(m) = m^e mod n. Since E(m)² and E(m²) are the same modulo n,
//! their difference is a multiple of n; and what several such multiples have in
//! common is n alone.

use std::io;

use num_integer::Integer;
use rsa::BigUint;

/// More numbers than are ever needed: each one leaves another factor than 1 half
/// as likely.
const ENOUGH: u16 = 200;

/// The modulus, of this many bits, by which `encrypt` encrypts.
///
/// `None` if there is none: then it is not RSA that encrypts.
///
/// # Errors
///
/// Those of `encrypt`.
pub(super) fn modulus(
    bits: usize,
    mut encrypt: impl FnMut(u16) -> io::Result<BigUint>,
) -> io::Result<Option<BigUint>> {
    let mut multiple = BigUint::default();
    for number in 2..ENOUGH {
        let (once, of_square) = (encrypt(number)?, encrypt(number * number)?);
        let square = &once * &once;
        let difference = if square < of_square {
            of_square - square
        } else {
            square - of_square
        };
        multiple = multiple.gcd(&difference);
        // Twice n already has a bit more.
        if multiple.bits() == bits {
            return Ok(Some(multiple));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(n: &BigUint, bits: usize) -> Option<BigUint> {
        let e = BigUint::from(65537_u32);
        modulus(bits, |m| Ok(BigUint::from(m).modpow(&e, n))).unwrap()
    }

    #[test]
    fn the_modulus_of_a_key() {
        for (size, top) in [(2048, 0xff), (3072, 0xc0), (4096, 0x90)] {
            // Whether it is a product of two primes does not matter here.
            let mut bytes: Vec<u8> = (1..=251).cycle().step_by(89).take(size / 8).collect();
            bytes[0] = top;
            let n = BigUint::from_bytes_be(&bytes);
            assert_eq!(found(&n, size), Some(n.clone()));
            assert_eq!(found(&n, size - 1), None);
        }
    }

    #[test]
    fn what_is_not_rsa() {
        let sum = |m: u16| Ok(BigUint::from(m) + 1_u32);
        assert_eq!(modulus(2048, sum).unwrap(), None);
        let error = modulus(2048, |_| Err(io::ErrorKind::Unsupported.into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
