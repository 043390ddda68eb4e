// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands of a derivation, and what is taken from their responses.

use tpm2_protocol::basic::{TpmHandle, TpmUint32};
use tpm2_protocol::data::{
    Tpm2bAuth, Tpm2bData, Tpm2bDigest, Tpm2bEncryptedSecret, Tpm2bMaxBuffer, Tpm2bNonce,
    Tpm2bPublic, Tpm2bSensitiveCreate, TpmAlgId, TpmCap, TpmPt, TpmRh, TpmSe, TpmSt,
    TpmlPcrSelection, TpmsAuthCommand, TpmtPublic, TpmtSigScheme, TpmtSymDefObject,
    TpmtTkHashcheck, TpmuCapabilities, TpmuSigScheme, TpmuSymKeyBits, TpmuSymMode,
};
use tpm2_protocol::frame::{
    TpmCreatePrimaryCommand, TpmCreatePrimaryResponse, TpmFlushContextCommand, TpmFrame,
    TpmGetCapabilityCommand, TpmGetCapabilityResponse, TpmHmacCommand, TpmHmacStartCommand,
    TpmPolicyPcrCommand, TpmReadPublicCommand, TpmReadPublicResponse, TpmResponse,
    TpmSequenceCompleteCommand, TpmSignCommand, TpmStartAuthSessionCommand,
    TpmStartAuthSessionResponse, tpm_marshal_command,
};
use tpm2_protocol::{TpmMarshal, TpmResult, TpmUnmarshal, TpmWriter};
use zeroize::Zeroizing;

use super::link::MOST;
use super::protected::{Authority, Kind, Nonce, Protected};
use crate::identity::IdentityDigest;
use crate::tpm::connection::{Created, Object, SequencePassword, Unfit};
use crate::tpm::root::{SHA256_SCHEME, template};
use crate::tpm::{Hierarchy, LoadedRoot, PcrPolicy, StorageAlgorithm};

/// Handles of transient objects begin here (Part 2, section 7.2).
const TRANSIENT_FIRST: u32 = 0x8000_0000;

/// Handles of loaded sessions, HMAC and others, begin here.
const LOADED_SESSION_FIRST: u32 = 0x0200_0000;

/// More than any command here has.
const LONGEST: usize = 1024;

/// A command, marshalled.
pub(super) struct Marshalled {
    buffer: [u8; LONGEST],
    length: usize,
}

impl Marshalled {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    fn new(command: &impl TpmFrame, authorized: bool) -> TpmResult<Self> {
        // The empty password: the owner hierarchy's, or the root key's.
        let password = [TpmsAuthCommand {
            session_handle: TpmHandle::from(TpmRh::Pw.value()),
            ..TpmsAuthCommand::default()
        }];
        let (tag, sessions) = if authorized {
            (TpmSt::Sessions, &password[..])
        } else {
            (TpmSt::NoSessions, &[][..])
        };
        let mut buffer = [0; LONGEST];
        let mut writer = TpmWriter::new(&mut buffer);
        tpm_marshal_command(command, tag, sessions, &mut writer)?;
        let length = writer.len();
        Ok(Self { buffer, length })
    }

    /// In a session. The command's handles have these Names, one after the other.
    fn protected(
        command: &impl TpmFrame,
        session: &mut Protected,
        names: &[u8],
        auth: Authority<'_>,
        attributes: u8,
    ) -> TpmResult<Self> {
        let code = command.cc().value();
        let mut parameters = [0; LONGEST];
        let mut writer = TpmWriter::new(&mut parameters);
        command.marshal_parameters(&mut writer)?;
        let length = writer.len();
        let parameters = &mut parameters[..length];
        let area = session.authorize(code, names, auth, parameters, attributes);

        let mut buffer = [0; LONGEST];
        let mut writer = TpmWriter::new(&mut buffer);
        TpmSt::Sessions.marshal(&mut writer)?;
        writer.write_bytes(&[0; 4])?;
        command.cc().marshal(&mut writer)?;
        command.marshal_handles(&mut writer)?;
        let size = u32::try_from(area.len()).unwrap_or_default();
        writer.write_bytes(&size.to_be_bytes())?;
        writer.write_bytes(&area)?;
        writer.write_bytes(parameters)?;
        let length = writer.len();
        let size = u32::try_from(length).unwrap_or_default();
        buffer[2..6].copy_from_slice(&size.to_be_bytes());
        Ok(Self { buffer, length })
    }
}

/// A command that is authorised by the empty password, or by a session.
pub(super) struct Authorized<C> {
    command: C,
    /// Of its one handle.
    name: Vec<u8>,
    auth: Auth,
}

/// The authorisation value of what a command's one handle is of.
enum Auth {
    /// The owner hierarchy's, which it may have.
    Owners,
    /// One that it was given.
    Given(SequencePassword),
    /// It is empty.
    Empty,
}

impl<C: TpmFrame> Authorized<C> {
    pub(super) fn code(&self) -> u32 {
        self.command.cc().value()
    }

    /// By the empty password.
    pub(super) fn by_password(&self) -> TpmResult<Marshalled> {
        Marshalled::new(&self.command, true)
    }

    /// By a session, or beside one that can't authorise it. The owner hierarchy has that
    /// authorisation value.
    pub(super) fn by(
        &self,
        session: &mut Protected,
        owner_auth: &[u8],
        attributes: u8,
    ) -> TpmResult<Marshalled> {
        let auth = match (&self.auth, session.kind()) {
            (Auth::Owners, _) => Authority::Session(owner_auth),
            (Auth::Given(auth), _) => Authority::Session(&auth[..]),
            (Auth::Empty, Kind::Hmac) => Authority::Session(&[]),
            (Auth::Empty, Kind::Policy) => Authority::Password,
        };
        Marshalled::protected(&self.command, session, &self.name, auth, attributes)
    }
}

fn primary(hierarchy: Hierarchy, template: TpmtPublic) -> Authorized<TpmCreatePrimaryCommand> {
    let handle = match hierarchy {
        Hierarchy::Owner => TpmRh::Owner.value(),
        Hierarchy::Null => TpmRh::Null.value(),
    };
    Authorized {
        command: TpmCreatePrimaryCommand {
            handles: [TpmHandle::from(handle)],
            in_sensitive: Tpm2bSensitiveCreate::default(),
            in_public: Tpm2bPublic { inner: template },
            outside_info: Tpm2bData::default(),
            creation_pcr: TpmlPcrSelection::default(),
        },
        // A hierarchy's Name is its handle.
        name: handle.to_be_bytes().to_vec(),
        auth: match hierarchy {
            Hierarchy::Owner => Auth::Owners,
            Hierarchy::Null => Auth::Empty,
        },
    }
}

pub(super) fn create_primary() -> TpmResult<Authorized<TpmCreatePrimaryCommand>> {
    Ok(primary(Hierarchy::Owner, template()?))
}

pub(super) fn create_storage_key(
    hierarchy: Hierarchy,
    algorithm: StorageAlgorithm,
) -> TpmResult<Authorized<TpmCreatePrimaryCommand>> {
    let template = algorithm.template();
    let (template, _) = TpmtPublic::unmarshal(&template)?;
    Ok(primary(hierarchy, template))
}

/// TPM2_StartAuthSession: AES-128-CFB, SHA-256, bound to nothing, salted to that key if
/// there is one.
pub(super) fn start_auth_session(
    kind: Kind,
    key: Option<u32>,
    nonce: &Nonce,
    encrypted_salt: &[u8],
) -> TpmResult<Marshalled> {
    let nothing = TpmRh::Null.value();
    let command = TpmStartAuthSessionCommand {
        handles: [key.unwrap_or(nothing), nothing].map(TpmHandle::from),
        nonce_caller: Tpm2bNonce::try_from(&nonce[..])?,
        encrypted_salt: Tpm2bEncryptedSecret::try_from(encrypted_salt)?,
        session_type: match kind {
            Kind::Hmac => TpmSe::Hmac,
            Kind::Policy => TpmSe::Policy,
        },
        symmetric: TpmtSymDefObject {
            algorithm: TpmAlgId::Aes,
            key_bits: TpmuSymKeyBits::Aes(128.into()),
            mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
        },
        auth_hash: TpmAlgId::Sha256,
    };
    Marshalled::new(&command, false)
}

/// TPM2_PolicyPCR, with whatever values the PCRs have.
pub(super) fn policy_pcr(session: u32, policy: &PcrPolicy) -> TpmResult<Marshalled> {
    let (pcrs, _) = TpmlPcrSelection::unmarshal(&policy.selection())?;
    let command = TpmPolicyPcrCommand {
        handles: [TpmHandle::from(session)],
        pcr_digest: Tpm2bDigest::default(),
        pcrs,
    };
    Marshalled::new(&command, false)
}

pub(super) fn hmac(
    root: &LoadedRoot,
    digest: &IdentityDigest,
) -> TpmResult<Authorized<TpmHmacCommand>> {
    Ok(Authorized {
        command: TpmHmacCommand {
            handles: [TpmHandle::from(root.object)],
            buffer: Tpm2bMaxBuffer::try_from(&digest.as_bytes()[..])?,
            hash_alg: TpmAlgId::Sha256,
        },
        name: root.name.as_bytes().to_vec(),
        auth: Auth::Empty,
    })
}

pub(super) fn hmac_start(
    root: &LoadedRoot,
    password: &SequencePassword,
) -> TpmResult<Authorized<TpmHmacStartCommand>> {
    Ok(Authorized {
        command: TpmHmacStartCommand {
            handles: [TpmHandle::from(root.object)],
            auth: Tpm2bAuth::try_from(&password[..])?,
            hash_alg: TpmAlgId::Sha256,
        },
        name: root.name.as_bytes().to_vec(),
        auth: Auth::Empty,
    })
}

pub(super) fn sequence_complete(
    sequence: u32,
    password: &SequencePassword,
    digest: &IdentityDigest,
) -> TpmResult<Authorized<TpmSequenceCompleteCommand>> {
    Ok(Authorized {
        command: TpmSequenceCompleteCommand {
            handles: [TpmHandle::from(sequence)],
            buffer: Tpm2bMaxBuffer::try_from(&digest.as_bytes()[..])?,
            hierarchy: TpmRh::Null,
        },
        // A sequence has none.
        name: Vec::new(),
        auth: Auth::Given(password.clone()),
    })
}

pub(super) fn sign(root: u32, digest: &IdentityDigest) -> TpmResult<Marshalled> {
    let command = TpmSignCommand {
        handles: [TpmHandle::from(root)],
        digest: Tpm2bDigest::try_from(&digest.as_bytes()[..])?,
        in_scheme: TpmtSigScheme {
            scheme: TpmAlgId::Hmac,
            details: TpmuSigScheme::Hmac(SHA256_SCHEME),
        },
        validation: TpmtTkHashcheck {
            tag: TpmSt::HashCheck,
            hierarchy: TpmRh::Null,
            digest: Tpm2bDigest::default(),
        },
    };
    Marshalled::new(&command, true)
}

pub(super) fn flush_context(handle: u32) -> TpmResult<Marshalled> {
    let command = TpmFlushContextCommand {
        handles: [],
        flush_handle: TpmHandle::from(handle),
    };
    Marshalled::new(&command, false)
}

pub(super) fn transient_handles() -> TpmResult<Marshalled> {
    loaded_handles(TRANSIENT_FIRST)
}

pub(super) fn session_handles() -> TpmResult<Marshalled> {
    loaded_handles(LOADED_SESSION_FIRST)
}

fn loaded_handles(first: u32) -> TpmResult<Marshalled> {
    let command = TpmGetCapabilityCommand {
        handles: [],
        cap: TpmCap::Handles,
        property: TpmUint32::from(first),
        property_count: TpmUint32::from(64),
    };
    Marshalled::new(&command, false)
}

/// `count` properties, the first of which is `first`: no more, because the crate's
/// types know no vendor's own.
pub(super) fn properties(first: TpmPt, count: u32) -> TpmResult<Marshalled> {
    let command = TpmGetCapabilityCommand {
        handles: [],
        cap: TpmCap::TpmProperties,
        property: TpmUint32::from(first.value()),
        property_count: TpmUint32::from(count),
    };
    Marshalled::new(&command, false)
}

pub(super) fn read_public(handle: u32) -> TpmResult<Marshalled> {
    let command = TpmReadPublicCommand {
        handles: [TpmHandle::from(handle)],
    };
    Marshalled::new(&command, false)
}

/// What is wrong with a response.
pub(super) type Wrong = String;

fn wrong(error: tpm2_protocol::TpmError) -> Wrong {
    format!("{error:?}")
}

/// The response code of a header.
pub(super) fn code(response: &[u8; MOST]) -> u32 {
    u32::from_be_bytes([response[6], response[7], response[8], response[9]])
}

/// The handle of a response that has one.
pub(super) fn handle(response: &[u8]) -> Result<u32, Wrong> {
    match response.get(10..14) {
        Some(&[a, b, c, d]) => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err("it has no handle".into()),
    }
}

/// What TPM2_CreatePrimary made, and whether it is a root key: its Name is
/// computed from the public area, not taken from the TPM's word.
pub(super) fn created(response: &[u8]) -> Result<Created, Wrong> {
    let object = handle(response)?;
    let root: TpmCreatePrimaryResponse =
        match TpmResponse::cast(response).and_then(TpmResponse::unmarshal) {
            Ok(response) => response,
            Err(error) => {
                let root = Err(Unfit::Other(wrong(error)));
                return Ok(Created { object, root });
            }
        };
    let public_area = marshalled(&root.out_public.inner)?;
    Ok(Created::new(object, &public_area, root.name.as_ref()))
}

/// The object that TPM2_CreatePrimary made, whatever it is.
pub(super) fn object(response: &[u8]) -> Result<Object, Wrong> {
    let object = handle(response)?;
    let parsed: TpmResult<TpmCreatePrimaryResponse> =
        TpmResponse::cast(response).and_then(TpmResponse::unmarshal);
    let public_area = match parsed {
        Ok(response) => marshalled(&response.out_public.inner)?,
        Err(_) => Vec::new(),
    };
    Ok(Object {
        object,
        public_area,
    })
}

/// The public area that TPM2_ReadPublic read.
pub(super) fn public_area(response: &[u8]) -> Result<Vec<u8>, Wrong> {
    let response: TpmReadPublicResponse = TpmResponse::cast(response)
        .and_then(TpmResponse::unmarshal)
        .map_err(wrong)?;
    marshalled(&response.out_public.inner)
}

/// What TPM2_StartAuthSession started: the session and its nonce.
pub(super) fn started(response: &[u8]) -> Result<(u32, Vec<u8>), Wrong> {
    let session = handle(response)?;
    let response: TpmStartAuthSessionResponse = TpmResponse::cast(response)
        .and_then(TpmResponse::unmarshal)
        .map_err(wrong)?;
    let nonce = response.nonce_tpm.as_ref();
    if nonce.len() < 16 {
        return Err("its nonce is too short".into());
    }
    Ok((session, nonce.to_vec()))
}

fn marshalled(public_area: &TpmtPublic) -> Result<Vec<u8>, Wrong> {
    let mut buffer = [0; 1024];
    let mut writer = TpmWriter::new(&mut buffer);
    public_area.marshal(&mut writer).map_err(wrong)?;
    Ok(writer.as_bytes().to_vec())
}

/// The transient handles of TPM2_GetCapability.
pub(super) fn handles(response: &[u8]) -> Result<Vec<u32>, Wrong> {
    match capability(response)? {
        TpmuCapabilities::Handles(handles) => {
            Ok(handles.iter().map(|handle| handle.value()).collect())
        }
        _ => Err(OTHER_CAPABILITY.into()),
    }
}

/// The properties of TPM2_GetCapability, as they come.
pub(super) fn property_values(response: &[u8]) -> Result<Vec<(TpmPt, u32)>, Wrong> {
    match capability(response)? {
        TpmuCapabilities::TpmProperties(properties) => Ok(properties
            .iter()
            .map(|property| (property.property, property.value.value()))
            .collect()),
        _ => Err(OTHER_CAPABILITY.into()),
    }
}

const OTHER_CAPABILITY: &str = "it is about another capability than asked for";

fn capability(response: &[u8]) -> Result<TpmuCapabilities, Wrong> {
    let response: TpmGetCapabilityResponse = TpmResponse::cast(response)
        .and_then(TpmResponse::unmarshal)
        .map_err(wrong)?;
    Ok(response.capability_data.data)
}

/// The 32 secret bytes of a response to TPM2_HMAC: outHMAC, a TPM2B_DIGEST.
pub(super) fn out_hmac(response: &[u8]) -> Result<Zeroizing<[u8; 32]>, Wrong> {
    secret(parameters(response)?, &[0x00, 0x20])
}

/// The 32 secret bytes of a response to TPM2_SequenceComplete: result, a
/// TPM2B_DIGEST, before validation, a TPMT_TK_HASHCHECK without digest.
pub(super) fn sequence_result(response: &[u8]) -> Result<Zeroizing<[u8; 32]>, Wrong> {
    let ticket = [0x80, 0x24, 0x40, 0x00, 0x00, 0x07, 0x00, 0x00];
    let parameters = parameters(response)?;
    secret(
        parameters.strip_suffix(&ticket).unwrap_or(parameters),
        &[0x00, 0x20],
    )
}

/// The 32 secret bytes of a response to TPM2_Sign: signature, a TPMT_SIGNATURE
/// of TPM_ALG_HMAC with a TPMT_HA of TPM_ALG_SHA256.
pub(super) fn hmac_signature(response: &[u8]) -> Result<Zeroizing<[u8; 32]>, Wrong> {
    secret(parameters(response)?, &[0x00, 0x05, 0x00, 0x0B])
}

/// The parameter area of a response with sessions and without handles.
///
/// Read by hand because the crate's types copy what they decode, and this is
/// secret.
fn parameters(response: &[u8]) -> Result<&[u8], Wrong> {
    let body = TpmResponse::cast(response).map_err(wrong)?.body();
    let (size, rest) = body.split_at_checked(4).ok_or("it is too short")?;
    let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]);
    usize::try_from(size)
        .ok()
        .and_then(|size| rest.get(..size))
        .ok_or_else(|| "it is too short".into())
}

fn secret(parameters: &[u8], before: &[u8]) -> Result<Zeroizing<[u8; 32]>, Wrong> {
    let bytes = parameters
        .strip_prefix(before)
        .filter(|bytes| bytes.len() == 32)
        .ok_or("it does not hold an HMAC of 32 bytes")?;
    let mut secret = Zeroizing::new([0; 32]);
    secret.copy_from_slice(bytes);
    Ok(secret)
}
