// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What it takes before the root key is made: a storage key, and a session that is
//! salted to it.

use std::time::Instant;

use super::super::connection::{Connection, Place};
use super::super::turn::Noted;
use super::super::{
    Bus, Command, Hierarchy, PERSISTENT_STORAGE_KEY, StorageAlgorithm, StorageKey, TpmError,
};
use super::{Session, malformed};

impl<C: Connection> Session<C> {
    fn needs_session(&self) -> bool {
        self.trust.bus == Bus::Encrypted || self.trust.owner_auth.is_some()
    }

    /// Begins a session, unless none is needed: for a conversation that is protected,
    /// salted to the storage key; to show that the owner's password is known, without
    /// salt.
    pub(super) fn converse(&mut self, until: Instant) -> Result<(), TpmError> {
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

    pub(super) fn flush_session(&mut self, until: Instant) -> Result<(), TpmError> {
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

    /// Has the session do what the owner's policy asks for, if it is known to have one
    /// and that has not been done: it counts for the next command that the TPM carries
    /// out for the owner.
    pub(super) fn show_policy(&mut self, until: Instant) -> Result<(), TpmError> {
        let auth = self.trust.owner_auth.clone();
        let Some(policy) = auth.as_ref().and_then(|auth| auth.policy()) else {
            return Ok(());
        };
        if self.shown_policy.is_none() || self.shown_policy != self.loaded.session {
            self.run(Command::PolicyPcr, until, |connection| {
                connection.policy_pcr(policy, until)
            })?;
            self.shown_policy = self.loaded.session;
        }
        Ok(())
    }

    pub(super) fn has_policy(&self) -> bool {
        let auth = self.trust.owner_auth.as_ref();
        auth.is_some_and(|auth| auth.policy().is_some())
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
        if hierarchy == Hierarchy::Owner {
            self.show_policy(until)?;
        }
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
        self.shown_policy = None;
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
    pub(super) fn end_conversation(&mut self, until: Instant) -> Result<(), TpmError> {
        self.flush_storage_key(until)?;
        self.flush_session(until)
    }
}
