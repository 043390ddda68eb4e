// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A turn at a TPM: the lock, the time limit, commands that are put off, and
//! leaving nothing behind, the same over every kind of connection.

use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Created, Failed, Found, Place};
use super::patience::Deadline;
use super::turn::Turn;
use super::{Command, LoadedRoot, Name, Patience, Tpm, TpmError};
use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

/// A connection to a TPM, held for one derivation (or several of one process).
///
/// A root process holds the lock of that TPM meanwhile. All commands together
/// take no longer than [`Patience::hold`]; commands that the TPM puts off
/// (TPM_RC_RETRY and its like) are sent again in that time.
pub struct Session<C: Connection> {
    place: C::Place,
    deadline: Deadline,
    connection: Option<C>,
    commands: u32,
    stuck: bool,
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
    /// [`TpmError::Open`] for the connection.
    pub fn open(place: &C::Place, patience: &Patience) -> Result<Self, TpmError> {
        let turn = Turn::take(&place.chip(), patience.turn)?;
        let deadline = Deadline::start(patience.hold);
        let mut session = Self {
            place: place.clone(),
            deadline,
            connection: None,
            commands: 0,
            stuck: false,
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

    fn connect(&mut self, until: Instant) -> Result<(), TpmError> {
        self.connection = None;
        let connection = C::open(&self.place, until).map_err(|source| TpmError::Open {
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
        let mut swept = false;
        loop {
            let Some(connection) = &mut self.connection else {
                return Err(TpmError::Closed { command });
            };
            self.commands += 1;
            let code = match send(connection) {
                Ok(result) => return Ok(result),
                Err(Failed::Response(code)) => code,
                Err(Failed::Malformed(what)) => return Err(malformed(command, what)),
                Err(Failed::Connection(error)) => {
                    self.stuck |= connection.is_stuck();
                    self.connection = None;
                    return Err(self.broken(command, error));
                }
            };
            if let Some(name) = self.remembered()
                && code.is_out_of_slots()
                && self.place.keeps_objects()
                && !swept
            {
                swept = true;
                self.sweep(name, until)?;
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
        let roots = self.loaded_roots(self.deadline.for_work())?;
        Ok(roots.into_iter().map(|found| found.object).collect())
    }

    fn flush_context(&mut self, object: u32, until: Instant) -> Result<(), TpmError> {
        self.run(Command::FlushContext, until, |connection| {
            connection.flush_context(object, until)
        })
    }

    /// Flushes root keys that nobody is using any more: left by a connection
    /// that broke, or by a process that was killed. The turn makes sure that
    /// nobody else has one loaded, the Name that it is not another's key.
    fn sweep(&mut self, name: Name, until: Instant) -> Result<(), TpmError> {
        for found in self.loaded_roots(until)? {
            if found.name == name {
                self.flush_context(found.object, until)?;
            }
        }
        Ok(())
    }

    /// The objects that are loaded and could be root keys.
    fn loaded_roots(&mut self, until: Instant) -> Result<Vec<Found>, TpmError> {
        let handles = self.run(Command::GetCapability, until, |connection| {
            connection.transient_handles(until)
        })?;
        let mut roots = Vec::new();
        for handle in handles {
            match self.run(Command::ReadPublic, until, |connection| {
                connection.read_public(handle, until)
            }) {
                Ok(found) => roots.extend(found),
                Err(error) if self.connection.is_none() => return Err(error),
                // It is not there any more, or is of a kind that is not known.
                Err(_) => {}
            }
        }
        Ok(roots)
    }

    /// Frees what whoever had the turn before was not given the time to free.
    fn sweep_after_others(&mut self) {
        let unclean = self.turn.as_ref().is_some_and(Turn::is_unclean);
        if let Some(name) = self.remembered()
            && unclean
            && self.place.keeps_objects()
        {
            // Should it fail, it is tried again when slots run out.
            let _ = self.sweep(name, self.deadline.for_work());
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
        let name = match name.or_else(|| self.remembered()) {
            Some(name) => name,
            // One more root key tells the Name, and is swept with the rest.
            None => self.created_root(until)?.name,
        };
        self.sweep(name, until)
    }

    fn flushed(&mut self, root: &LoadedRoot) -> Result<(), TpmError> {
        if self.connection.is_none() {
            return self.recover(Some(root.name));
        }
        let until = self.deadline.for_flush();
        match self.flush_context(root.object, until) {
            Err(error) if self.connection.is_none() => {
                self.recover(Some(root.name)).map_err(|_| error)
            }
            result => result,
        }
    }

    fn created_root(&mut self, until: Instant) -> Result<LoadedRoot, TpmError> {
        let command = Command::CreatePrimary;
        let Created { object, root } = self.run(command, until, |connection| {
            connection.create_primary(until)
        })?;
        match root {
            Ok(name) => Ok(LoadedRoot { object, name }),
            Err(what) => {
                let _ = self.flush_context(object, self.deadline.for_cleanup());
                Err(malformed(command, what))
            }
        }
    }
}

pub(super) fn malformed(command: Command, what: String) -> TpmError {
    TpmError::Malformed { command, what }
}

impl<C: Connection> Tpm for Session<C> {
    fn create_root(&mut self) -> Result<LoadedRoot, TpmError> {
        self.mark_loaded(true);
        let result = self.created_root(self.deadline.for_work());
        match &result {
            Ok(root) => {
                if let Some(turn) = &self.turn {
                    turn.remember(root.name);
                }
            }
            Err(_) if self.connection.is_none() => {
                // The first error tells more than one of the attempt to clean up.
                if self.recover(None).is_ok() {
                    self.mark_loaded(false);
                }
            }
            Err(TpmError::Response { .. }) => self.mark_loaded(false),
            // It answered, with something that was flushed if it could be.
            Err(_) => {}
        }
        result
    }

    fn hmac(
        &mut self,
        root: &LoadedRoot,
        digest: &IdentityDigest,
    ) -> Result<IdentityKey, TpmError> {
        let object = root.object;
        let hmac = self.ask(Command::Hmac, |connection, until| {
            connection.hmac(object, digest, until)
        });
        match hmac {
            Err(TpmError::Response { code, .. }) if code.is_unimplemented() => self
                .ask(Command::Sign, |connection, until| {
                    connection.sign(object, digest, until)
                }),
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
