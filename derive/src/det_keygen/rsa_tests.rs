// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is rare among seeds, reached by candidates that no seed gave; and a
//! second arithmetic.

use std::collections::VecDeque;

use crypto_bigint::BoxedUint;
use crypto_primes::{Flavor, is_prime};
use zeroize::Zeroizing;

use super::super::prime::AwsLc;
use super::super::stream::Candidate;
use super::*;

// Numbers of 128 bits, as small as the process lets one keep them at hand: 7
// modulo 8, two leading bits set. Found and checked with Python's integers.
const ONE: &str = "cf2c6ec8cc4169a3ae3a2b7fdfe01897";
const TWO: &str = "e50e7b34a4aa07b49e6397d4b96245d7";
const THREE: &str = "e61f40dfef82d1a3a28cf7b1491e99f7";
const FOUR: &str = "e57f76912ff3c23c9c2f67237eea6fe7";
/// gcd(p-1, q-1) = 0x165060d12, just above 2^32.
const LARGE_GCD: [&str; 2] = [
    "db78329d694b66a6a59471bcf1a155f7",
    "e1658505f17c0bc646d19c3cfc544487",
];
/// gcd(p-1, q-1) = 0x98018456, just below 2^32.
const SMALLER_GCD: [&str; 2] = [
    "dffa950e22689a7f220057a10318a7df",
    "cc890307df1b21c39522667a2f908f97",
];
/// 1 modulo 65537.
const NO_INVERSE: &str = "fb17a76904ccc0285e1b7f3b3f3bb66f";
/// The prime 7 modulo 8 after ONE.
const NEXT_TO_ONE: &str = "cf2c6ec8cc4169a3ae3a2b7fdfe018af";
/// 2^28 less 1120 and 2^28 plus 288 above ONE: 28 is 128 - 100.
const NEAR_ONE: &str = "cf2c6ec8cc4169a3ae3a2b7fefe01437";
const BEYOND_ONE: &str = "cf2c6ec8cc4169a3ae3a2b7fefe019b7";
/// A product of two primes, and yet 2^((n-1)/2) = 1 modulo n.
const PSEUDOPRIME: &str = "f4f6f2e5c68f199419c52eb43d58dc37";

/// Candidates from a list.
struct Listed(VecDeque<Candidate>);

impl Candidates for Listed {
    fn draw(&mut self) -> Candidate {
        self.0.pop_front().expect("one more candidate")
    }
}

/// crypto-primes, which is pure Rust: Baillie-PSW.
struct PureRust;

impl Arithmetic for PureRust {
    fn are_prime(&self, numbers: [&[u8]; 2]) -> [bool; 2] {
        numbers.map(|number| {
            let bits = u32::try_from(number.len()).unwrap() * 8;
            let number = BoxedUint::from_be_slice(number, bits).unwrap();
            is_prime(Flavor::Any, &number)
        })
    }
}

/// The primes of the key that comes from the candidates, drawn by one thread.
fn primes_of(candidates: &[&str]) -> Result<[String; 2], DetKeygenError> {
    let decode = |hex: &&str| Zeroizing::new(hex::decode(hex).unwrap());
    let listed = Listed(candidates.iter().map(decode).collect());
    let key = search(Primes::new(listed, 16, &AwsLc).threads(1))?;
    let [p, q] = key.primes() else { panic!("two") };
    Ok([p, q].map(|prime| hex::encode(prime.to_bytes_be())))
}

#[test]
fn the_first_prime_is_prime1_even_if_smaller() {
    assert_eq!(primes_of(&[ONE, TWO]).unwrap(), [ONE, TWO]);
    assert_eq!(primes_of(&[TWO, ONE]).unwrap(), [TWO, ONE]);
}

#[test]
fn composites_are_passed_over() {
    // 7 modulo 8, and divisible by 3, by 8209 and so not sieved; the
    // product of two large primes.
    let composites = [
        "ffffffffffffffffffffffffffffffff",
        "c000000000000000000000000000febf",
        PSEUDOPRIME,
    ];
    for composite in composites {
        let key = primes_of(&[composite, ONE, composite, TWO]);
        assert_eq!(key.unwrap(), [ONE, TWO], "{composite}");
    }
}

/// The first test alone would take it.
#[test]
fn a_pseudoprime_to_base_2_needs_more_bases() {
    let number = hex::decode(PSEUDOPRIME).unwrap();
    let prime = hex::decode(ONE).unwrap();
    assert_eq!(AwsLc.are_prime([&number, &prime]), [false, true]);
    assert_eq!(PureRust.are_prime([&number, &prime]), [false, true]);
}

#[test]
fn a_large_gcd_rejects_both() {
    let [p, q] = LARGE_GCD;
    assert_eq!(primes_of(&[p, q, ONE, TWO]).unwrap(), [ONE, TWO]);
    // Both: p and TWO would have made a key.
    assert_eq!(primes_of(&[p, q, TWO, ONE]).unwrap(), [TWO, ONE]);
    assert_eq!(primes_of(&[p, ONE]).unwrap(), [p, ONE]);
}

#[test]
fn a_gcd_below_2_to_32_does_not() {
    let [p, q] = SMALLER_GCD;
    assert_eq!(primes_of(&[p, q]).unwrap(), [p, q]);
}

#[test]
fn without_inverse_both_are_rejected() {
    let q_has_none = primes_of(&[ONE, NO_INVERSE, TWO, THREE]);
    assert_eq!(q_has_none.unwrap(), [TWO, THREE]);
    let p_has_none = primes_of(&[NO_INVERSE, ONE, TWO, THREE]);
    assert_eq!(p_has_none.unwrap(), [TWO, THREE]);
}

#[test]
fn one_pair_after_the_other_can_be_rejected() {
    let [p, q] = LARGE_GCD;
    let candidates = [p, q, NO_INVERSE, ONE, q, p, THREE, FOUR];
    assert_eq!(primes_of(&candidates).unwrap(), [THREE, FOUR]);
}

#[test]
fn equal_primes_are_rejected() {
    assert_eq!(primes_of(&[ONE, ONE, TWO, THREE]).unwrap(), [TWO, THREE]);
}

#[test]
fn near_primes_are_an_error() {
    for near in [NEXT_TO_ONE, NEAR_ONE] {
        let error = DetKeygenError::Key("the primes are too near each other");
        assert_eq!(primes_of(&[ONE, near]), Err(error));
        assert_eq!(primes_of(&[near, ONE]), Err(error));
    }
    let beyond = primes_of(&[ONE, BEYOND_ONE]);
    assert_eq!(beyond.unwrap(), [ONE, BEYOND_ONE]);
}

#[test]
fn sizes() {
    for bits in [0, 16, 1024, 2032, 2047, 2056, 16400, 65536, u32::MAX] {
        let error = generate(&[0; 24], bits, &AwsLc).unwrap_err();
        assert_eq!(error, DetKeygenError::Bits(bits));
    }
}

/// The same keys by another arithmetic and by any number of threads.
#[test]
fn neither_arithmetic_nor_threads_make_a_difference() {
    for (seed, bits, threads) in [(1_u8, 2048, 1), (2, 2048, 3), (3, 2064, 2), (4, 3072, 5)] {
        let seed = [seed; 24];
        let length = usize::from(bits / 16);
        let stream = || Stream::new(&seed, bits);
        let by_aws_lc = search(Primes::new(stream(), length, &AwsLc).threads(threads));
        let by_pure_rust = search(Primes::new(stream(), length, &PureRust).threads(1));
        assert!(by_aws_lc.unwrap() == by_pure_rust.unwrap(), "{bits}");
    }
}

/// Each value of the key is looked at: a key with one value of another does not
/// pass.
#[test]
fn the_self_test_finds_what_is_wrong() {
    let key = |seed: u8| generate(&[seed; 24], 2048, &AwsLc).unwrap();
    let (good, other) = (key(1), key(2));
    assert!(self_test(&good) && self_test(&other));
    let primes = |key: &RsaPrivateKey| key.primes().to_vec();
    let wrong = |n: &BigUint, d: &BigUint, primes: Vec<BigUint>| {
        let mut key =
            RsaPrivateKey::from_components(n.clone(), EXPONENT.into(), d.clone(), primes).ok()?;
        key.precompute().ok()?;
        Some(self_test(&key))
    };
    assert_eq!(wrong(good.n(), good.d(), primes(&good)), Some(true));
    assert_ne!(wrong(other.n(), good.d(), primes(&good)), Some(true));
    assert_ne!(wrong(good.n(), other.d(), primes(&good)), Some(true));
    assert_ne!(wrong(good.n(), good.d(), primes(&other)), Some(true));
}
