// SPDX-License-Identifier: Apache-2.0 OR MIT
//! det-keygen's RSA keys.

use num_integer::Integer;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, RsaPrivateKey};
use zeroize::Zeroizing;

use super::DetKeygenError;
use super::drbg::Drbg;
use super::prime::{Arithmetic, Primes};
use super::stream::{Candidate, Candidates, Stream};

/// The smallest modulus of det-keygen, in bits.
pub(super) const MIN_BITS: u32 = 2048;
/// The largest that anybody has a use for, in bits.
pub(super) const MAX_BITS: u32 = 16384;

const EXPONENT: u32 = 65537;

pub(super) fn generate(
    seed: &[u8],
    bits: u32,
    arithmetic: &impl Arithmetic,
) -> Result<Box<RsaPrivateKey>, DetKeygenError> {
    let bits = u16::try_from(bits)
        .ok()
        .filter(|&bits| bits % 16 == 0 && (MIN_BITS..=MAX_BITS).contains(&bits.into()))
        .ok_or(DetKeygenError::Bits(bits))?;
    let stream = Stream::new(seed, bits);
    search(Primes::new(stream, usize::from(bits / 16), arithmetic))
}

/// Steps 13 to 25: the first pair of primes that makes a key.
pub(super) fn search(
    mut primes: Primes<'_, impl Candidates, impl Arithmetic>,
) -> Result<Box<RsaPrivateKey>, DetKeygenError> {
    loop {
        let (p, q) = primes.pair();
        if let Some(key) = key(&p, &q)? {
            return Ok(key);
        }
    }
}

/// None for a pair that is rejected: gcd(p-1, q-1) is 2^32 or more (as it is for
/// equal primes), or e has no inverse.
///
/// The two criteria of FIPS 186-5, A.1.1 that the process does not ensure by
/// itself end it, when they fail: that the primes are not near each other, and
/// that d is large. Neither has ever failed for a drawn pair.
fn key(p: &Candidate, q: &Candidate) -> Result<Option<Box<RsaPrivateKey>>, DetKeygenError> {
    let [p, q] = [p, q].map(|prime| Zeroizing::new(BigUint::from_bytes_be(prime)));
    let one = BigUint::from(1_u8);
    let [p1, q1] = [&p, &q].map(|prime| Zeroizing::new(&**prime - &one));
    if p1.gcd(&q1).bits() > 32 {
        return Ok(None);
    }
    let exponent = BigUint::from(EXPONENT);
    // e is prime: it has an inverse unless it divides.
    if p1.is_multiple_of(&exponent) || q1.is_multiple_of(&exponent) {
        return Ok(None);
    }
    let distance = Zeroizing::new(if *p > *q { &*p - &*q } else { &*q - &*p });
    if *distance <= BigUint::from(1_u8) << (p.bits() - 100) {
        return Err(DetKeygenError::Key("the primes are too near each other"));
    }
    // d = e^-1 mod lcm(p-1, q-1)
    let mut key = RsaPrivateKey::from_p_q((*p).clone(), (*q).clone(), exponent)
        .map_err(|_| DetKeygenError::Key("the primes make no RSA key"))?;
    if key.d().bits() <= p.bits() {
        return Err(DetKeygenError::Key("the private exponent is too small"));
    }
    key.precompute()
        .map_err(|_| DetKeygenError::Key("the RSA key's CRT values can't be computed"))?;
    Ok(Some(Box::new(key)))
}

/// Signs a number and verifies the signature with the public key (RSASP1 and
/// RSAVP1 of RFC 8017, section 5.2), by the very values that are encoded.
pub(super) fn self_test(key: &RsaPrivateKey) -> bool {
    let bytes = |number: &BigUint| Zeroizing::new(number.to_bytes_be());
    let [p, q] = key.primes() else { return false };
    let (Some(dp), Some(dq), Some(q_inverse)) = (key.dp(), key.dq(), key.crt_coefficient()) else {
        return false;
    };
    let (n, e) = (bytes(key.n()), bytes(key.e()));
    let mut number = vec![0; n.len() - 1];
    Drbg::new(&n, b"tpm-derived-keys RSA self-test").generate(&mut number);
    let message = BigUint::from_bytes_be(&number);

    let powers = tdk_modexp::pow_mod([
        (&bytes(&(&message % p)), &bytes(dp), &bytes(p)),
        (&bytes(&(&message % q)), &bytes(dq), &bytes(q)),
    ]);
    let Some([mod_p, mod_q]) = powers else {
        return false;
    };
    let [mod_p, mod_q] = [mod_p, mod_q].map(|power| BigUint::from_bytes_be(&Zeroizing::new(power)));
    let difference = (mod_p + p - &mod_q % p) % p;
    let signature = mod_q + (difference * q_inverse % p) * q;

    let again = tdk_modexp::pow_mod([(&bytes(&signature), &e, &n), (&number, &e, &n)]);
    let verified = again.is_some_and(|[power, _]| BigUint::from_bytes_be(&power) == message);
    // d, for whoever signs without the primes.
    let one = BigUint::from(1_u8);
    let inverse = |prime: &BigUint| key.d() * key.e() % (prime - &one) == one;
    verified && inverse(p) && inverse(q)
}

#[cfg(test)]
#[path = "rsa_tests.rs"]
mod tests;
