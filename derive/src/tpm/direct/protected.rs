// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A session that protects commands: TPM 2.0 Part 1, sections 11.4.10 (key
//! derivation), 19.6 (HMAC sessions) and 21 (parameter encryption), with what
//! annexes B.10.2 and C.6.1 have on secrets that are shared by RSA and ECC.
//!
//! The session's key comes from a salt that only the TPM with the storage key can
//! decrypt. From it every command and every answer has an HMAC, and the first
//! parameter of each is encrypted where that is asked for. A session without salt has
//! an empty key: it is for showing that one knows an authorisation value.
//!
//! One session at a time, and SHA-256 throughout. The session is also what the command
//! is authorised by, or stands beside the empty password that it is authorised by.

use aes::Aes128;
use aes::cipher::{AsyncStreamCipher, KeyIvInit};
use hmac::{Hmac, Mac};
use p256::ecdh::EphemeralSecret;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use rsa::Oaep;
use rsa::rand_core::{OsRng, RngCore};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::tpm::storage_key::{Public, StorageKey};

/// Bits of TPMA_SESSION: Part 2, section 8.4.
const CONTINUE_SESSION: u8 = 1 << 0;
/// The command's first parameter is encrypted.
pub(super) const DECRYPT: u8 = 1 << 5;
/// The answer's first parameter is encrypted.
pub(super) const ENCRYPT: u8 = 1 << 6;

/// 32 secret bytes.
type Secret = Zeroizing<[u8; 32]>;

/// As long as a digest of the session's hash algorithm: the most that is of use.
pub(super) type Nonce = [u8; 32];

/// What a session can authorise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whatever has an authorisation value.
    Hmac,
    /// Whatever has a policy.
    Policy,
}

/// What a command is authorised by.
#[derive(Clone, Copy)]
pub(super) enum Authority<'a> {
    /// The session, for something with that authorisation value.
    Session(&'a [u8]),
    /// The empty password. The session stands beside it.
    Password,
}

/// An empty password among a command's sessions: TPM_RS_PW, no nonce, no attributes, no
/// password.
const PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no answer to a command in a session.
    Malformed,
    /// Its HMAC is not that of the TPM with the storage key.
    Forged,
}

pub(super) fn nonce() -> Nonce {
    let mut nonce = Nonce::default();
    OsRng.fill_bytes(&mut nonce);
    nonce
}

/// A salt, and how it is told to the TPM: what an encryptedSalt
/// (TPM2B_ENCRYPTED_SECRET) holds.
pub(super) struct Salt {
    pub(super) salt: Secret,
    pub(super) encrypted: Vec<u8>,
}

impl Salt {
    /// Makes a salt for whoever has that storage key. `None` if it can't be
    /// encrypted to it.
    pub(super) fn for_key(key: &StorageKey) -> Option<Self> {
        match key.public() {
            Public::P256 { key, x } => {
                let ephemeral = EphemeralSecret::random(&mut OsRng);
                let ours = ephemeral.public_key().to_encoded_point(false);
                let shared = ephemeral.diffie_hellman(key);
                let salt = kdfe(shared.raw_secret_bytes(), "SECRET", ours.x()?, x);
                let size = [0, 32];
                // A TPMS_ECC_POINT.
                let encrypted = [&size[..], ours.x()?, &size, ours.y()?].concat();
                Some(Self { salt, encrypted })
            }
            Public::Rsa(public) => {
                let mut salt = Secret::default();
                OsRng.fill_bytes(&mut *salt);
                let padding = Oaep::new_with_label::<Sha256, _>("SECRET\0");
                let encrypted = public.encrypt(&mut OsRng, padding, &*salt).ok()?;
                Some(Self { salt, encrypted })
            }
        }
    }
}

/// A session that the TPM has started.
pub(super) struct Protected {
    handle: u32,
    kind: Kind,
    /// `None` without salt.
    key: Option<Secret>,
    nonce_tpm: Vec<u8>,
    /// Of the command that waits for its answer: whether a password is before the
    /// session, what the HMAC is keyed by, the nonce, the attributes.
    is_second: bool,
    value: Zeroizing<Vec<u8>>,
    nonce_caller: Nonce,
    attributes: u8,
}

impl std::fmt::Debug for Protected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Protected(0x{:08x})", self.handle)
    }
}

impl Protected {
    pub(super) fn new(
        handle: u32,
        kind: Kind,
        salt: Option<&Salt>,
        nonce_tpm: &[u8],
        nonce_caller: Nonce,
    ) -> Self {
        Self {
            handle,
            kind,
            key: salt.map(|salt| kdfa(&*salt.salt, "ATH", nonce_tpm, &nonce_caller)),
            nonce_tpm: nonce_tpm.to_vec(),
            is_second: false,
            value: Zeroizing::default(),
            nonce_caller,
            attributes: 0,
        }
    }

    pub(super) fn handle(&self) -> u32 {
        self.handle
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The authorisation area of a command, whose parameters are encrypted on the way
    /// if `attributes` say so. The session goes on after it.
    pub(super) fn authorize(
        &mut self,
        code: u32,
        names: &[u8],
        auth: Authority<'_>,
        parameters: &mut [u8],
        attributes: u8,
    ) -> Vec<u8> {
        self.authorize_with(nonce(), code, names, auth, parameters, attributes)
    }

    fn authorize_with(
        &mut self,
        nonce: Nonce,
        code: u32,
        names: &[u8],
        auth: Authority<'_>,
        parameters: &mut [u8],
        attributes: u8,
    ) -> Vec<u8> {
        self.attributes = attributes | CONTINUE_SESSION;
        self.nonce_caller = nonce;
        let key = self.key.as_ref().map_or(&[][..], |key| &key[..]);
        self.is_second = matches!(auth, Authority::Password);
        let (password, auth) = match auth {
            Authority::Session(auth) => (&[][..], auth),
            Authority::Password => (&PASSWORD[..], &[][..]),
        };
        // In one piece from the start: what grows is moved, and leaves copies.
        self.value = Zeroizing::new([key, auth].concat());
        if self.attributes & DECRYPT != 0
            && let Some(first) = first_parameter(parameters)
        {
            self.cipher(&self.nonce_caller, &self.nonce_tpm)
                .encrypt(first);
        }
        let command = Sha256::new()
            .chain_update(code.to_be_bytes())
            .chain_update(names)
            .chain_update(parameters)
            .finalize();
        let mac = self.mac(&command, &self.nonce_caller, &self.nonce_tpm);
        let mac = mac.finalize().into_bytes();
        let size = [0, 32];
        [
            password,
            &self.handle.to_be_bytes(),
            &size,
            &self.nonce_caller,
            &[self.attributes],
            &size,
            &mac,
        ]
        .concat()
    }

    /// Checks what follows the handles of an answer without error, and decrypts
    /// what is encrypted.
    pub(super) fn check(&mut self, code: u32, body: &mut [u8]) -> Result<(), Fault> {
        let (size, rest) = body.split_first_chunk_mut().ok_or(Fault::Malformed)?;
        let size = usize::try_from(u32::from_be_bytes(*size)).map_err(|_| Fault::Malformed)?;
        let (parameters, area) = rest.split_at_mut_checked(size).ok_or(Fault::Malformed)?;
        let mut area = &*area;
        if self.is_second {
            (_, area) = acknowledged(area).ok_or(Fault::Malformed)?;
        }
        let ((nonce_tpm, attributes, mac), rest) = acknowledged(area).ok_or(Fault::Malformed)?;
        if !rest.is_empty() {
            return Err(Fault::Malformed);
        }
        let response = Sha256::new()
            .chain_update([0; 4])
            .chain_update(code.to_be_bytes())
            .chain_update(&*parameters)
            .finalize();
        if attributes != self.attributes {
            return Err(Fault::Forged);
        }
        self.mac(&response, nonce_tpm, &self.nonce_caller)
            .verify_slice(mac)
            .map_err(|_| Fault::Forged)?;
        self.nonce_tpm = nonce_tpm.to_vec();
        if self.attributes & ENCRYPT != 0 {
            let first = first_parameter(parameters).ok_or(Fault::Malformed)?;
            self.cipher(&self.nonce_tpm, &self.nonce_caller)
                .decrypt(first);
        }
        Ok(())
    }

    /// Part 1, section 19.6.5.
    fn mac(&self, parameters: &[u8], newer: &[u8], older: &[u8]) -> Hmac<Sha256> {
        keyed(&self.value)
            .chain_update(parameters)
            .chain_update(newer)
            .chain_update(older)
            .chain_update([self.attributes])
    }

    fn cipher(&self, newer: &[u8], older: &[u8]) -> Cipher {
        Cipher(kdfa(&self.value, "CFB", newer, older))
    }
}

/// AES-128-CFB with the key and the initialisation vector of Part 1, section 21.3.
struct Cipher(Secret);

impl Cipher {
    fn encrypt(&self, data: &mut [u8]) {
        let (key, vector) = self.0.split_at(16);
        cfb_mode::Encryptor::<Aes128>::new(key.into(), vector.into()).encrypt(data);
    }

    fn decrypt(&self, data: &mut [u8]) {
        let (key, vector) = self.0.split_at(16);
        cfb_mode::Decryptor::<Aes128>::new(key.into(), vector.into()).decrypt(data);
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes any key")
}

/// KDFa of Part 1, section 11.4.10.2: 256 bits, by HMAC-SHA256.
fn kdfa(key: &[u8], label: &str, context_u: &[u8], context_v: &[u8]) -> Secret {
    let mac = keyed(key)
        .chain_update(1_u32.to_be_bytes())
        .chain_update(label)
        .chain_update([0])
        .chain_update(context_u)
        .chain_update(context_v)
        .chain_update(256_u32.to_be_bytes());
    wiped(mac.finalize().into_bytes())
}

/// KDFe of Part 1, section 11.4.10.3: 256 bits, by SHA-256.
fn kdfe(shared: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Secret {
    let digest = Sha256::new()
        .chain_update(1_u32.to_be_bytes())
        .chain_update(shared)
        .chain_update(label)
        .chain_update([0])
        .chain_update(party_u)
        .chain_update(party_v);
    wiped(digest.finalize())
}

fn wiped(mut bytes: sha2::digest::Output<Sha256>) -> Secret {
    let secret = Secret::new(bytes.into());
    bytes.as_mut_slice().zeroize();
    secret
}

/// The content of a TPM2B at the beginning.
fn first_parameter(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let (size, rest) = parameters.split_first_chunk_mut()?;
    rest.get_mut(..u16::from_be_bytes(*size).into())
}

/// A TPM2B, and what follows.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*size).into())
}

/// The nonce, the attributes and the HMAC of the first session of an answer: a
/// TPMS_AUTH_RESPONSE (Part 2, section 10.13.3), and what follows.
#[expect(clippy::type_complexity, reason = "three fields and a rest")]
fn acknowledged(area: &[u8]) -> Option<((&[u8], u8, &[u8]), &[u8])> {
    let (nonce, rest) = sized(area)?;
    let (attributes, rest) = rest.split_first()?;
    let (mac, rest) = sized(rest)?;
    Some(((nonce, *attributes, mac), rest))
}

#[cfg(feature = "fuzzing")]
impl Protected {
    /// A session that waits for an answer.
    pub(super) fn fixed(attributes: u8, is_second: bool) -> Self {
        Self {
            handle: 0x0200_0000,
            kind: Kind::Hmac,
            key: Some(Secret::new([1; 32])),
            nonce_tpm: vec![2; 32],
            is_second,
            value: Zeroizing::new(vec![1; 32]),
            nonce_caller: [3; 32],
            attributes: attributes | CONTINUE_SESSION,
        }
    }

    /// An answer with these parameters, as the TPM would make it that has the key.
    pub(super) fn sealed(&self, code: u32, parameters: &[u8]) -> Vec<u8> {
        let nonce_tpm = [4; 32];
        let response = Sha256::new()
            .chain_update([0; 4])
            .chain_update(code.to_be_bytes())
            .chain_update(parameters)
            .finalize();
        let mac = self.mac(&response, &nonce_tpm, &self.nonce_caller);
        let size = u32::try_from(parameters.len()).unwrap_or(u32::MAX);
        // A password's: no nonce, continueSession, no HMAC.
        let password: &[u8] = if self.is_second {
            &[0, 0, 1, 0, 0]
        } else {
            &[]
        };
        [
            &size.to_be_bytes()[..],
            parameters,
            password,
            &[0, 32],
            &nonce_tpm,
            &[self.attributes],
            &[0, 32],
            &mac.finalize().into_bytes(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests;
