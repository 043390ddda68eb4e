// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Single commands by ESYS, the Enhanced System API, each with a time limit.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tpm_derived_keys::IdentityKey;
use tpm_derived_keys::identity::IdentityDigest;
use tpm_derived_keys::tpm::{
    Connection, Created, Failed, Hierarchy, LoadedRoot, Object, OwnerAuth, PcrPolicy, Place,
    SequencePassword, StorageAlgorithm, StorageKey, Wire,
};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::tss::{
    TPM2_LOADED_SESSION_FIRST, TPM2_RH_NULL, TPM2_ST_HASHCHECK, TPM2_TRANSIENT_FIRST,
};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::structures::{
    CapabilityData, Digest, HmacScheme, KeyedHashScheme, MaxBuffer, Public, PublicBuilder,
    PublicKeyedHashParameters, SignatureScheme,
};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::tss2_esys::{
    ESYS_TR, TPM2B_DIGEST, TPM2B_PUBLIC, TPMT_SIG_SCHEME, TPMT_TK_HASHCHECK,
};
use zeroize::{Zeroize, Zeroizing};

use crate::TssTcti;
use crate::code;
use crate::ffi::{Code, Esys, Kind, Session, hmac_of};

/// A connection of [`Tss`](crate::Tss).
///
/// libtss2 waits for a TPM as long as it takes: few of its TCTIs heed a time
/// limit. So it does so in a thread of its own, and whoever has waited long
/// enough leaves that thread behind.
pub struct EsysThread {
    jobs: Option<Sender<Job>>,
    /// Ends when libtss2 has closed the connection.
    closed: Receiver<()>,
    is_device: bool,
    /// A command has been sent and not been answered.
    waiting: bool,
    until: Instant,
    /// What ESYS calls the objects and sessions that have these handles.
    known: HashMap<u32, ESYS_TR>,
    /// What protects the conversation, and its handle.
    session: Option<(u32, Session)>,
    owner_auth: Option<Arc<OwnerAuth>>,
}

type Job = Box<dyn FnOnce(&mut Esys) + Send>;

/// Secret bytes which stay in one place while they are passed on.
type Secret = Box<Zeroizing<[u8; 32]>>;

impl EsysThread {
    fn start(tcti: CString, until: Instant) -> io::Result<(Self, Result<(), Code>)> {
        let (jobs, work) = mpsc::channel::<Job>();
        let (opened, is_open) = mpsc::channel();
        let (open_end, closed) = mpsc::channel();
        thread::Builder::new()
            .name("libtss2".into())
            .spawn(move || {
                let _open_end = open_end;
                match Esys::open(&tcti) {
                    Ok(mut esys) => {
                        if opened.send(Ok(())).is_ok() {
                            for job in work {
                                job(&mut esys);
                            }
                        }
                    }
                    Err(code) => {
                        let _ = opened.send(Err(code));
                    }
                }
            })?;
        let this = Self {
            jobs: Some(jobs),
            closed,
            is_device: false,
            waiting: false,
            until,
            known: HashMap::new(),
            session: None,
            owner_auth: None,
        };
        match is_open.recv_timeout(left(until)) {
            Ok(result) => Ok((this, result)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Has the thread do something, and waits for the result.
    fn ask<T: Send + 'static>(
        &mut self,
        until: Instant,
        job: impl FnOnce(&mut Esys) -> Result<T, Code> + Send + 'static,
    ) -> Result<T, Failed> {
        self.until = until;
        self.waiting = true;
        let (sender, receiver) = mpsc::channel();
        let job = Box::new(move |esys: &mut Esys| {
            let _ = sender.send(job(esys));
        });
        if let Some(jobs) = &self.jobs {
            // If there is nobody, nobody answers.
            let _ = jobs.send(job);
        }
        let result = receiver
            .recv_timeout(left(until))
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => Failed::Connection(io::ErrorKind::TimedOut.into()),
                RecvTimeoutError::Disconnected => {
                    Failed::Connection(io::Error::other("libtss2's thread has ended"))
                }
            })?;
        self.waiting = false;
        result.map_err(code::failed)
    }
}

impl EsysThread {
    /// What ESYS calls what has that handle. It reads the public area of an object
    /// that it does not know (TPM2_ReadPublic).
    fn known(&mut self, handle: u32, until: Instant) -> Result<ESYS_TR, Failed> {
        if let Some(object) = self.known.get(&handle) {
            return Ok(*object);
        }
        let object = self.ask(until, move |esys| esys.object(handle))?;
        self.known.insert(handle, object);
        Ok(object)
    }

    /// What ESYS calls the session that protects the conversation.
    fn session(&self) -> Option<Session> {
        self.session.map(|(_, session)| session)
    }

    fn handles(&mut self, first: u32, until: Instant) -> Result<Vec<u32>, Failed> {
        let data = self.ask(until, move |esys| {
            Ok(CapabilityData::try_from(*esys.handles(first)?))
        })?;
        match data {
            Ok(CapabilityData::Handles(handles)) => {
                Ok(handles.iter().map(|&handle| handle.into()).collect())
            }
            _ => Err(Failed::Malformed(
                "it is about another capability than asked for".into(),
            )),
        }
    }
}

impl Drop for EsysThread {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // So that whoever comes next finds the connection closed.
        if !self.waiting {
            let _ = self.closed.recv_timeout(left(self.until));
        }
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Makes sure that something is there, in a way that tells more of what is not
/// than libtss2 does.
fn probe(tcti: &TssTcti, until: Instant) -> io::Result<()> {
    match tcti {
        TssTcti::Plain(tcti) => Wire::open(tcti, None, until).map(drop),
        TssTcti::Mssim(address) => {
            let left = left(until).max(Duration::from_millis(1));
            TcpStream::connect_timeout(address, left).map(drop)
        }
        TssTcti::Pcap(inner) => probe(inner, until),
        TssTcti::Tabrmd { .. } | TssTcti::Cmd(_) | TssTcti::Libtpms(_) => Ok(()),
    }
}

impl Connection for EsysThread {
    type Place = TssTcti;

    fn open(
        place: &TssTcti,
        owner_auth: Option<&Arc<OwnerAuth>>,
        until: Instant,
    ) -> io::Result<Self> {
        probe(place, until)?;
        let tcti = CString::new(place.to_string())?;
        match Self::start(tcti, until)? {
            (mut this, Ok(())) => {
                this.is_device = place.chip().starts_with("device:");
                this.owner_auth = owner_auth.cloned();
                Ok(this)
            }
            (_, Err(code)) => Err(code::not_open(code, place.module())),
        }
    }

    fn is_stuck(&self) -> bool {
        self.is_device && self.waiting
    }

    fn create_storage_key(
        &mut self,
        hierarchy: Hierarchy,
        algorithm: StorageAlgorithm,
        until: Instant,
    ) -> Result<Object, Failed> {
        let template = Public::unmarshall(&algorithm.template())
            .and_then(TPM2B_PUBLIC::try_from)
            .map_err(ours)?;
        let (session, auth) = (self.session(), self.owner_auth.clone());
        let (object, handle, public_area) = self.ask(until, move |esys| {
            let auth = auth.as_ref().map_or(&[][..], |auth| auth.value());
            let (object, _, _) = esys.create_primary(hierarchy, &template, session, auth)?;
            Ok((object, esys.handle(object)?, esys.public_area(object)?))
        })?;
        self.known.insert(handle, object);
        Ok(Object {
            object: handle,
            public_area,
        })
    }

    fn start_session(
        &mut self,
        salted_to: Option<(u32, &StorageKey)>,
        until: Instant,
    ) -> Result<u32, Failed> {
        // The public key is the one that ESYS has given as this object's.
        let key = match salted_to {
            Some((object, _)) => Some(self.known(object, until)?),
            None => None,
        };
        let kind = match &self.owner_auth {
            Some(auth) if auth.policy().is_some() => Kind::Policy,
            _ => Kind::Hmac,
        };
        let (session, handle) = self.ask(until, move |esys| {
            let session = esys.start_auth_session(kind, key)?;
            Ok((session, esys.handle(session.object())?))
        })?;
        self.known.insert(handle, session.object());
        self.session = Some((handle, session));
        Ok(handle)
    }

    fn policy_pcr(&mut self, policy: &PcrPolicy, until: Instant) -> Result<(), Failed> {
        let Some(session) = self.session() else {
            return Err(Failed::Malformed("there is no session".into()));
        };
        let policy = policy.clone();
        self.ask(until, move |esys| esys.policy_pcr(session, &policy))
    }

    fn create_primary(&mut self, until: Instant) -> Result<Created, Failed> {
        let template = template().map_err(ours)?;
        let (session, auth) = (self.session(), self.owner_auth.clone());
        let (object, created) = self.ask(until, move |esys| {
            let auth = auth.as_ref().map_or(&[][..], |auth| auth.value());
            let (object, public, name) =
                esys.create_primary(Hierarchy::Owner, &template, session, auth)?;
            let name = name.name.get(..usize::from(name.size));
            let created = Created::new(
                esys.handle(object)?,
                &public_area(&public),
                name.unwrap_or_default(),
            );
            Ok((object, created))
        })?;
        self.known.insert(created.object, object);
        Ok(created)
    }

    fn hmac(
        &mut self,
        root: &LoadedRoot,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed> {
        let buffer = MaxBuffer::try_from(&digest.as_bytes()[..]).map_err(ours)?;
        let (object, session) = (self.known(root.object(), until)?, self.session());
        let secret = self.ask(until, move |esys| {
            let mut hmac = esys.hmac(object, &buffer.into(), session)?;
            Ok(secret_of(&mut hmac))
        })?;
        identity_key(secret)
    }

    fn hmac_start(
        &mut self,
        root: &LoadedRoot,
        password: &SequencePassword,
        until: Instant,
    ) -> Result<u32, Failed> {
        let (object, session) = (self.known(root.object(), until)?, self.session());
        let password = Box::new(password.clone());
        let (sequence, handle) = self.ask(until, move |esys| {
            let sequence = esys.hmac_start(object, &password, session)?;
            Ok((sequence, esys.handle(sequence)?))
        })?;
        self.known.insert(handle, sequence);
        Ok(handle)
    }

    fn sequence_complete(
        &mut self,
        sequence: u32,
        // ESYS has kept it.
        _: &SequencePassword,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed> {
        let buffer = MaxBuffer::try_from(&digest.as_bytes()[..]).map_err(ours)?;
        let (object, session) = (self.known(sequence, until)?, self.session());
        let secret = self.ask(until, move |esys| {
            let mut hmac = esys.sequence_complete(object, &buffer.into(), session)?;
            Ok(secret_of(&mut hmac))
        })?;
        self.known.remove(&sequence);
        identity_key(secret)
    }

    fn sign(
        &mut self,
        object: u32,
        digest: &IdentityDigest,
        until: Instant,
    ) -> Result<IdentityKey, Failed> {
        let digest = Digest::try_from(&digest.as_bytes()[..]).map_err(ours)?;
        let scheme = SignatureScheme::Hmac {
            hmac_scheme: HmacScheme::new(HashingAlgorithm::Sha256),
        };
        let no_ticket = TPMT_TK_HASHCHECK {
            tag: TPM2_ST_HASHCHECK,
            hierarchy: TPM2_RH_NULL,
            digest: TPM2B_DIGEST::default(),
        };
        let object = self.known(object, until)?;
        let secret = self.ask(until, move |esys| {
            let scheme = TPMT_SIG_SCHEME::from(scheme);
            let mut signature = esys.sign(object, &digest.into(), &scheme, &no_ticket)?;
            Ok(hmac_of(&mut signature).and_then(|hmac| take_secret(hmac)))
        })?;
        identity_key(secret)
    }

    fn flush_context(&mut self, object: u32, until: Instant) -> Result<(), Failed> {
        let known = self.known(object, until)?;
        self.ask(until, move |esys| esys.flush_context(known))?;
        self.known.remove(&object);
        self.session.take_if(|(session, _)| *session == object);
        Ok(())
    }

    fn transient_handles(&mut self, until: Instant) -> Result<Vec<u32>, Failed> {
        self.handles(TPM2_TRANSIENT_FIRST, until)
    }

    fn session_handles(&mut self, until: Instant) -> Result<Vec<u32>, Failed> {
        self.handles(TPM2_LOADED_SESSION_FIRST, until)
    }

    fn read_public(&mut self, handle: u32, until: Instant) -> Result<Object, Failed> {
        let object = self.known(handle, until)?;
        let public_area = self.ask(until, move |esys| esys.public_area(object))?;
        Ok(Object {
            object: handle,
            public_area,
        })
    }
}

/// The template of section 1 of `docs/derivation.md`.
fn template() -> tss_esapi::Result<TPM2B_PUBLIC> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_sign_encrypt(true)
        .build()?;
    let scheme = KeyedHashScheme::Hmac {
        hmac_scheme: HmacScheme::new(HashingAlgorithm::Sha256),
    };
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(scheme))
        .with_keyed_hash_unique_identifier(Digest::try_from(&b"tpm-derived-keys v1"[..])?)
        .build()?
        .try_into()
}

/// A public area as the TPM wrote it; nothing for one that is not even known.
fn public_area(public: &TPM2B_PUBLIC) -> Vec<u8> {
    Public::try_from(*public)
        .and_then(|public| public.marshall())
        .unwrap_or_default()
}

fn secret_of(digest: &mut TPM2B_DIGEST) -> Option<Secret> {
    let size = usize::from(digest.size);
    digest.buffer.get_mut(..size).and_then(take_secret)
}

/// Takes 32 secret bytes and leaves nothing behind.
fn take_secret(bytes: &mut [u8]) -> Option<Secret> {
    let mut secret = Secret::default();
    let fits = bytes.len() == secret.len();
    if fits {
        secret.copy_from_slice(bytes);
    }
    bytes.zeroize();
    fits.then_some(secret)
}

fn identity_key(secret: Option<Secret>) -> Result<IdentityKey, Failed> {
    match secret {
        // A copy, so that the box is wiped.
        Some(secret) => Ok(IdentityKey::new(Zeroizing::clone(&secret))),
        None => Err(Failed::Malformed(
            "it does not hold an HMAC of 32 bytes".into(),
        )),
    }
}

fn ours(error: tss_esapi::Error) -> Failed {
    Failed::Malformed(format!("can't send: {error}"))
}
