// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent itself: keys, a socket, and a thread for each client.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use signal_hook::iterator::Signals;
use ssh_key::public::{KeyData, RsaPublicKey};
use tdk_client::{KeyType, Request, Session, What};
use tpm_derived_keys::request as grammar;

use super::connection;
use super::error::AgentError;
use super::key::{KernelKey, KeyError};
use super::protocol::{Identity, Scheme, Sign};
use super::socket::{Socket, may_connect};
use crate::doctor;
use crate::error::Error;
use crate::request::of_client;
use crate::warn;

/// More clients at a time are sent away.
const MOST_CLIENTS: usize = 256;

/// What ends an agent.
const END: [Signal; 3] = [Signal::HUP, Signal::INT, Signal::TERM];

/// A key that is asked for, and what it is called.
pub(super) struct Wanted {
    request: Request,
    bits: u16,
    name: String,
}

impl Wanted {
    /// What `request` asks for, as an RSA key that stays in the kernel.
    pub(super) fn new(request: &grammar::Request) -> Self {
        let (asking, what) = of_client(request);
        let What::Rsa(bits) = what else {
            unreachable!("there are no other asymmetric keys, and that has been checked");
        };
        Self {
            request: asking.key_type(KeyType::Asymmetric),
            bits,
            name: format!("{}{}", grammar::PREFIX, request.key_id()),
        }
    }
}

/// An agent that has its keys, and listens.
pub(super) struct Agent {
    identities: Vec<Identity<KernelKey>>,
    listener: UnixListener,
    socket: Socket,
    signals: Signals,
}

impl Sign for KernelKey {
    fn sign(&self, scheme: Scheme, data: &[u8]) -> Option<Vec<u8>> {
        self.sign(scheme, data)
            .inspect_err(|error| warn(&error.to_string()))
            .ok()
    }
}

impl Agent {
    /// Asks for the keys, into a session keyring that goes with this process, and
    /// listens at a socket.
    pub(super) fn start(wanted: &[Wanted], socket: Option<&Path>) -> Result<Self, Error> {
        let signals = Signals::new(END.map(Signal::as_raw)).map_err(AgentError::Process)?;
        let session = Session::join()?;
        let identities = wanted
            .iter()
            .map(|wanted| identity(&session, wanted))
            .collect::<Result<_, _>>()?;
        let (listener, socket) = Socket::bind(socket)
            .map_err(|error| AgentError::Socket(socket.map(Path::to_owned), error))?;
        Ok(Self {
            identities,
            listener,
            socket,
            signals,
        })
    }

    /// Where clients connect.
    pub(super) fn path(&self) -> &Path {
        self.socket.path()
    }

    /// Answers clients, until it is told to end.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let (listener, identities) = (self.listener, Arc::new(self.identities));
        // This thread has the keys in its session keyring, and so have those that it
        // starts, and those that they start.
        thread::Builder::new()
            .name("listener".into())
            .spawn(move || listen(&listener, &identities))
            .map_err(AgentError::Process)?;
        let _ = self.signals.forever().next();
        Ok(())
    }
}

fn identity(session: &Session, wanted: &Wanted) -> Result<Identity<KernelKey>, Error> {
    let serial = session.ask(&wanted.request).map_err(|error| match error {
        tdk_client::Error::Failed if doctor::lacks_private_key_parser() => {
            AgentError::NoParser.into()
        }
        error => Error::from(error),
    })?;
    let unusable = |error| AgentError::Key(wanted.name.clone(), error);
    let key = KernelKey::new(serial, wanted.bits).map_err(unusable)?;
    let public = RsaPublicKey::try_from(key.public()).map_err(|_| unusable(KeyError::NotRsa))?;
    Ok(Identity::new(key, KeyData::Rsa(public), &wanted.name))
}

/// Lets clients in, for ever.
fn listen(listener: &UnixListener, identities: &Arc<Vec<Identity<KernelKey>>>) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) if may_connect(&stream) => stream,
            Ok(_) => continue,
            Err(error) => {
                // Out of files, most likely: somebody will leave.
                warn(&format!("can't let a client in: {error}"));
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let identities = Arc::clone(identities);
        // One for each client, and this thread's.
        if Arc::strong_count(&identities) > MOST_CLIENTS + 1 {
            warn("a client is sent away: there are too many");
            continue;
        }
        let serve = move || {
            // It may leave when it wants.
            let _ = connection::serve(stream, &identities);
        };
        // If there can't be another thread, the client is sent away.
        let _ = thread::Builder::new().name("client".into()).spawn(serve);
    }
}
