// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The TPM's storage root key (SRK), which the conversation with the TPM is
//! salted to: the TCG's templates of one, and whether a key fits them.

use p256::elliptic_curve::sec1::FromEncodedPoint;
use p256::{EncodedPoint, PublicKey};
use rsa::{BigUint, RsaPublicKey};
use sha2::{Digest, Sha256};

use super::Name;

/// Where the TCG has the storage key that is kept in the TPM, if one is.
pub const PERSISTENT_STORAGE_KEY: u32 = 0x8100_0001;

/// Whose seed a primary key is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// The owner's.
    Owner,
    /// Nobody's: another one after each reset, and no authorisation is needed.
    Null,
}

/// The algorithms that the TCG has templates for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageAlgorithm {
    /// ECC, NIST P-256.
    P256,
    /// RSA, 2048 bits.
    Rsa2048,
}

impl StorageAlgorithm {
    /// Those that are tried, the best first: an RSA primary takes a TPM seconds.
    pub const ALL: [Self; 2] = [Self::P256, Self::Rsa2048];

    /// The template, but for `unique`, as a TPMT_PUBLIC: templates L-1 and L-2 of
    /// the TCG's EK Credential Profile, with the attributes and the empty policy
    /// that its Provisioning Guidance has for a storage key, section 7.5.1.
    fn parameters(self) -> &'static [u8] {
        match self {
            // ECC, SHA-256; fixedTPM, fixedParent, sensitiveDataOrigin,
            // userWithAuth, noDA, restricted, decrypt; no policy; AES-128-CFB;
            // no scheme, P-256, no KDF.
            Self::P256 => &[
                0x00, 0x23, 0x00, 0x0B, 0x00, 0x03, 0x04, 0x72, 0x00, 0x00, 0x00, 0x06, 0x00, 0x80,
                0x00, 0x43, 0x00, 0x10, 0x00, 0x03, 0x00, 0x10,
            ],
            // RSA; the same; no scheme, 2048 bits, the default exponent.
            Self::Rsa2048 => &[
                0x00, 0x01, 0x00, 0x0B, 0x00, 0x03, 0x04, 0x72, 0x00, 0x00, 0x00, 0x06, 0x00, 0x80,
                0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00,
            ],
        }
    }

    /// The template as a TPMT_PUBLIC, with `unique` full of zeros.
    pub fn template(self) -> Vec<u8> {
        let mut template = self.parameters().to_vec();
        let sizes: &[u16] = match self {
            Self::P256 => &[32, 32],
            Self::Rsa2048 => &[256],
        };
        for size in sizes {
            template.extend(size.to_be_bytes());
            template.extend(vec![0; usize::from(*size)]);
        }
        template
    }
}

/// A storage key as its public area has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageKey {
    name: Name,
    public: Public,
}

/// What salts are encrypted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Public {
    P256 {
        key: PublicKey,
        /// Its first coordinate as the TPM has it, which it computes with: perhaps
        /// without leading zeros.
        x: Vec<u8>,
    },
    Rsa(RsaPublicKey),
}

impl StorageKey {
    /// The storage key with that public area (a marshalled TPMT_PUBLIC), if it is
    /// one by the templates. Its Name is computed, not taken from anybody's word.
    pub fn of(public_area: &[u8]) -> Option<Self> {
        let public = StorageAlgorithm::ALL.into_iter().find_map(|algorithm| {
            let unique = public_area.strip_prefix(algorithm.parameters())?;
            match algorithm {
                StorageAlgorithm::P256 => p256(unique),
                StorageAlgorithm::Rsa2048 => rsa2048(unique),
            }
        })?;
        Some(Self {
            name: Name::of(public_area),
            public,
        })
    }

    /// Its Name.
    pub fn name(&self) -> Name {
        self.name
    }

    pub(super) fn public(&self) -> &Public {
        &self.public
    }
}

/// Two coordinates of a point of the curve. A TPM may leave out leading zeros.
fn p256(unique: &[u8]) -> Option<Public> {
    let (as_is, x, rest) = coordinate(unique)?;
    let (_, y, rest) = coordinate(rest)?;
    let point = EncodedPoint::from_affine_coordinates(&x.into(), &y.into(), false);
    let key = Option::from(PublicKey::from_encoded_point(&point))?;
    rest.is_empty().then(|| Public::P256 {
        key,
        x: as_is.to_vec(),
    })
}

/// A coordinate as it is and in full length, and what follows.
fn coordinate(bytes: &[u8]) -> Option<(&[u8], [u8; 32], &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    let (short, rest) = rest.split_at_checked(u16::from_be_bytes(*size).into())?;
    let mut coordinate = [0; 32];
    coordinate[32_usize.checked_sub(short.len())?..].copy_from_slice(short);
    Some((short, coordinate, rest))
}

fn rsa2048(unique: &[u8]) -> Option<Public> {
    let modulus = unique.strip_prefix(&[0x01, 0x00])?;
    if modulus.len() != 256 || modulus[0] < 0x80 {
        return None;
    }
    // 0 in the parameters stands for this exponent.
    let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), 65537_u32.into());
    key.ok().map(Public::Rsa)
}

impl Name {
    /// The Name of the object with that public area, whose nameAlg is SHA-256:
    /// Part 1, section 16.
    pub(super) fn of(public_area: &[u8]) -> Self {
        let mut name = [0; Self::SIZE];
        name[..2].copy_from_slice(&[0x00, 0x0B]);
        name[2..].copy_from_slice(&Sha256::digest(public_area));
        Self(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point() -> Vec<u8> {
        let point = p256::SecretKey::from_slice(&[7; 32]).unwrap().public_key();
        let point = EncodedPoint::from(point);
        let (x, y) = (point.x().unwrap(), point.y().unwrap());
        [&[0, 32][..], x, &[0, 32], y].concat()
    }

    #[test]
    fn templates() {
        let template = StorageAlgorithm::P256.template();
        assert_eq!(template.len(), 22 + 2 * 34);
        // Zeros are no point of the curve.
        assert_eq!(StorageKey::of(&template), None);
        let template = StorageAlgorithm::Rsa2048.template();
        assert_eq!(template.len(), 24 + 2 + 256 - 2 + 2);
        assert_eq!(StorageKey::of(&template), None);
    }

    #[test]
    fn what_is_a_storage_key() {
        let ecc = [StorageAlgorithm::P256.parameters(), &point()].concat();
        let modulus = [&[1, 0][..], &[0xFF; 256]].concat();
        let rsa = [StorageAlgorithm::Rsa2048.parameters(), &modulus].concat();
        for area in [ecc, rsa] {
            let key = StorageKey::of(&area).unwrap();
            assert_eq!(key.name().as_bytes()[2..], Sha256::digest(&area)[..]);
            assert_eq!(StorageKey::of(&area[..area.len() - 1]), None);
            assert_eq!(StorageKey::of(&[&area[..], &[0]].concat()), None);
            for place in 0..22 {
                let mut other = area.clone();
                other[place] ^= 1;
                assert_eq!(StorageKey::of(&other), None, "{place}");
            }
        }
    }

    #[test]
    fn a_coordinate_without_its_leading_zeros() {
        let point = (1..u16::MAX)
            .map(|number| {
                let mut secret = [0; 32];
                secret[30..].copy_from_slice(&number.to_be_bytes());
                EncodedPoint::from(p256::SecretKey::from_slice(&secret).unwrap().public_key())
            })
            .find(|point| point.x().unwrap()[0] == 0)
            .unwrap();
        let (x, y) = (point.x().unwrap(), point.y().unwrap());
        for x in [&x[..], &x[1..]] {
            let size = [0, u8::try_from(x.len()).unwrap()];
            let unique = [&size[..], x, &[0, 32], y].concat();
            let area = [StorageAlgorithm::P256.parameters(), &unique].concat();
            let Public::P256 { key, x: kept } = StorageKey::of(&area).unwrap().public else {
                panic!("it is of P-256");
            };
            assert_eq!(EncodedPoint::from(key), point);
            assert_eq!(kept, x);
        }
    }

    #[test]
    fn a_point_that_is_not_on_the_curve_is_no_key() {
        let mut area = [StorageAlgorithm::P256.parameters(), &point()].concat();
        *area.last_mut().unwrap() ^= 1;
        assert_eq!(StorageKey::of(&area), None);
    }
}
