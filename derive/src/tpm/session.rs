// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A turn at a TPM: the lock, the time limit, commands that are put off, and
//! leaving nothing behind, the same over every kind of connection.

mod conversation;
mod sweep;

use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rsa::rand_core::{OsRng, RngCore};

use super::connection::{Connection, Created, Failed, Place, SequencePassword, Unfit};
use super::patience::Deadline;
use super::turn::{Noted, Turn};
use super::{Bus, Command, LoadedRoot, Name, Patience, ResponseCode, Tpm, TpmError, Trust};
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
    /// The root key that this connection has loaded.
    root: Option<u32>,
    /// What is loaded besides the root key.
    loaded: Noted,
    /// A sequence may be loaded that has no handle here.
    has_lost_sequence: bool,
    /// What others had loaded before: objects, sessions.
    others: Option<(Vec<u32>, Vec<u32>)>,
    /// The Name of the storage key that the last conversation was salted to.
    storage_key: Option<Name>,
    /// The session that has done what the owner's policy asks for, and has not been used
    /// for the owner since.
    shown_policy: Option<u32>,
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
            root: None,
            loaded: Noted::default(),
            has_lost_sequence: false,
            others: None,
            storage_key: None,
            shown_policy: None,
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
        // Whatever it has loaded is nobody's now.
        self.root = None;
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
        let mut put_off = None;
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
                    let error = self.broken(command, error);
                    // It was the time for a further try that was over.
                    return Err(match (error, put_off) {
                        (TpmError::Deadline { .. }, Some(code)) => {
                            TpmError::Response { command, code }
                        }
                        (error, _) => error,
                    });
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
            put_off = Some(code);
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    fn flush_context(&mut self, object: u32, until: Instant) -> Result<(), TpmError> {
        self.run(Command::FlushContext, until, |connection| {
            connection.flush_context(object, until)
        })
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

    /// Notes what is loaded besides the root key, for those who come after too.
    fn note(&mut self, loaded: Noted) {
        self.loaded = loaded;
        if let Some(turn) = &self.turn {
            turn.note(loaded);
        }
    }

    fn flushed(&mut self, root: &LoadedRoot) -> Result<(), TpmError> {
        if self.connection.is_none() || self.has_lost_sequence {
            return self.recover(Some(root.name));
        }
        let until = self.deadline.for_flush();
        let Err(error) = self.flush_all(root, until) else {
            return Ok(());
        };
        // What is loaded is not what it was thought to be.
        self.recover(Some(root.name)).map_err(|_| error)
    }

    fn flush_all(&mut self, root: &LoadedRoot, until: Instant) -> Result<(), TpmError> {
        self.flush_context(root.object, until)?;
        self.root = None;
        self.end_conversation(until)
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
    /// nor, if it is from a file, by those who come after. A policy may be: nothing of
    /// it can be guessed.
    fn judge_owner_auth(&mut self, error: &mut TpmError) {
        let Some(auth) = &self.trust.owner_auth else {
            return;
        };
        let TpmError::Response { code, .. } = *error else {
            return;
        };
        if auth.policy().is_some() {
            if code.is_wrong_policy() {
                let policy = auth.to_string();
                *error = TpmError::OwnerPolicy { policy, code };
            }
        } else if code.is_wrong_password() {
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
        self.show_policy(until)?;
        let Created { object, root } = self.run(command, until, |connection| {
            connection.create_primary(until)
        })?;
        self.shown_policy = None;
        match root {
            Ok(name) => {
                self.root = Some(object);
                Ok(LoadedRoot { object, name })
            }
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
        unimplemented: ResponseCode,
    ) -> Result<IdentityKey, TpmError> {
        if self.has_policy() {
            return Err(TpmError::NotEncrypted {
                lacks: "TPM2_HMAC, which a policy of the owner takes",
                command: Command::Hmac,
                code: unimplemented,
            });
        }
        self.has_lost_sequence = true;
        if let Some(turn) = &self.turn {
            turn.mark_sequence();
        }
        let mut password = SequencePassword::default();
        OsRng.fill_bytes(&mut *password);
        let started = self.ask(Command::HmacStart, |connection, until| {
            connection.hmac_start(root, &password, until)
        });
        let sequence = match started {
            Err(TpmError::Response { command, code }) if code.is_unimplemented() => {
                self.has_lost_sequence = false;
                return Err(TpmError::NotEncrypted {
                    lacks: "both TPM2_HMAC and TPM2_HMAC_Start",
                    command,
                    code,
                });
            }
            other => other?,
        };
        let completed = self.ask(Command::SequenceComplete, |connection, until| {
            connection.sequence_complete(sequence, &password, digest, until)
        });
        let ended = completed.is_ok()
            || self.connection.is_some()
                && self
                    .flush_context(sequence, self.deadline.for_flush())
                    .is_ok();
        self.has_lost_sequence = !ended;
        if ended {
            self.mark_loaded(true);
        }
        match completed {
            // Not the one that was started, which has the password that it was given.
            Err(TpmError::Response { command, code }) if code.is_wrong_password() => {
                Err(TpmError::Forged { command })
            }
            other => other,
        }
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
            // The first error tells more than one of the attempt to clean up.
            if self.abandon(error).is_ok() {
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
                    Bus::Encrypted => self.hmac_by_sequence(root, digest, code),
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
