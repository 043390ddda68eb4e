// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a root key is: section 1 of `docs/derivation.md`.

use tpm2_protocol::data::{
    Tpm2bDigest, TpmAlgId, TpmaObject, TpmsKeyedhashParms, TpmsSchemeHash, TpmtKeyedhashScheme,
    TpmtPublic, TpmuKeyedhashScheme, TpmuPublicId, TpmuPublicParms,
};
use tpm2_protocol::{TpmMarshal, TpmResult, TpmWriter};

use super::Name;

/// `unique` of the template.
const UNIQUE: &[u8] = b"tpm-derived-keys v1";

pub(super) const SHA256_SCHEME: TpmsSchemeHash = TpmsSchemeHash {
    hash_alg: TpmAlgId::Sha256,
};

/// The template, 35 bytes as a TPMT_PUBLIC.
pub(super) fn template() -> TpmResult<TpmtPublic> {
    Ok(TpmtPublic {
        object_type: TpmAlgId::KeyedHash,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::SENSITIVE_DATA_ORIGIN
            | TpmaObject::USER_WITH_AUTH
            | TpmaObject::NO_DA
            | TpmaObject::SIGN_ENCRYPT,
        auth_policy: Tpm2bDigest::default(),
        parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms {
            scheme: TpmtKeyedhashScheme {
                scheme: TpmAlgId::Hmac,
                details: TpmuKeyedhashScheme::Hmac(SHA256_SCHEME),
            },
        }),
        unique: TpmuPublicId::KeyedHash(Tpm2bDigest::try_from(UNIQUE)?),
    })
}

impl Name {
    /// The Name of the object with that public area (a marshalled TPMT_PUBLIC),
    /// if it could be a root key: if it is the template with 32 bytes of the
    /// TPM's in the place of `unique`.
    ///
    /// It is computed, not taken from anybody's word.
    pub fn of_root(public_area: &[u8]) -> Option<Self> {
        let mut buffer = [0; 128];
        let mut writer = TpmWriter::new(&mut buffer);
        template().ok()?.marshal(&mut writer).ok()?;
        let before_unique = writer.as_bytes().strip_suffix(UNIQUE)?;
        let before_unique = &before_unique[..before_unique.len().checked_sub(2)?];
        match public_area.strip_prefix(before_unique)? {
            [0, 32, unique @ ..] if unique.len() == 32 => {}
            _ => return None,
        }
        Some(Self::of(public_area))
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn public_area(unique: &[u8]) -> Vec<u8> {
        let before = [
            0, 0x08, 0, 0x0B, 0, 0x04, 0x04, 0x72, 0, 0, 0, 0x05, 0, 0x0B,
        ];
        let length = u16::try_from(unique.len()).unwrap().to_be_bytes();
        [&before, &length[..], unique].concat()
    }

    #[test]
    fn the_template() {
        let mut buffer = [0; 128];
        let mut writer = TpmWriter::new(&mut buffer);
        template().unwrap().marshal(&mut writer).unwrap();
        assert_eq!(writer.as_bytes(), public_area(UNIQUE));
    }

    #[test]
    fn what_could_be_a_root_key() {
        let root = public_area(&[7; 32]);
        let name = Name::of_root(&root).unwrap();
        assert_eq!(name.as_bytes()[..2], [0, 0x0B]);
        assert_eq!(name.as_bytes()[2..], Sha256::digest(&root)[..]);
        for other in [
            public_area(UNIQUE),
            public_area(&[7; 31]),
            public_area(&[7; 33]),
            root[..root.len() - 1].to_vec(),
            [&root[..], &[0]].concat(),
            Vec::new(),
        ] {
            assert_eq!(Name::of_root(&other), None);
        }
        for place in 0..16 {
            let mut other = root.clone();
            other[place] ^= 1;
            assert_eq!(Name::of_root(&other), None, "{place}");
        }
    }
}
