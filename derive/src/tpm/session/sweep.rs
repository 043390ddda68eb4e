// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Leaving nothing behind, nor what others have left.

use std::time::Instant;

use super::super::connection::{Connection, Object, Place};
use super::super::turn::{Noted, Turn};
use super::super::{Command, Name, StorageKey, TpmError};
use super::Session;

impl<C: Connection> Session<C> {
    /// How often to try to clean up over a new connection.
    const RECOVERIES: u32 = 3;

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

    /// Flushes root keys that nobody is using any more: left by a connection
    /// that broke, or by a process that was killed. The turn makes sure that
    /// nobody else has one loaded, the Name, if it is known, that it is not another's
    /// key.
    fn sweep(&mut self, name: Option<Name>, until: Instant) -> Result<(), TpmError> {
        for object in self.loaded_objects(until)? {
            let found = Name::of_root(&object.public_area);
            let is_ours = self.root == Some(object.object);
            if found.is_some() && (name.is_none() || found == name) && !is_ours {
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
    pub(super) fn sweep_left(&mut self, until: Instant) -> Result<(), TpmError> {
        // Not what this process has loaded itself.
        if self.loaded == Noted::default() {
            self.sweep_noted(until)?;
        }
        let turn = self.turn.as_ref().filter(|turn| turn.has_sequence());
        if !self.has_lost_sequence
            && let Some((objects, _)) = turn.and_then(Turn::others)
        {
            // libtss2 knows no sequences but those that it has started.
            let _ = self.sweep_sequences(&objects, until);
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

    /// Frees what whoever had the turn before was not given the time to free.
    pub(super) fn sweep_after_others(&mut self) {
        let unclean = self.turn.as_ref().is_some_and(Turn::is_unclean);
        if unclean && self.place.keeps_objects() {
            // Should it fail, it is tried again when slots run out.
            let _ = self.sweep_left(self.deadline.for_work());
            if self.connection.is_none() {
                let _ = self.connect(self.deadline.for_work());
            }
        }
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
        if self.has_lost_sequence {
            self.sweep_sequences(&objects, until)?;
            self.has_lost_sequence = false;
        }
        Ok(())
    }

    /// Flushes sequences but for those of others. They have no public area.
    fn sweep_sequences(&mut self, others: &[u32], until: Instant) -> Result<(), TpmError> {
        for handle in self.transient_handles(until)? {
            if !others.contains(&handle) && self.read_public(handle, until)?.is_none() {
                self.flush_context(handle, until)?;
            }
        }
        Ok(())
    }

    /// After an error on the way to a root key: leaves nothing behind.
    pub(super) fn abandon(&mut self, error: &TpmError) -> Result<(), TpmError> {
        let has_answered = matches!(
            error,
            TpmError::Response { .. }
                | TpmError::OwnerAuth { .. }
                | TpmError::OtherStorageKey { .. }
                | TpmError::NotEncrypted { .. }
        );
        if self.connection.is_none() || !has_answered {
            return self.recover(None);
        }
        let until = self.deadline.for_cleanup();
        let swept = self
            .end_conversation(until)
            .and_then(|()| self.sweep_unexpected(until));
        match swept {
            Err(_) => self.recover(None),
            clean => clean,
        }
    }

    /// The TPM says that a command has failed. Flushes what is loaded nevertheless,
    /// where nobody else can have loaded it.
    fn sweep_unexpected(&mut self, until: Instant) -> Result<(), TpmError> {
        if self.turn.is_none() || !self.place.keeps_objects() {
            return Ok(());
        }
        self.sweep_conversation(until)?;
        self.sweep(self.remembered(), until)
    }

    /// After a connection broke, or answered what can't be understood: leaves nothing
    /// behind, over another one.
    pub(super) fn recover(&mut self, name: Option<Name>) -> Result<(), TpmError> {
        if !self.place.keeps_objects() {
            self.note(Noted::default());
            self.has_lost_sequence = false;
            // With the connection goes what it has loaded.
            return match &self.connection {
                Some(_) => self.connect(self.deadline.for_cleanup()),
                None => Ok(()),
            };
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

    /// The objects that are loaded, but for sequences and the like.
    fn loaded_objects(&mut self, until: Instant) -> Result<Vec<Object>, TpmError> {
        let mut objects = Vec::new();
        for handle in self.transient_handles(until)? {
            objects.extend(self.read_public(handle, until)?);
        }
        Ok(objects)
    }

    pub(super) fn transient_handles(&mut self, until: Instant) -> Result<Vec<u32>, TpmError> {
        self.run(Command::GetCapability, until, |connection| {
            connection.transient_handles(until)
        })
    }

    pub(super) fn session_handles(&mut self, until: Instant) -> Result<Vec<u32>, TpmError> {
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
}
