// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The calls into libtss2. The only module of this crate with `unsafe` code.
//!
//! tss-esapi has a safe `Context`, but it can't be had for every TPM: it opens
//! what a `TctiNameConf` names, which knows four kinds of TCTI (neither cmd nor
//! pcap) and reads `swtpm:path=SOCKET` as port 2321 of this machine. There is no
//! way to give it a string, nor a TCTI context. So the calls are made here, with
//! its types and its bindings, and as few of them as a derivation needs.
//!
//! What each of them relies on:
//!
//! - `context` and `tcti` are what libtss2 gave for them, and are given back
//!   once, by `drop`. Neither leaves this module.
//! - They are used by one thread at a time: [`Esys`] holds raw pointers, which
//!   are neither `Send` nor `Sync`, and every call takes `&mut self`.
//! - What goes in is borrowed for the call: ESYS copies what it keeps.
//! - What comes out is a pointer that the callee sets when it returns 0, to
//!   memory of its own, which is ours from then on: [`Owned`].
#![allow(unsafe_code)]

mod owned;

use std::env;
use std::ffi::CStr;
use std::fs;
use std::ptr::{null, null_mut};
use std::slice;

use tpm_derived_keys::tpm::{Hierarchy, PcrPolicy};
use tss_esapi::constants::tss::{
    TPM2_ALG_AES, TPM2_ALG_CFB, TPM2_ALG_HMAC, TPM2_ALG_SHA256, TPM2_CAP_HANDLES, TPM2_SE_HMAC,
    TPM2_SE_POLICY, TPMA_SESSION_CONTINUESESSION, TPMA_SESSION_DECRYPT, TPMA_SESSION_ENCRYPT,
};
use tss_esapi::tss2_esys::{
    ESYS_CONTEXT, ESYS_TR, ESYS_TR_NONE, ESYS_TR_PASSWORD, ESYS_TR_RH_NULL, ESYS_TR_RH_OWNER,
    Esys_CreatePrimary, Esys_Finalize, Esys_FlushContext, Esys_GetCapability, Esys_HMAC,
    Esys_HMAC_Start, Esys_Initialize, Esys_PolicyPCR, Esys_SequenceComplete, Esys_Sign,
    Esys_StartAuthSession, Esys_TR_FromTPMPublic, Esys_TR_GetName, Esys_TR_GetTpmHandle,
    Esys_TR_Serialize, Esys_TR_SetAuth, Esys_TRSess_SetAttributes, TPM2B_AUTH, TPM2B_DATA,
    TPM2B_DIGEST, TPM2B_MAX_BUFFER, TPM2B_NAME, TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE,
    TPML_PCR_SELECTION, TPMS_CAPABILITY_DATA, TPMS_PCR_SELECTION, TPMT_SIG_SCHEME, TPMT_SIGNATURE,
    TPMT_SYM_DEF, TPMT_TK_HASHCHECK, TPMU_SYM_KEY_BITS, TPMU_SYM_MODE, TSS2_RC, TSS2_TCTI_CONTEXT,
    Tss2_TctiLdr_Finalize, Tss2_TctiLdr_Initialize,
};

use zeroize::Zeroize;

pub(crate) use owned::Owned;

/// A response code other than 0, of whatever layer.
pub(crate) type Code = u32;

fn check(code: TSS2_RC) -> Result<(), Code> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// The command's first parameter is encrypted, and the answer's.
const ENCRYPTED: u8 = TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT;

/// A TPM2B, and what follows.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*size).into())
}

/// What a session can authorise: whatever has an authorisation value, or a policy.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Hmac,
    Policy,
}

/// A session, as ESYS calls it.
#[derive(Clone, Copy)]
pub(crate) struct Session(ESYS_TR, Kind);

impl Session {
    pub(crate) fn object(self) -> ESYS_TR {
        self.0
    }
}

/// An ESYS context over a TCTI.
pub(crate) struct Esys {
    tcti: *mut TSS2_TCTI_CONTEXT,
    context: *mut ESYS_CONTEXT,
}

impl Esys {
    /// Connects to the TPM that the string names to tctildr(7).
    pub(crate) fn open(tcti: &CStr) -> Result<Self, Code> {
        let mut esys = Self {
            tcti: null_mut(),
            context: null_mut(),
        };
        // SAFETY: the string ends with a 0 and outlives the call; the pointer
        // that is set is `esys`'s own. libtss2 loads a library whose name it
        // makes of what stands before the colon, which is one of TssTcti's.
        check(unsafe { Tss2_TctiLdr_Initialize(tcti.as_ptr(), &raw mut esys.tcti) })?;
        // SAFETY: the TCTI context is live and stays so until `drop`, which ends
        // the ESYS context first; no version asks for any.
        check(unsafe { Esys_Initialize(&raw mut esys.context, esys.tcti, null_mut()) })?;
        Ok(esys)
    }

    /// TPM2_CreatePrimary: the object, its public area and its Name. In a session the
    /// owner hierarchy's authorisation value is shown to be known.
    pub(crate) fn create_primary(
        &mut self,
        hierarchy: Hierarchy,
        template: &TPM2B_PUBLIC,
        session: Option<Session>,
        owner_auth: &[u8],
    ) -> Result<(ESYS_TR, Owned<TPM2B_PUBLIC>, Owned<TPM2B_NAME>), Code> {
        let nothing = TPM2B_SENSITIVE_CREATE::default();
        let (no_data, no_pcrs) = (TPM2B_DATA::default(), TPML_PCR_SELECTION::default());
        let (mut object, mut public) = (ESYS_TR_NONE, null_mut());
        let authorization = match session {
            Some(Session(session, _)) => {
                self.set_attributes(session, 0)?;
                session
            }
            None => ESYS_TR_PASSWORD,
        };
        let hierarchy = match hierarchy {
            Hierarchy::Owner => ESYS_TR_RH_OWNER,
            Hierarchy::Null => ESYS_TR_RH_NULL,
        };
        // Without a session ESYS would send it, so it is to know none then; and to have
        // it no longer than is needed.
        self.set_owner_auth(session.map_or(&[], |_| owner_auth))?;
        // SAFETY: see the head of the module; what is null is not wanted.
        let created = check(unsafe {
            Esys_CreatePrimary(
                self.context,
                hierarchy,
                authorization,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                &raw const nothing,
                template,
                &raw const no_data,
                &raw const no_pcrs,
                &raw mut object,
                &raw mut public,
                null_mut(),
                null_mut(),
                null_mut(),
            )
        });
        self.set_owner_auth(&[])?;
        created?;
        let public = Owned::new(public)?;
        Ok((object, public, self.name(object)?))
    }

    /// Has ESYS know the owner hierarchy's authorisation value. The TPM is not asked.
    fn set_owner_auth(&mut self, value: &[u8]) -> Result<(), Code> {
        /// TSS2_ESYS_RC_BAD_SIZE.
        const BAD_SIZE: Code = 0x0007_0006;
        let mut auth = TPM2B_AUTH::default();
        let place = auth.buffer.get_mut(..value.len()).ok_or(BAD_SIZE)?;
        place.copy_from_slice(value);
        auth.size = u16::try_from(value.len()).map_err(|_| BAD_SIZE)?;
        // SAFETY: see the head of the module; ESYS makes a copy.
        let set =
            check(unsafe { Esys_TR_SetAuth(self.context, ESYS_TR_RH_OWNER, &raw const auth) });
        auth.buffer.zeroize();
        set
    }

    /// TPM2_StartAuthSession of a session with SHA-256 and AES-128-CFB, salted to a key
    /// if there is one.
    pub(crate) fn start_auth_session(
        &mut self,
        kind: Kind,
        key: Option<ESYS_TR>,
    ) -> Result<Session, Code> {
        let session_type = match kind {
            Kind::Hmac => TPM2_SE_HMAC,
            Kind::Policy => TPM2_SE_POLICY,
        };
        let symmetric = TPMT_SYM_DEF {
            algorithm: TPM2_ALG_AES,
            keyBits: TPMU_SYM_KEY_BITS { aes: 128 },
            mode: TPMU_SYM_MODE { aes: TPM2_ALG_CFB },
        };
        let mut session = ESYS_TR_NONE;
        // SAFETY: see the head of the module; without a nonce ESYS makes one.
        check(unsafe {
            Esys_StartAuthSession(
                self.context,
                key.unwrap_or(ESYS_TR_NONE),
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                null(),
                session_type,
                &raw const symmetric,
                TPM2_ALG_SHA256,
                &raw mut session,
            )
        })?;
        Ok(Session(session, kind))
    }

    /// TPM2_PolicyPCR, with whatever values the PCRs have.
    pub(crate) fn policy_pcr(&mut self, session: Session, policy: &PcrPolicy) -> Result<(), Code> {
        let (no_digest, mut pcrs) = (TPM2B_DIGEST::default(), TPML_PCR_SELECTION::default());
        for (place, bank) in pcrs.pcrSelections.iter_mut().zip(policy.banks()) {
            let [a, b, c] = bank.select;
            *place = TPMS_PCR_SELECTION {
                hash: bank.hash,
                sizeofSelect: 3,
                pcrSelect: [a, b, c, 0],
            };
            pcrs.count += 1;
        }
        // SAFETY: see the head of the module.
        check(unsafe {
            Esys_PolicyPCR(
                self.context,
                session.0,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                &raw const no_digest,
                &raw const pcrs,
            )
        })
    }

    /// What a command is authorised by, and what stands beside that: a session that goes
    /// on after it, and encrypts what `attributes` say; or the empty password, with a
    /// session that can't authorise it beside it.
    fn authorization(
        &mut self,
        session: Option<Session>,
        attributes: u8,
    ) -> Result<(ESYS_TR, ESYS_TR), Code> {
        let Some(Session(session, kind)) = session else {
            return Ok((ESYS_TR_PASSWORD, ESYS_TR_NONE));
        };
        self.set_attributes(session, attributes)?;
        Ok(match kind {
            Kind::Hmac => (session, ESYS_TR_NONE),
            Kind::Policy => (ESYS_TR_PASSWORD, session),
        })
    }

    fn set_attributes(&mut self, session: ESYS_TR, attributes: u8) -> Result<(), Code> {
        let attributes = attributes | TPMA_SESSION_CONTINUESESSION;
        // SAFETY: see the head of the module.
        check(unsafe { Esys_TRSess_SetAttributes(self.context, session, attributes, u8::MAX) })
    }

    /// TPM2_HMAC with SHA-256. What it gives is secret.
    pub(crate) fn hmac(
        &mut self,
        object: ESYS_TR,
        buffer: &TPM2B_MAX_BUFFER,
        session: Option<Session>,
    ) -> Result<Owned<TPM2B_DIGEST>, Code> {
        let mut digest = null_mut();
        let (first, second) = self.authorization(session, ENCRYPTED)?;
        // SAFETY: see the head of the module.
        check(unsafe {
            Esys_HMAC(
                self.context,
                object,
                first,
                second,
                ESYS_TR_NONE,
                buffer,
                TPM2_ALG_SHA256,
                &raw mut digest,
            )
        })?;
        Owned::new(digest)
    }

    /// TPM2_HMAC_Start with SHA-256: the sequence, which has that password. ESYS keeps a
    /// copy of it.
    pub(crate) fn hmac_start(
        &mut self,
        object: ESYS_TR,
        password: &[u8; 32],
        session: Option<Session>,
    ) -> Result<ESYS_TR, Code> {
        let (mut auth, mut sequence) = (TPM2B_AUTH::default(), ESYS_TR_NONE);
        auth.buffer[..password.len()].copy_from_slice(password);
        auth.size = 32;
        let (first, second) = self.authorization(session, TPMA_SESSION_DECRYPT)?;
        // SAFETY: see the head of the module.
        check(unsafe {
            Esys_HMAC_Start(
                self.context,
                object,
                first,
                second,
                ESYS_TR_NONE,
                &raw const auth,
                TPM2_ALG_SHA256,
                &raw mut sequence,
            )
        })?;
        Ok(sequence)
    }

    /// TPM2_SequenceComplete. What it gives is secret.
    pub(crate) fn sequence_complete(
        &mut self,
        sequence: ESYS_TR,
        buffer: &TPM2B_MAX_BUFFER,
        session: Option<Session>,
    ) -> Result<Owned<TPM2B_DIGEST>, Code> {
        let mut digest = null_mut();
        let (first, second) = self.authorization(session, ENCRYPTED)?;
        // SAFETY: see the head of the module; what is null is not wanted.
        check(unsafe {
            Esys_SequenceComplete(
                self.context,
                sequence,
                first,
                second,
                ESYS_TR_NONE,
                buffer,
                ESYS_TR_RH_NULL,
                &raw mut digest,
                null_mut(),
            )
        })?;
        Owned::new(digest)
    }

    /// TPM2_Sign. What it gives is secret when it is an HMAC.
    pub(crate) fn sign(
        &mut self,
        object: ESYS_TR,
        digest: &TPM2B_DIGEST,
        scheme: &TPMT_SIG_SCHEME,
        ticket: &TPMT_TK_HASHCHECK,
    ) -> Result<Owned<TPMT_SIGNATURE>, Code> {
        let mut signature = null_mut();
        // SAFETY: see the head of the module.
        check(unsafe {
            Esys_Sign(
                self.context,
                object,
                ESYS_TR_PASSWORD,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                digest,
                scheme,
                ticket,
                &raw mut signature,
            )
        })?;
        Owned::new(signature)
    }

    /// TPM2_FlushContext.
    pub(crate) fn flush_context(&mut self, object: ESYS_TR) -> Result<(), Code> {
        // SAFETY: see the head of the module.
        check(unsafe { Esys_FlushContext(self.context, object) })
    }

    /// TPM2_GetCapability: the handles from `first` on that are of its kind.
    pub(crate) fn handles(&mut self, first: u32) -> Result<Owned<TPMS_CAPABILITY_DATA>, Code> {
        let mut data = null_mut();
        // SAFETY: see the head of the module; moreData is not wanted.
        check(unsafe {
            Esys_GetCapability(
                self.context,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                TPM2_CAP_HANDLES,
                first,
                64,
                null_mut(),
                &raw mut data,
            )
        })?;
        Owned::new(data)
    }

    /// Takes up an object that is loaded already. ESYS reads its public area for
    /// that (TPM2_ReadPublic).
    pub(crate) fn object(&mut self, handle: u32) -> Result<ESYS_TR, Code> {
        let mut object = ESYS_TR_NONE;
        // SAFETY: see the head of the module.
        check(unsafe {
            Esys_TR_FromTPMPublic(
                self.context,
                handle,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                ESYS_TR_NONE,
                &raw mut object,
            )
        })?;
        Ok(object)
    }

    /// The public area of an object, a marshalled TPMT_PUBLIC, as ESYS knows it. The
    /// TPM is not asked.
    pub(crate) fn public_area(&mut self, object: ESYS_TR) -> Result<Vec<u8>, Code> {
        let (mut buffer, mut size) = (null_mut(), 0);
        // SAFETY: see the head of the module.
        check(unsafe { Esys_TR_Serialize(self.context, object, &raw mut buffer, &raw mut size) })?;
        let buffer = Owned::new(buffer)?;
        let size = usize::try_from(size).unwrap_or_default();
        // SAFETY: it has as many bytes, all written to.
        let bytes = unsafe { slice::from_raw_parts(buffer.0.as_ptr(), size) };
        // After a handle, a Name and a kind comes a TPM2B_PUBLIC.
        let public_area = bytes
            .split_at_checked(4)
            .and_then(|(_, rest)| sized(rest))
            .and_then(|(_, rest)| rest.split_at_checked(4))
            .and_then(|(_, rest)| sized(rest));
        Ok(public_area.map_or(Vec::new(), |(public_area, _)| public_area.to_vec()))
    }

    /// The TPM's own handle of an object or session. The TPM is not asked.
    pub(crate) fn handle(&mut self, object: ESYS_TR) -> Result<u32, Code> {
        let mut handle = 0;
        // SAFETY: see the head of the module.
        check(unsafe { Esys_TR_GetTpmHandle(self.context, object, &raw mut handle) })?;
        Ok(handle)
    }

    /// The Name of an object, as ESYS knows it. The TPM is not asked.
    fn name(&mut self, object: ESYS_TR) -> Result<Owned<TPM2B_NAME>, Code> {
        let mut name = null_mut();
        // SAFETY: see the head of the module.
        check(unsafe { Esys_TR_GetName(self.context, object, &raw mut name) })?;
        Owned::new(name)
    }
}

impl Drop for Esys {
    fn drop(&mut self) {
        // `open` may not have got as far.
        if !self.context.is_null() {
            // SAFETY: it is given back once.
            unsafe { Esys_Finalize(&raw mut self.context) }
        }
        if !self.tcti.is_null() {
            // SAFETY: it is given back once, and the context, which used it, is
            // gone.
            unsafe { Tss2_TctiLdr_Finalize(&raw mut self.tcti) }
        }
    }
}

/// The bytes of a signature that is an HMAC with SHA-256, to read and to wipe.
pub(crate) fn hmac_of(signature: &mut TPMT_SIGNATURE) -> Option<&mut [u8; 32]> {
    if signature.sigAlg != TPM2_ALG_HMAC {
        return None;
    }
    // SAFETY: sigAlg says which member of the union it is; any bytes are a
    // TPMT_HA.
    let hmac = unsafe { &mut signature.signature.hmac };
    if hmac.hashAlg != TPM2_ALG_SHA256 {
        return None;
    }
    // SAFETY: hashAlg says which member of the union it is; any bytes are a
    // digest.
    Some(unsafe { &mut hmac.digest.sha256 })
}

/// Keeps libtss2 from writing to standard error, unless the environment says
/// what it is to write (`TSS2_LOG`): errors are told by whoever called.
///
/// To be called first of all in a program: it does nothing when there is a second
/// thread, which could be reading the environment.
pub fn quiet() {
    const VARIABLE: &str = "TSS2_LOG";
    let alone = || fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if env::var_os(VARIABLE).is_none() && alone() {
        // SAFETY: nobody else may use the environment meanwhile. There is nobody
        // else: this is the only thread, and it is here.
        unsafe { env::set_var(VARIABLE, "all+NONE") }
    }
}
