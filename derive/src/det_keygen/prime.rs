// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which candidates are prime.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::drbg::Drbg;
use super::sieve::Sieve;
use super::stream::{Candidate, Candidates};

/// More threads than these have nothing to do.
const MAX_THREADS: usize = 16;

/// Arithmetic that tells primes from other numbers. The keys don't depend on
/// it: tests compare two.
pub trait Arithmetic: Sync {
    /// Whether each of two numbers, both 7 modulo 8, is prime. Wrong no more
    /// often than is negligible, for numbers that are drawn at random.
    fn are_prime(&self, numbers: [&[u8]; 2]) -> [bool; 2];
}

/// Miller-Rabin tests (FIPS 186-5, B.3.1) by AWS-LC's exponentiation.
pub(super) struct AwsLc;

impl Arithmetic for AwsLc {
    fn are_prime(&self, numbers: [&[u8]; 2]) -> [bool; 2] {
        let bases = numbers.map(|number| {
            // -2: as long as the modulus, which AWS-LC is fastest with.
            let mut base = Zeroizing::new(number.to_vec());
            *base.last_mut().expect("numbers are not empty") -= 2;
            base
        });
        let probable = strong_tests([(&bases[0], numbers[0]), (&bases[1], numbers[1])]);
        [0, 1].map(|index| probable[index] && is_prime_to_more_bases(numbers[index]))
    }
}

/// Four rounds more, with bases of their own for each number, two at a time.
///
/// Of numbers of 1024 bits that are drawn at random, a composite one passes four
/// rounds with random bases less often than once in 2^100 (Damgård, Landrock,
/// Pomerance 1993). These bases are from a quarter of all, so that they are as long
/// as the number: at worst each round passes four times as often, 2^8 in all.
fn is_prime_to_more_bases(number: &[u8]) -> bool {
    let mut drbg = Drbg::new(&Sha256::digest(number), b"tpm-derived-keys Miller-Rabin");
    (0..2).all(|_| {
        let bases = [(); 2].map(|()| {
            let mut base = Zeroizing::new(vec![0; number.len()]);
            drbg.generate(&mut base);
            drbg.next();
            // Smaller than the number, whose two leading bits are set, and as
            // long.
            base[0] = base[0] & 0x3f | 0x80;
            base
        });
        strong_tests([(&bases[0], number), (&bases[1], number)]) == [true; 2]
    })
}

/// Whether the numbers are probable primes to their bases. For `n = 3 mod 4`,
/// `n - 1` is twice an odd number, so that is all: `base^((n-1)/2) = 1 or -1`.
fn strong_tests(tests: [(&[u8], &[u8]); 2]) -> [bool; 2] {
    let exponents = tests.map(|(_, number)| half(number));
    let powers = tdk_modexp::pow_mod([
        (tests[0].0, &exponents[0], tests[0].1),
        (tests[1].0, &exponents[1], tests[1].1),
    ]);
    let powers = powers
        .expect("odd moduli, bases below them; without memory nothing goes on")
        .map(Zeroizing::new);
    [0, 1].map(|index| {
        let (power, number) = (&powers[index], tests[index].1);
        let (last, leading) = power.split_last().expect("as long as the number");
        let (last_of_number, leading_of_number) = number.split_last().expect("not empty");
        // n - 1 differs from n in the last byte alone, n being odd.
        let one = *last == 1 && leading.iter().all(|&byte| byte == 0);
        let minus_one = *last == last_of_number - 1 && leading == leading_of_number;
        one || minus_one
    })
}

/// `(number - 1) / 2` of an odd number: one bit less at the end.
fn half(number: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut carry = 0;
    let halved = number.iter().map(|&byte| {
        let shifted = carry << 7 | byte >> 1;
        carry = byte & 1;
        shifted
    });
    Zeroizing::new(halved.collect())
}

/// The primes among the candidates, in their order.
pub(super) struct Primes<'a, C, A> {
    candidates: C,
    arithmetic: &'a A,
    sieve: Sieve,
    threads: usize,
    drawn: u64,
    /// By their place among the candidates.
    found: BTreeMap<u64, Candidate>,
}

/// What the threads share while they search.
struct Search<'s, C> {
    candidates: &'s mut C,
    drawn: &'s mut u64,
    found: &'s mut BTreeMap<u64, Candidate>,
}

impl<'a, C: Candidates, A: Arithmetic> Primes<'a, C, A> {
    /// `length` is a candidate's, in bytes.
    pub(super) fn new(candidates: C, length: usize, arithmetic: &'a A) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            candidates,
            arithmetic,
            sieve: Sieve::new(length),
            threads: cores.min(MAX_THREADS),
            drawn: 0,
            found: BTreeMap::new(),
        }
    }

    /// As many threads as said.
    #[cfg(test)]
    pub(super) fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The next two.
    pub(super) fn pair(&mut self) -> (Candidate, Candidate) {
        let search = Mutex::new(Search {
            candidates: &mut self.candidates,
            drawn: &mut self.drawn,
            found: &mut self.found,
        });
        let (sieve, arithmetic) = (&self.sieve, self.arithmetic);
        thread::scope(|scope| {
            for _ in 1..self.threads {
                // A thread that can't be had is one less.
                let _ =
                    thread::Builder::new().spawn_scoped(scope, || look(&search, sieve, arithmetic));
            }
            look(&search, sieve, arithmetic);
        });
        let mut next = || {
            let (_, prime) = self.found.pop_first().expect("the search ends with two");
            prime
        };
        (next(), next())
    }
}

/// Draws candidates and keeps the primes, until there are two. Whatever was
/// drawn is also tested, by the thread that drew it: so the first two by their
/// places are the first two of all.
fn look<C: Candidates>(search: &Mutex<Search<'_, C>>, sieve: &Sieve, arithmetic: &impl Arithmetic) {
    let lock = || search.lock().unwrap_or_else(PoisonError::into_inner);
    // Two at a time.
    let mut waiting: Vec<(u64, Candidate)> = Vec::with_capacity(2);
    loop {
        let drawn = {
            let mut search = lock();
            (search.found.len() < 2).then(|| {
                *search.drawn += 1;
                (*search.drawn, search.candidates.draw())
            })
        };
        let is_last = drawn.is_none();
        waiting.extend(drawn.filter(|(_, candidate)| sieve.passes(candidate)));
        if let [(_, first), .., (_, last)] | [(_, first @ last)] = &waiting[..]
            && (is_last || waiting.len() == 2)
        {
            let prime = arithmetic.are_prime([first, last]);
            let tested = waiting.drain(..).zip(prime);
            let primes = tested.filter_map(|(candidate, prime)| prime.then_some(candidate));
            lock().found.extend(primes);
        }
        if is_last {
            return;
        }
    }
}
