// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Trial division: seven of eight candidates need no more.

use zeroize::Zeroizing;

/// No small prime is above this.
const MAX_BOUND: u32 = 1 << 16;

/// Bytes of a word.
const WORD: usize = 3;

/// As many products are tried at a time: their sums stay in registers.
const LANES: usize = 16;

/// Divides numbers of one length by all odd primes below a bound.
///
/// Primes are multiplied to products as large as go. With the 24-bit words
/// `w[i]` of a number, least significant first, and `2^(24 i) mod product` from
/// a table, `sum(w[i] * table[i])` leaves the same remainders as the number, and
/// takes one multiplication for each word.
pub(super) struct Sieve {
    words: usize,
    blocks: Vec<Block>,
}

/// Some of the products, at most [`LANES`].
struct Block {
    /// For each word of a number, its power of 2 modulo each of the products.
    powers: Vec<[u32; LANES]>,
    divisors: Vec<Divisor>,
}

/// A prime in the product of a lane.
struct Divisor {
    lane: usize,
    /// Of the prime, modulo 2^64.
    inverse: u64,
    /// The quotient of the prime's largest multiple below 2^64.
    most: u64,
}

impl Divisor {
    fn new(prime: u32, lane: usize) -> Self {
        let prime = u64::from(prime);
        // An odd number is its own inverse modulo 8; Newton's step doubles the
        // bits that are right.
        let inverse = (0..5).fold(prime, |inverse, _| {
            inverse.wrapping_mul(2_u64.wrapping_sub(prime.wrapping_mul(inverse)))
        });
        Self {
            lane,
            inverse,
            most: u64::MAX / prime,
        }
    }

    /// Multiplication by the inverse takes the prime's multiples to their
    /// quotients, and all other numbers above those.
    fn divides(&self, number: u64) -> bool {
        number.wrapping_mul(self.inverse) <= self.most
    }
}

impl Sieve {
    /// For numbers of `length` bytes.
    pub(super) fn new(length: usize) -> Self {
        let words = length.div_ceil(WORD);
        let products = products(bound(length), limit(words));
        let blocks = products
            .chunks(LANES)
            .map(|products| Block::new(products, words));
        Self {
            words,
            blocks: blocks.collect(),
        }
    }

    /// Whether no small prime divides the number, which is odd and larger than
    /// all of them.
    pub(super) fn passes(&self, number: &[u8]) -> bool {
        debug_assert_eq!(number.len().div_ceil(WORD), self.words);
        let words: Zeroizing<Vec<u32>> = Zeroizing::new(
            number
                .rchunks(WORD)
                .map(|word| word.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
                .collect(),
        );
        self.blocks.iter().all(|block| block.passes(&words))
    }
}

impl Block {
    fn new(products: &[Vec<u32>], words: usize) -> Self {
        // Lanes without a product have 1.
        let mut moduli = [1_u32; LANES];
        for (modulus, product) in moduli.iter_mut().zip(products) {
            *modulus = product.iter().product();
        }
        let mut power = [1; LANES];
        let powers = (0..words).map(|_| {
            let this = power;
            for (power, &modulus) in power.iter_mut().zip(&moduli) {
                let next = (u64::from(*power) << (8 * WORD)) % u64::from(modulus);
                *power = u32::try_from(next).expect("a remainder is smaller than the divisor");
            }
            this
        });
        let divisors = products.iter().enumerate().flat_map(|(lane, product)| {
            product.iter().map(move |&prime| Divisor::new(prime, lane))
        });
        Self {
            powers: powers.collect(),
            divisors: divisors.collect(),
        }
    }

    fn passes(&self, words: &[u32]) -> bool {
        let sums = Zeroizing::new(self.sums(words));
        !self
            .divisors
            .iter()
            .any(|divisor| divisor.divides(sums[divisor.lane]))
    }

    fn sums(&self, words: &[u32]) -> [u64; LANES] {
        let mut sums = [0; LANES];
        for (&word, powers) in words.iter().zip(&self.powers) {
            for (sum, &power) in sums.iter_mut().zip(powers) {
                *sum += u64::from(word) * u64::from(power);
            }
        }
        sums
    }
}

/// Small primes are below this, for numbers of `length` bytes.
///
/// A prime `r` costs a division, and spares one of `r` exponentiations, which
/// take as many divisions as the square of the length. Where exactly it lies
/// makes little difference.
fn bound(length: usize) -> u32 {
    u32::try_from(length * length / 2).map_or(MAX_BOUND, |bound| bound.min(MAX_BOUND))
}

/// What products have to stay below: sums of as many products of a word and a
/// power have to go into 64 bits.
fn limit(words: usize) -> u64 {
    let largest = (1 << (8 * WORD)) - 1;
    (u64::MAX / (largest * words as u64)).min(u64::from(u32::MAX))
}

/// The odd primes below the bound, in their order, as many of them together as
/// have a product below the limit.
fn products(bound: u32, limit: u64) -> Vec<Vec<u32>> {
    let mut products: Vec<Vec<u32>> = Vec::new();
    let mut product = limit;
    for prime in odd_primes(bound) {
        match products.last_mut() {
            Some(last) if product * u64::from(prime) < limit => {
                last.push(prime);
                product *= u64::from(prime);
            }
            _ => {
                products.push(vec![prime]);
                product = prime.into();
            }
        }
    }
    products
}

fn odd_primes(bound: u32) -> impl Iterator<Item = u32> {
    let mut composite = vec![false; bound as usize];
    (3..bound).step_by(2).filter(move |&number| {
        let prime = !composite[number as usize];
        if prime {
            let multiples = composite.iter_mut().step_by(number as usize);
            multiples.for_each(|multiple| *multiple = true);
        }
        prime
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primes_are_all_there() {
        let primes: Vec<u32> = odd_primes(8192).collect();
        assert_eq!(primes.len(), 1027, "pi(8192) - 1");
        assert_eq!(primes[..5], [3, 5, 7, 11, 13]);
        assert_eq!(primes[1026], 8191);
    }

    #[test]
    fn products_leave_room_for_sums() {
        for length in [128_usize, 192, 256, 1024] {
            let words = length.div_ceil(WORD);
            for product in products(bound(length), limit(words)) {
                let largest = product
                    .iter()
                    .map(|&prime| u128::from(prime))
                    .product::<u128>()
                    - 1;
                assert!(largest < u128::from(u32::MAX));
                assert!(largest * 0xff_ffff * words as u128 <= u128::from(u64::MAX));
            }
        }
    }

    #[test]
    fn divisors_divide_their_multiples_alone() {
        for prime in [7, 8191, 65521] {
            let divisor = Divisor::new(prime, 0);
            let prime = u64::from(prime);
            for multiple in [0, prime, u64::MAX / prime * prime] {
                assert!(divisor.divides(multiple));
                assert!(!divisor.divides(multiple.wrapping_add(1)));
                assert!(!divisor.divides(multiple.wrapping_sub(1)));
            }
        }
    }

    /// Multiples of each prime, as large as numbers of that length get.
    #[test]
    fn every_prime_sieves() {
        for length in [128, 132, 192, 256, 1024] {
            let sieve = Sieve::new(length);
            for prime in odd_primes(bound(length)) {
                let mut number = vec![0xff; length];
                let rest = number
                    .iter()
                    .fold(0, |rest, &byte| (rest << 8 | u32::from(byte)) % prime);
                let last = u32::from_be_bytes(*number.last_chunk().unwrap()) - rest;
                *number.last_chunk_mut().unwrap() = last.to_be_bytes();
                assert!(!sieve.passes(&number), "{prime}");
            }
        }
    }

    /// Mersenne's, of 127, 1279, 2203 and 9689 bits.
    #[test]
    fn large_primes_pass() {
        for bits in [127, 1279, 2203, 9689_usize] {
            let mut number = vec![0xff; bits.div_ceil(8)];
            number[0] >>= number.len() * 8 - bits;
            assert!(Sieve::new(number.len()).passes(&number), "{bits}");
        }
    }
}
