// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RSA, ECDSA and Ed25519 keys in OpenSSH's formats.

use ssh_key::private::{EcdsaKeypair, EcdsaPrivateKey, Ed25519Keypair, KeypairData, RsaKeypair};
use ssh_key::{LineEnding, PublicKey};
use tpm_derived_keys::det_keygen::PrivateKey;
use zeroize::Zeroizing;

use crate::error::Error;

/// The private key as `ssh-keygen` stores it, without a passphrase.
pub(crate) fn private(key: &PrivateKey, comment: &str) -> Result<Zeroizing<String>, Error> {
    Ok(ssh_key::PrivateKey::new(pair(key)?, comment)?.to_openssh(LineEnding::LF)?)
}

/// The public key as a line of `authorized_keys`.
pub(crate) fn public(key: &PrivateKey, comment: &str) -> Result<String, Error> {
    let key = ssh_key::PrivateKey::new(pair(key)?, comment)?;
    let mut line = PublicKey::from(&key).to_openssh()?;
    line.push('\n');
    Ok(line)
}

fn pair(key: &PrivateKey) -> Result<KeypairData, Error> {
    Ok(match key {
        PrivateKey::Rsa(key) => RsaKeypair::try_from(&**key)?.into(),
        PrivateKey::P256(key) => EcdsaKeypair::NistP256 {
            public: key.public_key().into(),
            private: EcdsaPrivateKey::from(key.clone()),
        }
        .into(),
        PrivateKey::P384(key) => EcdsaKeypair::NistP384 {
            public: key.public_key().into(),
            private: EcdsaPrivateKey::from(key.clone()),
        }
        .into(),
        PrivateKey::Ed25519(key) => Ed25519Keypair::from(&**key).into(),
        _ => return Err(Error::Usage("OpenSSH has no such keys".into())),
    })
}
