// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `/proc/<tid>/auxv`: what the kernel told a program when it started it, as getauxval(3)
//! describes it. Pairs of two words, in the size that the program has.

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_ENTRY: u64 = 9;
const AT_SECURE: u64 = 23;

/// No kernel numbers them higher.
const MOST: u64 = 0xffff;

/// What is looked at of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Auxv {
    /// Where the program headers of the executable are.
    headers: Option<u64>,
    /// Where it begins.
    entry: Option<u64>,
    /// Whether it was started with rights that who started it does not have.
    pub(super) secure: bool,
}

impl Auxv {
    /// Reads it. Nothing is an error: what is not there is not known.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let pairs = pairs::<8>(bytes, u64::from_ne_bytes)
            .or_else(|| pairs::<4>(bytes, |word| u32::from_ne_bytes(word).into()));
        let mut auxv = Self::default();
        for (key, value) in pairs.unwrap_or_default() {
            match key {
                AT_PHDR => auxv.headers = Some(value),
                AT_ENTRY => auxv.entry = Some(value),
                AT_SECURE => auxv.secure = value != 0,
                _ => {}
            }
        }
        auxv
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn beginning_at(address: u64) -> Self {
        Self {
            entry: Some(address),
            ..Self::default()
        }
    }

    /// Addresses at which the executable is mapped.
    pub(super) fn addresses(self) -> impl Iterator<Item = u64> {
        [self.headers, self.entry].into_iter().flatten()
    }
}

/// The pairs up to the one that ends them; nothing if these are no words of that size.
fn pairs<const SIZE: usize>(
    bytes: &[u8],
    word: impl Fn([u8; SIZE]) -> u64,
) -> Option<Vec<(u64, u64)>> {
    let (words, _) = bytes.as_chunks::<SIZE>();
    let words: Vec<u64> = words.iter().map(|bytes| word(*bytes)).collect();
    let mut pairs = Vec::new();
    for pair in words.chunks_exact(2) {
        match pair[0] {
            AT_NULL => break,
            key if key > MOST => return None,
            key => pairs.push((key, pair[1])),
        }
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sizes() {
        let vector: [u64; 10] = [33, 0x7ffe_0000, 3, 0x40_0040, 9, 0x40_1000, 23, 1, 0, 0];
        let expected = Auxv {
            headers: Some(0x40_0040),
            entry: Some(0x40_1000),
            secure: true,
        };
        let wide: Vec<u8> = vector.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(Auxv::parse(&wide), expected);
        let narrow = vector.map(|word| u32::try_from(word).unwrap());
        let narrow: Vec<u8> = narrow.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(Auxv::parse(&narrow), expected);
    }

    #[test]
    fn whatever_it_is() {
        let nothing = Auxv::default();
        for bytes in [&[][..], &[0; 16], &[3; 7], &[0xff; 64]] {
            assert_eq!(Auxv::parse(bytes), nothing, "{bytes:?}");
        }
        // Behind the end is nothing.
        let ended: Vec<u8> = [0, 0, 3, 7_u64]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        assert_eq!(Auxv::parse(&ended), nothing);
        let own = Auxv::parse(&std::fs::read("/proc/self/auxv").unwrap());
        assert_eq!(own.addresses().count(), 2);
        assert!(!own.secure);
    }
}
