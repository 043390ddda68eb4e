// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A turn at a TPM: the lock, the time limit, commands that are put off, and
//! leaving nothing behind, the same over every kind of connection.

use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Created, Failed, Object, Place, Unfit};
use super::patience::Deadline;
use super::turn::{Noted, Turn};
use super::{
    Bus, Command, Hierarchy, LoadedRoot, Name, PERSISTENT_STORAGE_KEY, Patience, StorageAlgorithm,
    StorageKey, Tpm, TpmError, Trust,
};
use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

/// A connection to a TPM, held for one derivation (or several of one process).
///
/// A root process holds the lock of that TPM meanwhile. All commands together
/// take no longer than [`Patience::hold`]; commands that the TPM puts off
/// (TPM_RC_RETRY and its like) are sent again in that time.
pub struct Session<C: Connection> {
    place: C::Place,
    trust: Trust,
    deadline: Deadline,
    connection: Option<C>,
    /// What is loaded besides the root key.
    loaded: Noted,
    /// What others had loaded before: objects, sessions.
    others: Option<(Vec<u32>, Vec<u32>)>,
    /// The Name of the storage key that the last conversation was salted to.
    storage_key: Option<Name>,
    commands: u32,
    stuck: bool,
    /// What others left has been flushed, to have a slot.
    has_swept: bool,
    // Last, so that the next in line finds the connection closed.
    turn: Option<Turn>,
}

impl<C: Connection> fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.place)
    }
}

impl<C: Connection> Session<C> {
    /// How often to try to clean up over a new connection.
    const RECOVERIES: u32 = 3;

    /// Waits for the turn and connects.
    ///
    /// # Errors
    ///
    /// [`TpmError::TurnLimit`] and [`TpmError::Lock`] for the turn,
    /// [`TpmError::Open`] for the connection; [`TpmError::OwnerAuth`] for a password
    /// that the TPM has refused already.
    pub fn open(place: &C::Place, patience: &Patience, trust: &Trust) -> Result<Self, TpmError> {
        let turn = Turn::take(&place.chip(), patience.turn)?;
        if let (Some(turn), Some(auth)) = (&turn, &trust.owner_auth)
            && turn.has_refused(auth)
        {
            return Err(TpmError::OwnerAuth {
                from: auth.to_string(),
                again: true,
            });
        }
        let deadline = Deadline::start(patience.hold);
        let mut session = Self {
            place: place.clone(),
            trust: trust.clone(),
            deadline,
            connection: None,
            loaded: Noted::default(),
            others: None,
            storage_key: None,
            commands: 0,
            stuck: false,
            has_swept: false,
            turn,
        };
        session.connect(deadline.for_work())?;
        session.sweep_after_others();
        Ok(session)
    }

    /// How many commands have been sent, repetitions included.
    pub fn commands(&self) -> u32 {
        self.commands
    }

    /// Whether a command is still running in a device, which then can't be
    /// closed before the TPM has answered.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// The Name of the storage key that the conversation was last protected by.
    pub fn storage_key(&self) -> Option<Name> {
        self.storage_key
    }

    fn connect(&mut self, until: Instant) -> Result<(), TpmError> {
        self.connection = None;
        let auth = self.trust.owner_auth.as_ref();
        let connection = C::open(&self.place, auth, until).map_err(|source| TpmError::Open {
            tcti: self.place.to_string(),
            hint: self.place.hint(),
            source,
        })?;
        self.connection = Some(connection);
        Ok(())
    }

    fn broken(&self, command: Command, source: io::Error) -> TpmError {
        match source.kind() {
            io::ErrorKind::TimedOut => self.late(command),
            io::ErrorKind::UnexpectedEof => TpmError::Closed { command },
            io::ErrorKind::InvalidData => malformed(command, source.to_string()),
            _ => TpmError::Io { command, source },
        }
    }

    fn late(&self, command: Command) -> TpmError {
        TpmError::Deadline {
            command,
            limit: self.deadline.limit,
        }
    }

    /// As [`Session::run`], until when work may take.
    pub(super) fn ask<T>(
        &mut self,
        command: Command,
        send: impl Fn(&mut C, Instant) -> Result<T, Failed>,
    ) -> Result<T, TpmError> {
        let until = self.deadline.for_work();
        self.run(command, until, |connection| send(connection, until))
    }

    /// Sends a command, again and again while the TPM puts it off.
    fn run<T>(
        &mut self,
        command: Command,
        until: Instant,
        send: impl Fn(&mut C) -> Result<T, Failed>,
    ) -> Result<T, TpmError> {
        let mut pause = Duration::from_millis(1);
        loop {
            let Some(connection) = &mut self.connection else {
                return Err(TpmError::Closed { command });
            };
            self.commands += 1;
            let code = match send(connection) {
                Ok(result) => return Ok(result),
                Err(Failed::Response(code)) => code,
                Err(Failed::Malformed(what)) => return Err(malformed(command, what)),
                Err(Failed::Forged) => return Err(TpmError::Forged { command }),
                Err(Failed::Connection(error)) => {
                    self.stuck |= connection.is_stuck();
                    self.connection = None;
                    return Err(self.broken(command, error));
                }
            };
            let may_sweep = self.turn.is_some() && self.place.keeps_objects() && !self.has_swept;
            if code.is_out_of_slots() && may_sweep {
                self.has_swept = true;
                self.sweep_left(until)?;
                continue;
            }
            let again = code.is_retry() || code.is_out_of_slots();
            if !again || Instant::now() + pause >= until {
                return Err(TpmError::Response { command, code });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// The objects that could be root keys and that somebody has left in the TPM,
    /// where objects outlive connections; elsewhere there are none.
    ///
    /// # Errors
    ///
    /// A [`TpmError`] of TPM2_GetCapability or TPM2_ReadPublic.
    pub fn root_keys_left(&mut self) -> Result<Vec<u32>, TpmError> {
        if !self.place.keeps_objects() {
            return Ok(Vec::new());
        }
        let objects = self.loaded_objects(self.deadline.for_work())?;
        let roots = objects
            .into_iter()
            .filter(|object| Name::of_root(&object.public_area).is_some());
        Ok(roots.map(|root| root.object).collect())
    }

    fn flush_context(&mut self, object: u32, until: Instant) -> Result<(), TpmError> {
        self.run(Command::FlushContext, until, |connection| {
            connection.flush_context(object, until)
        })
    }

    /// Flushes root keys that nobody is using any more: left by a connection
    /// that broke, or by a process that was killed. The turn makes sure that
    /// nobody else has one loaded, the Name, if it is known, that it is not another's
    /// key.
    fn sweep(&mut self, name: Option<Name>, until: Instant) -> Result<(), TpmError> {
        for object in self.loaded_objects(until)? {
            let found = Name::of_root(&object.public_area);
            if found.is_some() && (name.is_none() || found == name) {
                self.flush_context(object.object, until)?;
            }
        }
        Ok(())
    }

    /// Flushes the storage key and the session that whoever had the turn before
    /// has noted, if they are still there.
    fn sweep_noted(&mut self, until: Instant) -> Result<(), TpmError> {
        let noted = self.turn.as_ref().map(Turn::noted).unwrap_or_default();
        let others = self.turn.as_ref().and_then(Turn::others);
        if let Some((objects, sessions)) = others {
            if noted.storage_key == Some(Noted::COMING) {
                self.sweep_storage_keys(&objects, until)?;
            }
            if noted.session == Some(Noted::COMING) {
                self.sweep_sessions(&sessions, until)?;
            }
        }
        if let Some(handle) = noted.storage_key
            && handle != Noted::COMING
            && let Some(object) = self.read_public(handle, until)?
            && StorageKey::of(&object.public_area).is_some()
        {
            self.flush_context(object.object, until)?;
        }
        if let Some(session) = noted.session
            && self.session_handles(until)?.contains(&session)
        {
            self.flush_context(session, until)?;
        }
        if let Some(turn) = &self.turn {
            turn.note(Noted::default());
        }
        Ok(())
    }

    /// Flushes everything that a process has left which had the turn before, as far
    /// as it can be known.
    fn sweep_left(&mut self, until: Instant) -> Result<(), TpmError> {
        // Not what this process has loaded itself.
        if self.loaded == Noted::default() {
            self.sweep_noted(until)?;
        }
        self.sweep(self.remembered(), until)
    }

    /// Flushes storage keys but for those of others.
    fn sweep_storage_keys(&mut self, others: &[u32], until: Instant) -> Result<(), TpmError> {
        for object in self.loaded_objects(until)? {
            let is_storage_key = StorageKey::of(&object.public_area).is_some();
            if is_storage_key && !others.contains(&object.object) {
                self.flush_context(object.object, until)?;
            }
        }
        Ok(())
    }

    /// Flushes sessions but for those of others.
    fn sweep_sessions(&mut self, others: &[u32], until: Instant) -> Result<(), TpmError> {
        for session in self.session_handles(until)? {
            if !others.contains(&session) {
                self.flush_context(session, until)?;
            }
        }
        Ok(())
    }

    /// The objects that are loaded, but for sequences and the like.
    fn loaded_objects(&mut self, until: Instant) -> Result<Vec<Object>, TpmError> {
        let mut objects = Vec::new();
        for handle in self.transient_handles(until)? {
            objects.extend(self.read_public(handle, until)?);
        }
        Ok(objects)
    }

    fn transient_handles(&mut self, until: Instant) -> Result<Vec<u32>, TpmError> {
        self.run(Command::GetCapability, until, |connection| {
            connection.transient_handles(until)
        })
    }

    fn session_handles(&mut self, until: Instant) -> Result<Vec<u32>, TpmError> {
        self.run(Command::GetCapability, until, |connection| {
            connection.session_handles(until)
        })
    }

    /// TPM2_ReadPublic; nothing if the object is not there, or is of a kind that is
    /// not known.
    fn read_public(&mut self, handle: u32, until: Instant) -> Result<Option<Object>, TpmError> {
        match self.run(Command::ReadPublic, until, |connection| {
            connection.read_public(handle, until)
        }) {
            Ok(object) => Ok(Some(object)),
            Err(error) if self.connection.is_none() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Frees what whoever had the turn before was not given the time to free.
    fn sweep_after_others(&mut self) {
        let unclean = self.turn.as_ref().is_some_and(Turn::is_unclean);
        if unclean && self.place.keeps_objects() {
            // Should it fail, it is tried again when slots run out.
            let _ = self.sweep_left(self.deadline.for_work());
            if self.connection.is_none() {
                let _ = self.connect(self.deadline.for_work());
            }
        }
    }

    /// Notes, for those who come after, whether a root key may be loaded.
    fn mark_loaded(&self, loaded: bool) {
        if let Some(turn) = &self.turn {
            turn.mark(loaded);
        }
    }

    /// The Name of this TPM's root key, from whoever had the turn before.
    fn remembered(&self) -> Option<Name> {
        self.turn.as_ref()?.remembered()
    }

    /// After a connection broke: leaves no root key behind.
    fn recover(&mut self, name: Option<Name>) -> Result<(), TpmError> {
        if !self.place.keeps_objects() {
            self.note(Noted::default());
            return Ok(());
        }
        if self.stuck {
            // Nothing more can be sent until the TPM has answered.
            return Err(self.late(Command::FlushContext));
        }
        let until = self.deadline.for_cleanup();
        let mut result = Ok(());
        for _ in 0..Self::RECOVERIES {
            result = self.reconnect_and_sweep(name, until);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn reconnect_and_sweep(&mut self, name: Option<Name>, until: Instant) -> Result<(), TpmError> {
        self.connect(until)?;
        self.sweep_conversation(until)?;
        self.sweep(name.or_else(|| self.remembered()), until)
    }

    /// Flushes what the conversation over the connection that broke had loaded
    /// besides root keys: what was not there before.
    fn sweep_conversation(&mut self, until: Instant) -> Result<(), TpmError> {
        let Some((objects, sessions)) = self.others.clone() else {
            return Ok(());
        };
        self.sweep_storage_keys(&objects, until)?;
        self.sweep_sessions(&sessions, until)?;
        self.note(Noted::default());
        Ok(())
    }

    /// Notes what is loaded besides the root key, for those who come after too.
    fn note(&mut self, loaded: Noted) {
        self.loaded = loaded;
        if let Some(turn) = &self.turn {
            turn.note(loaded);
        }
    }

    fn needs_session(&self) -> bool {
        self.trust.bus == Bus::Encrypted || self.trust.owner_auth.is_some()
    }

    /// Begins a session, unless none is needed: for a conversation that is protected,
    /// salted to the storage key; to show that the owner's password is known, without
    /// salt.
    fn converse(&mut self, until: Instant) -> Result<(), TpmError> {
        if !self.needs_session() {
            return Ok(());
        }
        let kept = self.kept_storage_key(until)?;
        if self.place.keeps_objects() {
            let objects = self.transient_handles(until)?;
            let sessions = self.session_handles(until)?;
            if let Some(turn) = &self.turn {
                turn.note_others(&objects, &sessions);
            }
            self.others = Some((objects, sessions));
        }
        if self.trust.bus == Bus::Plain {
            return self.start_session(None, until);
        }
        let (object, key) = match kept {
            Some(kept) => kept,
            None => self.made_storage_key(until)?,
        };
        self.start_session(Some((object, &key)), until)?;
        self.storage_key = Some(key.name());
        Ok(())
    }

    /// Tells those who come after what is about to be loaded, should this process not
    /// live to note its handle.
    fn announce(&self, coming: Noted) {
        if let Some(turn) = &self.turn {
            turn.note(coming);
        }
    }

    /// Nothing was loaded of what was announced, as the TPM says.
    fn withdraw<T>(&mut self, result: &Result<T, TpmError>) {
        if matches!(result, Err(TpmError::Response { .. })) {
            self.note(self.loaded);
        }
    }

    /// Starts a session, and flushes the key that it is salted to if that is not kept
    /// in the TPM: its slot is needed, and it is not.
    fn start_session(
        &mut self,
        salted_to: Option<(u32, &StorageKey)>,
        until: Instant,
    ) -> Result<(), TpmError> {
        let command = Command::StartAuthSession;
        self.announce(Noted {
            session: Some(Noted::COMING),
            ..self.loaded
        });
        let started = self.run(command, until, |connection| {
            connection.start_session(salted_to, until)
        });
        self.withdraw(&started);
        if let Ok(session) = started {
            self.note(Noted {
                session: Some(session),
                ..self.loaded
            });
        }
        let flushed = match self.connection {
            Some(_) => self.flush_storage_key(until),
            None => Ok(()),
        };
        match started {
            Ok(_) => flushed,
            Err(TpmError::Response { command, code })
                if code.is_unimplemented() || code.is_unknown_algorithm() =>
            {
                Err(TpmError::NotEncrypted {
                    lacks: "HMAC sessions with SHA-256 and AES-128-CFB",
                    command,
                    code,
                })
            }
            Err(error) => Err(error),
        }
    }

    fn flush_storage_key(&mut self, until: Instant) -> Result<(), TpmError> {
        if let Some(object) = self.loaded.storage_key {
            self.flush_context(object, until)?;
            self.note(Noted {
                storage_key: None,
                ..self.loaded
            });
        }
        Ok(())
    }

    fn flush_session(&mut self, until: Instant) -> Result<(), TpmError> {
        if let Some(session) = self.loaded.session {
            self.flush_context(session, until)?;
            self.note(Noted {
                session: None,
                ..self.loaded
            });
        }
        Ok(())
    }

    /// The storage key that is kept in the TPM, if it is one by the TCG's templates
    /// and the known one.
    fn kept_storage_key(&mut self, until: Instant) -> Result<Option<(u32, StorageKey)>, TpmError> {
        match self.run(Command::ReadPublic, until, |connection| {
            connection.read_public(PERSISTENT_STORAGE_KEY, until)
        }) {
            Ok(object) => Ok(StorageKey::of(&object.public_area)
                .filter(|key| self.trust.check_srk(key.name()).is_ok())
                .map(|key| (object.object, key))),
            Err(TpmError::Response { code, .. }) if code.is_nothing_there() => Ok(None),
            // It is of a kind that is not known.
            Err(TpmError::Malformed { .. }) if self.connection.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The storage key that is made by one of the TCG's templates: the known one, if
    /// one is known.
    fn made_storage_key(&mut self, until: Instant) -> Result<(u32, StorageKey), TpmError> {
        if self.trust.owner_auth.is_some() {
            self.begin_as_owner(until)?;
        }
        let (mut lacking, mut another) = (None, None);
        for algorithm in StorageAlgorithm::ALL {
            let (object, key) = match self.created_storage_key(Hierarchy::Owner, algorithm, until) {
                Err(error @ TpmError::NotEncrypted { .. }) => {
                    lacking = Some(error);
                    continue;
                }
                other => other?,
            };
            let Err(error) = self.trust.check_srk(key.name()) else {
                self.flush_session(until)?;
                return Ok((object, key));
            };
            // The known one may be of the other algorithm.
            if self.flush_storage_key(until).is_err() {
                return Err(error);
            }
            another.get_or_insert(error);
        }
        Err(another.or(lacking).expect("there are algorithms"))
    }

    /// Begins the session in which the storage key is made, where the owner has a
    /// password. Without salt, who listens could try passwords on what they have
    /// recorded; so it is salted to a key of nobody's hierarchy, which needs none.
    fn begin_as_owner(&mut self, until: Instant) -> Result<(), TpmError> {
        let mut lacking = None;
        for algorithm in StorageAlgorithm::ALL {
            match self.created_storage_key(Hierarchy::Null, algorithm, until) {
                Ok((object, key)) => return self.start_session(Some((object, &key)), until),
                Err(error @ TpmError::NotEncrypted { .. }) => lacking = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(lacking.expect("there are algorithms"))
    }

    fn created_storage_key(
        &mut self,
        hierarchy: Hierarchy,
        algorithm: StorageAlgorithm,
        until: Instant,
    ) -> Result<(u32, StorageKey), TpmError> {
        let command = Command::CreatePrimary;
        self.announce(Noted {
            storage_key: Some(Noted::COMING),
            ..self.loaded
        });
        let created = self.run(command, until, |connection| {
            connection.create_storage_key(hierarchy, algorithm, until)
        });
        self.withdraw(&created);
        let object = match created {
            Err(TpmError::Response { command, code }) if code.is_unknown_algorithm() => {
                return Err(TpmError::NotEncrypted {
                    lacks: "storage keys of ECC (P-256) and RSA (2048 bits) with AES-128-CFB",
                    command,
                    code,
                });
            }
            other => other?,
        };
        self.note(Noted {
            storage_key: Some(object.object),
            ..self.loaded
        });
        let what = "the TPM made another object than it was asked for";
        match StorageKey::of(&object.public_area) {
            Some(key) => Ok((object.object, key)),
            None => Err(malformed(command, what.into())),
        }
    }

    /// Flushes what the conversation has loaded besides the root key.
    fn end_conversation(&mut self, until: Instant) -> Result<(), TpmError> {
        self.flush_storage_key(until)?;
        self.flush_session(until)
    }

    fn flushed(&mut self, root: &LoadedRoot) -> Result<(), TpmError> {
        if self.connection.is_none() {
            return self.recover(Some(root.name));
        }
        let until = self.deadline.for_flush();
        let flushed = self.flush_context(root.object, until);
        // The session as well, if there is still somebody to flush it.
        let ended = match &self.connection {
            Some(_) => self.end_conversation(until),
            None => Ok(()),
        };
        match flushed.and(ended) {
            Err(error) if self.connection.is_none() => {
                self.recover(Some(root.name)).map_err(|_| error)
            }
            result => result,
        }
    }

    /// The root key, and what it takes to have it made.
    fn begun_root(&mut self, until: Instant) -> Result<LoadedRoot, TpmError> {
        self.converse(until)?;
        let root = self.created_root(until)?;
        if self.trust.bus == Bus::Plain
            // The session has shown that the password is known: all it was for.
            && let Err(error) = self.flush_session(until)
        {
            let _ = self.flush(root);
            return Err(error);
        }
        Ok(root)
    }

    /// A password that is refused is not to be tried again: neither in this process,
    /// nor, if it is from a file, by those who come after.
    fn judge_owner_auth(&mut self, error: &mut TpmError) {
        let Some(auth) = &self.trust.owner_auth else {
            return;
        };
        if let TpmError::Response { code, .. } = error
            && code.is_wrong_password()
        {
            if let Some(turn) = &self.turn {
                turn.refuse(auth);
            }
            *error = TpmError::OwnerAuth {
                from: auth.to_string(),
                again: false,
            };
        }
    }

    fn created_root(&mut self, until: Instant) -> Result<LoadedRoot, TpmError> {
        let command = Command::CreatePrimary;
        let Created { object, root } = self.run(command, until, |connection| {
            connection.create_primary(until)
        })?;
        match root {
            Ok(name) => Ok(LoadedRoot { object, name }),
            Err(unfit) => {
                let _ = self.flush_context(object, self.deadline.for_cleanup());
                Err(match unfit {
                    Unfit::Other(what) => malformed(command, what),
                    Unfit::Forged => TpmError::Forged { command },
                })
            }
        }
    }
}

impl<C: Connection> Session<C> {
    /// What TPM2_HMAC gives, on a TPM that lacks it. What TPM2_Sign answers can't be
    /// encrypted.
    fn hmac_by_sequence(
        &mut self,
        root: &LoadedRoot,
        digest: &IdentityDigest,
    ) -> Result<IdentityKey, TpmError> {
        let started = self.ask(Command::HmacStart, |connection, until| {
            connection.hmac_start(root, until)
        });
        let sequence = match started {
            Err(TpmError::Response { command, code }) if code.is_unimplemented() => {
                return Err(TpmError::NotEncrypted {
                    lacks: "both TPM2_HMAC and TPM2_HMAC_Start",
                    command,
                    code,
                });
            }
            other => other?,
        };
        let completed = self.ask(Command::SequenceComplete, |connection, until| {
            connection.sequence_complete(sequence, digest, until)
        });
        if completed.is_err() && self.connection.is_some() {
            let _ = self.flush_context(sequence, self.deadline.for_flush());
        }
        completed
    }
}

pub(super) fn malformed(command: Command, what: String) -> TpmError {
    TpmError::Malformed { command, what }
}

impl<C: Connection> Tpm for Session<C> {
    fn create_root(&mut self) -> Result<LoadedRoot, TpmError> {
        self.mark_loaded(true);
        let until = self.deadline.for_work();
        let mut result = self.begun_root(until);
        if let Err(error) = &mut result {
            self.judge_owner_auth(error);
            let clean = if self.connection.is_none() {
                // The first error tells more than one of the attempt to clean up.
                self.recover(None).is_ok()
            } else {
                // It answered, perhaps with something that was flushed if it could be.
                let ended = self.end_conversation(self.deadline.for_cleanup()).is_ok();
                ended
                    && matches!(
                        error,
                        TpmError::Response { .. } | TpmError::OwnerAuth { .. }
                    )
            };
            if clean {
                self.mark_loaded(false);
            }
        }
        let root = result?;
        if let Some(turn) = &self.turn {
            turn.remember(root.name);
        }
        if let Err(error) = self.trust.check_root(root.name) {
            let _ = self.flush(root);
            return Err(error);
        }
        Ok(root)
    }

    fn hmac(
        &mut self,
        root: &LoadedRoot,
        digest: &IdentityDigest,
    ) -> Result<IdentityKey, TpmError> {
        let hmac = self.ask(Command::Hmac, |connection, until| {
            connection.hmac(root, digest, until)
        });
        match hmac {
            Err(TpmError::Response { code, .. }) if code.is_unimplemented() => {
                match self.trust.bus {
                    Bus::Plain => self.ask(Command::Sign, |connection, until| {
                        connection.sign(root.object, digest, until)
                    }),
                    Bus::Encrypted => self.hmac_by_sequence(root, digest),
                }
            }
            result => result,
        }
    }

    fn flush(&mut self, root: LoadedRoot) -> Result<(), TpmError> {
        let result = self.flushed(&root);
        if result.is_ok() {
            self.mark_loaded(false);
        }
        result
    }
}
