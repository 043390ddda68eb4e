// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TPM commands over a file descriptor: the kernel's devices and software TPMs,
//! without any shared library.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use tpm2_protocol::TpmResult;
use zeroize::{Zeroize, Zeroizing};

use super::patience::Deadline;
use super::turn::Turn;
use super::{Command, LoadedRoot, Name, Patience, ResponseCode, Tcti, Tpm, TpmError};
use crate::derivation::IdentityKey;
use crate::identity::IdentityDigest;

mod commands;
mod link;

use commands::{Marshalled, Wrong};
use link::{Link, MOST};

/// A connection to a TPM, held for one derivation (or several of one process).
///
/// A root process holds the lock of that TPM meanwhile. All commands together
/// take no longer than [`Patience::hold`]; commands that the TPM puts off
/// (TPM_RC_RETRY and its like) are sent again in that time.
#[derive(Debug)]
pub struct Direct {
    tcti: Tcti,
    deadline: Deadline,
    link: Option<Link>,
    response: Box<Zeroizing<[u8; MOST]>>,
    commands: u32,
    stuck: bool,
    // Last, so that the next in line finds the connection closed.
    turn: Option<Turn>,
}

impl Direct {
    /// How often to try to clean up over a new connection.
    const RECOVERIES: u32 = 3;

    /// Waits for the turn and connects.
    ///
    /// # Errors
    ///
    /// [`TpmError::TurnLimit`] and [`TpmError::Lock`] for the turn,
    /// [`TpmError::Open`] for the connection.
    pub fn open(tcti: &Tcti, patience: &Patience) -> Result<Self, TpmError> {
        let turn = Turn::take(tcti, patience.turn)?;
        let deadline = Deadline::start(patience.hold);
        let mut direct = Self {
            tcti: tcti.clone(),
            deadline,
            link: None,
            response: Box::new(Zeroizing::new([0; MOST])),
            commands: 0,
            stuck: false,
            turn,
        };
        direct.connect(deadline.for_work())?;
        direct.sweep_after_others();
        Ok(direct)
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
        self.link = None;
        let link = Link::open(&self.tcti, until).map_err(|source| TpmError::Open {
            tcti: self.tcti.clone(),
            source,
        })?;
        self.link = Some(link);
        Ok(())
    }

    /// Sends a command once. The response is in `self.response` afterwards.
    fn send(&mut self, command: Command, bytes: &[u8], until: Instant) -> Result<usize, TpmError> {
        let Some(link) = &mut self.link else {
            return Err(TpmError::Closed { command });
        };
        self.commands += 1;
        let length = match link.exchange(bytes, &mut self.response, until) {
            Ok(length) if length >= 10 => length,
            other => {
                self.stuck |= link.is_stuck();
                self.link = None;
                return Err(match other {
                    Ok(length) => malformed(command, format!("it says it has {length} bytes")),
                    Err(error) => self.broken(command, error),
                });
            }
        };
        match ResponseCode::new(commands::code(&self.response)) {
            None => Ok(length),
            Some(code) => Err(TpmError::Response { command, code }),
        }
    }

    fn broken(&self, command: Command, source: io::Error) -> TpmError {
        match source.kind() {
            io::ErrorKind::TimedOut => TpmError::Deadline {
                command,
                limit: self.deadline.limit,
            },
            io::ErrorKind::UnexpectedEof => TpmError::Closed { command },
            io::ErrorKind::InvalidData => malformed(command, "its size is impossible".into()),
            _ => TpmError::Io { command, source },
        }
    }

    /// Sends a command, again and again while the TPM puts it off.
    fn run(
        &mut self,
        command: Command,
        bytes: TpmResult<Marshalled>,
        until: Instant,
    ) -> Result<usize, TpmError> {
        let bytes = bytes.map_err(|error| malformed(command, format!("can't send: {error:?}")))?;
        let mut pause = Duration::from_millis(1);
        let mut swept = false;
        loop {
            let error = match self.send(command, bytes.as_bytes(), until) {
                Ok(length) => return Ok(length),
                Err(error) => error,
            };
            let TpmError::Response { code, .. } = error else {
                return Err(error);
            };
            if let Some(name) = self.remembered()
                && code.is_out_of_slots()
                && self.tcti.keeps_objects()
                && !swept
            {
                swept = true;
                self.sweep(name, until)?;
                continue;
            }
            let again = code.is_retry() || code.is_out_of_slots();
            if !again || Instant::now() + pause >= until {
                return Err(error);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// As `run`, and takes something out of the response.
    fn ask<T>(
        &mut self,
        command: Command,
        bytes: TpmResult<Marshalled>,
        until: Instant,
        take: impl FnOnce(&[u8]) -> Result<T, Wrong>,
    ) -> Result<T, TpmError> {
        let length = self.run(command, bytes, until)?;
        take(&self.response[..length]).map_err(|what| malformed(command, what))
    }

    /// Flushes root keys that nobody is using any more: left by a connection
    /// that broke, or by a process that was killed. The turn makes sure that
    /// nobody else has one loaded, the Name that it is not another's key.
    fn sweep(&mut self, name: Name, until: Instant) -> Result<(), TpmError> {
        let handles = self.ask(
            Command::GetCapability,
            commands::transient_handles(),
            until,
            commands::handles,
        )?;
        for handle in handles {
            let found = match self.ask(
                Command::ReadPublic,
                commands::read_public(handle),
                until,
                commands::possible_root,
            ) {
                Err(error) if self.link.is_none() => return Err(error),
                // It is not there any more, or is of a kind that is not known.
                found => found.unwrap_or(None),
            };
            if found == Some(name) {
                let flush = commands::flush_context(handle);
                self.run(Command::FlushContext, flush, until)?;
            }
        }
        Ok(())
    }

    /// Frees what whoever had the turn before was not given the time to free.
    fn sweep_after_others(&mut self) {
        let unclean = self.turn.as_ref().is_some_and(Turn::is_unclean);
        if let Some(name) = self.remembered()
            && unclean
            && self.tcti.keeps_objects()
        {
            // Should it fail, it is tried again when slots run out.
            let _ = self.sweep(name, self.deadline.for_work());
            if self.link.is_none() {
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
        if !self.tcti.keeps_objects() {
            return Ok(());
        }
        if self.stuck {
            // Nothing more can be sent until the TPM has answered.
            return Err(TpmError::Deadline {
                command: Command::FlushContext,
                limit: self.deadline.limit,
            });
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
        if self.link.is_none() {
            return self.recover(Some(root.name));
        }
        let until = self.deadline.for_flush();
        let flush = commands::flush_context(root.handle);
        match self.run(Command::FlushContext, flush, until) {
            Ok(_) => Ok(()),
            Err(error) if self.link.is_none() => self.recover(Some(root.name)).map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    fn created_root(&mut self, until: Instant) -> Result<LoadedRoot, TpmError> {
        let command = Command::CreatePrimary;
        let length = self.run(command, commands::create_primary(), until)?;
        let response = &self.response[..length];
        let handle = commands::handle(response).map_err(|what| malformed(command, what))?;
        match commands::root_name(response) {
            Ok(name) => Ok(LoadedRoot { handle, name }),
            Err(what) => {
                let until = self.deadline.for_cleanup();
                let flush = commands::flush_context(handle);
                let _ = self.run(Command::FlushContext, flush, until);
                Err(malformed(command, what))
            }
        }
    }
}

fn malformed(command: Command, what: String) -> TpmError {
    TpmError::Malformed { command, what }
}

impl Tpm for Direct {
    fn create_root(&mut self) -> Result<LoadedRoot, TpmError> {
        self.mark_loaded(true);
        let result = self.created_root(self.deadline.for_work());
        match &result {
            Ok(root) => {
                if let Some(turn) = &self.turn {
                    turn.remember(root.name);
                }
            }
            Err(_) if self.link.is_none() => {
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
        let until = self.deadline.for_work();
        let handle = root.handle;
        let mut secret = self.ask(
            Command::Hmac,
            commands::hmac(handle, digest),
            until,
            commands::out_hmac,
        );
        if matches!(&secret, Err(TpmError::Response { code, .. }) if code.is_unimplemented()) {
            secret = self.ask(
                Command::Sign,
                commands::sign(handle, digest),
                until,
                commands::hmac_signature,
            );
        }
        self.response.zeroize();
        secret.map(IdentityKey::new)
    }

    fn flush(&mut self, root: LoadedRoot) -> Result<(), TpmError> {
        let result = self.flushed(&root);
        if result.is_ok() {
            self.mark_loaded(false);
        }
        result
    }
}
