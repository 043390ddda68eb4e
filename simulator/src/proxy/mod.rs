// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A TPM in the middle: a proxy between programs and a software TPM that knows
//! commands by their codes, and can delay, refuse, spoil and lose each of them, take
//! the power from the TPM in between, and write down what it has seen.
//!
//! ```
//! use tdk_simulator::Swtpm;
//! use tdk_simulator::proxy::{Plan, Proxy};
//!
//! let tpm = Swtpm::builder().start()?;
//! let plan = Plan::script(["TPM2_HMAC@1:rc=TPM_RC_RETRY".parse()?]);
//! let proxy = Proxy::before(&tpm).plan(plan).start()?;
//! println!("give this to a TSS: {}", proxy.tcti());
//! assert!(proxy.fired().is_empty(), "nobody has asked for anything");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The proxy takes any number of connections, has the TPM do one command after the
//! other, and opens a connection to the TPM for each. So the TPM can be asked behind
//! its back at any time.

mod chip;
mod command;
mod control;
mod fault;
mod pcap;
mod plan;
mod record;
mod serve;
mod stream;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;

pub use chip::Chip;
pub use command::{command_code, command_name, response_code, response_name};
pub use fault::Fault;
pub use plan::{Arrived, Plan, Rule};
pub use record::{Event, What};

use crate::address::{Address, Endpoint};
use crate::error::SimError;
use crate::swtpm::Swtpm;
use pcap::Pcap;
use record::Record;
use serve::Chain;
use stream::{Listener, Targets};

/// How a [`Proxy`] is to be started. Made by [`Proxy::before`] and its like.
#[must_use = "nothing runs before start()"]
pub struct ProxyBuilder {
    targets: Option<Targets>,
    endpoint: Endpoint,
    plan: Plan,
    chip: Option<Chip>,
    trace: Option<Box<dyn Write + Send>>,
    pcap: Option<PathBuf>,
}

impl std::fmt::Debug for ProxyBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProxyBuilder({:?})", self.plan)
    }
}

impl ProxyBuilder {
    fn new(targets: Option<Targets>) -> Self {
        Self {
            targets,
            endpoint: Endpoint::default(),
            plan: Plan::default(),
            chip: None,
            trace: None,
            pcap: None,
        }
    }

    /// What kind of sockets it listens on. Default: [`Endpoint::Unix`].
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// What happens to which commands. Default: nothing.
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plan = plan;
        self
    }

    /// Takes as long for each command as that chip. Default: as long as the software
    /// TPM takes.
    pub fn chip(mut self, chip: Chip) -> Self {
        self.chip = Some(chip);
        self
    }

    /// Writes a line for each thing that happens.
    pub fn trace(mut self, trace: impl Write + Send + 'static) -> Self {
        self.trace = Some(Box::new(trace));
        self
    }

    /// Writes what goes over the connections to a file as of pcap-savefile(5), of the
    /// link type LINKTYPE_IPV4: as if it had gone over the TCP ports 2321 (commands)
    /// and 2322 (control).
    pub fn pcap(mut self, path: impl Into<PathBuf>) -> Self {
        self.pcap = Some(path.into());
        self
    }

    /// Starts it. It listens when this returns.
    ///
    /// # Errors
    ///
    /// [`SimError::Io`] if a socket or the pcap file can't be made.
    pub fn start(self) -> Result<Proxy, SimError> {
        let directory = tempfile::Builder::new()
            .prefix("tdk-sim-")
            .tempdir()
            .map_err(SimError::path(
                "making a directory in",
                &std::env::temp_dir(),
            ))?;
        let address = Address::new(self.endpoint, directory.path())?;
        let pcap = match self.pcap {
            Some(path) => Some(Pcap::create(&path).map_err(SimError::path("making", &path))?),
            None => None,
        };
        let [data, control] = Listener::both(&address)?.map(Arc::new);
        let shared = Arc::new(Shared {
            chain: Chain {
                targets: self.targets,
                chip: self.chip,
                plan: Mutex::new(self.plan),
                record: Record::new(self.trace, pcap),
            },
            connections: Mutex::default(),
        });
        for (listener, channel) in [(&data, Channel::Data), (&control, Channel::Control)] {
            let (listener, shared) = (Arc::clone(listener), Arc::clone(&shared));
            thread::spawn(move || shared.accept(&listener, channel));
        }
        Ok(Proxy {
            listeners: [data, control],
            shared,
            address,
            _directory: directory,
        })
    }
}

/// Which of a TPM's channels.
#[derive(Clone, Copy, Debug)]
enum Channel {
    Data,
    Control,
}

/// What the proxy's threads share.
#[derive(Debug)]
struct Shared {
    chain: Chain,
    /// The connections that are open.
    connections: Mutex<HashMap<u32, File>>,
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &Listener, channel: Channel) {
        while let Ok(client) = listener.accept() {
            let shared = Arc::clone(self);
            thread::spawn(move || shared.serve(client, channel));
        }
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<u32, File>> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut client: File, channel: Channel) {
        let chain = &self.chain;
        let connection = chain.record.connected();
        if let Ok(copy) = client.try_clone() {
            self.connections().insert(connection, copy);
        }
        let served = match channel {
            Channel::Data => chain.serve(&mut client, connection),
            Channel::Control => {
                let target = chain.targets.as_ref().map(|targets| &targets.control);
                control::serve(&mut client, target, &chain.record, connection)
            }
        };
        // Whoever has gone does not hear of it.
        drop(served);
        self.connections().remove(&connection);
        stream::end(&client);
        chain.record.add(connection, What::Closed);
    }
}

/// A running proxy. Dropping it ends all connections.
#[derive(Debug)]
pub struct Proxy {
    listeners: [Arc<Listener>; 2],
    shared: Arc<Shared>,
    address: Address,
    _directory: TempDir,
}

impl Proxy {
    /// In front of a software TPM of this process.
    pub fn before(tpm: &Swtpm) -> ProxyBuilder {
        ProxyBuilder::new(Some(Targets::of(tpm.address())))
    }

    /// In front of any swtpm, by its TCTI string.
    ///
    /// # Errors
    ///
    /// What is wrong with the string.
    pub fn before_tcti(tcti: &str) -> Result<ProxyBuilder, String> {
        Targets::parse(tcti).map(|targets| ProxyBuilder::new(Some(targets)))
    }

    /// In front of nothing: the plan has to have an answer to everything.
    pub fn alone() -> ProxyBuilder {
        ProxyBuilder::new(None)
    }

    /// What to give to a TSS as its TCTI.
    pub fn tcti(&self) -> String {
        self.address.tcti()
    }

    /// All that has happened so far.
    pub fn events(&self) -> Vec<Event> {
        self.shared.chain.record.events()
    }

    /// The codes of all commands so far.
    pub fn commands(&self) -> Vec<u32> {
        self.shared.chain.record.commands()
    }

    /// What happened to which commands so far: their names, and the faults.
    pub fn fired(&self) -> Vec<(String, Fault)> {
        self.shared.chain.record.fired()
    }

    /// Takes the power from the TPM and gives it back (TPM Reset), between two
    /// commands.
    ///
    /// # Errors
    ///
    /// [`SimError::Io`] if the TPM does not do as it is told.
    pub fn power_cycle(&self) -> Result<(), SimError> {
        self.shared.chain.power_cycle_now()
    }

    /// Has other things happen from now on.
    pub fn set_plan(&self, plan: Plan) {
        let current = self.shared.chain.plan.lock();
        *current.unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// Ends it, and says whether all that it has seen was written.
    ///
    /// # Errors
    ///
    /// [`SimError::Io`] if trace or pcap could not be written.
    pub fn stop(self) -> Result<(), SimError> {
        self.shared.chain.record.finish()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.close();
        }
        self.shared.connections().values().for_each(stream::end);
    }
}
