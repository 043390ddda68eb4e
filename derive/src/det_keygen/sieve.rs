// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Trial division: seven of eight candidates need no more.

use zeroize::Zeroizing;

/// Small primes are below this.
const BELOW: u32 = 8192;

/// As many products are tried at a time.
const LANES: usize = 64;

/// Divides numbers of one length by all odd primes below [`BELOW`].
///
/// Primes are multiplied to products as large as go. With the 32-bit words
/// `w[i]` of a number, least significant first, and `2^(32 i) mod product` from
/// a table, `sum(w[i] * table[i]) mod product` has the number's remainders, and
/// takes one multiplication for each word.
pub(super) struct Sieve {
    products: Vec<Product>,
    /// For each word of a number, `2^(32 i)` modulo each of the products.
    powers: Vec<Vec<u32>>,
}

struct Product {
    value: u32,
    primes: Vec<u32>,
}

impl Sieve {
    /// For numbers of `length` bytes, a multiple of 4.
    pub(super) fn new(length: usize) -> Self {
        let words = length.div_ceil(4);
        // The largest that a sum of products of 32-bit words has room for.
        let limit = u64::MAX / (u64::from(u32::MAX) * words as u64);
        let products = products(limit);
        let mut power: Vec<u32> = products.iter().map(|_| 1).collect();
        let powers = (0..words)
            .map(|_| {
                let this = power.clone();
                for (power, product) in power.iter_mut().zip(&products) {
                    *power = remainder(u64::from(*power) << 32, product.value);
                }
                this
            })
            .collect();
        Self { products, powers }
    }

    /// Whether no small prime divides the number, which is odd and larger than
    /// all of them.
    pub(super) fn passes(&self, number: &[u8]) -> bool {
        debug_assert_eq!(number.len().div_ceil(4), self.powers.len());
        let words: Zeroizing<Vec<u64>> = Zeroizing::new(
            number
                .rchunks(4)
                .map(|word| word.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
                .collect(),
        );
        let tables = self.products.chunks(LANES).enumerate();
        tables.into_iter().all(|(at, products)| {
            let lanes = at * LANES..at * LANES + products.len();
            let mut sums = Zeroizing::new([0_u64; LANES]);
            for (&word, powers) in words.iter().zip(&self.powers) {
                for (sum, &power) in sums.iter_mut().zip(&powers[lanes.clone()]) {
                    *sum += word * u64::from(power);
                }
            }
            sums.iter().zip(products).all(|(&sum, product)| {
                let rest = remainder(sum, product.value);
                product
                    .primes
                    .iter()
                    .all(|&prime| !rest.is_multiple_of(prime))
            })
        })
    }
}

fn remainder(of: u64, by: u32) -> u32 {
    u32::try_from(of % u64::from(by)).expect("a remainder is smaller than the divisor")
}

/// The odd primes below [`BELOW`], multiplied as long as products stay below the
/// limit.
fn products(limit: u64) -> Vec<Product> {
    let mut products: Vec<Product> = Vec::new();
    for prime in odd_primes() {
        match products.last_mut() {
            Some(last) if u64::from(last.value) * u64::from(prime) < limit => {
                last.value *= prime;
                last.primes.push(prime);
            }
            _ => products.push(Product {
                value: prime,
                primes: vec![prime],
            }),
        }
    }
    products
}

fn odd_primes() -> impl Iterator<Item = u32> {
    let mut primes: Vec<u32> = Vec::new();
    for number in (3..BELOW).step_by(2) {
        let mut divisors = primes.iter().take_while(|&prime| prime * prime <= number);
        if divisors.all(|&prime| !number.is_multiple_of(prime)) {
            primes.push(number);
        }
    }
    primes.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primes_are_all_there() {
        let primes: Vec<u32> = odd_primes().collect();
        assert_eq!(primes.len(), 1027, "pi(8192) - 1");
        assert_eq!(primes[..5], [3, 5, 7, 11, 13]);
        assert_eq!(primes[1026], 8191);
    }

    #[test]
    fn products_leave_room_for_sums() {
        for words in [32, 48, 64, 256] {
            let limit = u64::MAX / (u64::from(u32::MAX) * words);
            for product in products(limit) {
                let largest = u128::from(product.value - 1) * u128::from(u32::MAX);
                assert!(largest * u128::from(words) <= u128::from(u64::MAX));
            }
        }
    }

    /// Multiples of each prime, as large as numbers of that length get.
    #[test]
    fn every_prime_sieves() {
        for length in [128, 132, 192, 256, 1024] {
            let sieve = Sieve::new(length);
            for prime in odd_primes() {
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
}
