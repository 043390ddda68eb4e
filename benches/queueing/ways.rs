// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways, and what it takes to try one.

use std::env;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tdk_simulator::proxy::Proxy;
use tdk_simulator::{Endpoint, StateSource, Swtpm};
use tdk_tests::live::Killed;
use tdk_tests::storm::{Answered, Askers};
use tempfile::TempDir;
use tpm_derived_keys::identity::{Identity, IdentityDigest, Realm, Scope, Subject};
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{
    Bus, Direct, PERSISTENT_STORAGE_KEY, Patience, RootKey, StorageAlgorithm, Trust,
};
use tpm_derived_keys::{IdentityKey, KeyInfo};

use crate::wire::Wire;
use crate::{CLIENT, Result, broker, context};

/// How many share a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As callouts do it.
    Lock,
    /// Everybody connects, and waits until there is a connection to be had.
    NoLock,
    /// The same over TCP.
    NoLockTcp,
    /// One process makes all derivations.
    Broker,
    /// The same, and keeps session and root key loaded.
    KeepingBroker,
    /// The lock; the root key is loaded from a file.
    SavedContext,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Lock,
        Self::NoLock,
        Self::NoLockTcp,
        Self::Broker,
        Self::KeepingBroker,
        Self::SavedContext,
    ];

    /// Those that can be had on such a bus: a saved context only in clear here.
    pub(crate) fn of(bus: Bus) -> impl Iterator<Item = Self> {
        let can = move |way: &Self| *way != Self::SavedContext || bus == Bus::Plain;
        Self::ALL.into_iter().filter(can)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::NoLock => "no lock",
            Self::NoLockTcp => "no lock, TCP",
            Self::Broker => "broker",
            Self::KeepingBroker => "broker that keeps the root key loaded",
            Self::SavedContext => "lock, saved context",
        }
    }

    /// With more clients at once, this way takes minutes.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::NoLockTcp => 8,
            _ => usize::MAX,
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        let way = Self::ALL.into_iter().find(|way| way.name() == name);
        way.ok_or_else(|| format!("there is no way '{name}'").into())
    }
}

pub(crate) fn bus_name(bus: Bus) -> &'static str {
    match bus {
        Bus::Plain => "plain",
        Bus::Encrypted => "encrypted",
    }
}

pub(crate) fn parse_bus(name: &str) -> Result<Bus> {
    let all = [Bus::Plain, Bus::Encrypted];
    let bus = all.into_iter().find(|bus| bus_name(*bus) == name);
    bus.ok_or_else(|| format!("there is no bus '{name}'").into())
}

/// A state of a TPM that keeps a storage key.
pub(crate) struct State(TempDir);

pub(crate) fn state_with_storage_key() -> Result<State> {
    let directory = tempfile::tempdir()?;
    let tpm = Swtpm::builder().start()?;
    let mut wire = Wire::open(&tpm.tcti())?;
    let key = wire.create_primary(&StorageAlgorithm::P256.template())?;
    wire.keep(key, PERSISTENT_STORAGE_KEY)?;
    wire.flush(key)?;
    drop(wire);
    tpm.save(directory.path())?;
    Ok(State(directory))
}

impl State {
    /// Where the state is.
    pub(crate) fn source(&self) -> StateSource {
        StateSource::CopyOf(self.0.path().into())
    }

    /// What everybody has to get.
    pub(crate) fn expected(&self, count: usize) -> Result<Vec<[u8; 32]>> {
        expected(&self.tpm(Way::Lock)?.tcti(), count)
    }

    /// A TPM with a copy of it, as that way needs it.
    pub(crate) fn tpm(&self, way: Way) -> Result<Swtpm> {
        let endpoint = match way {
            Way::NoLockTcp => Endpoint::Tcp,
            _ => Endpoint::Unix,
        };
        let tpm = Swtpm::builder().state(self.source()).endpoint(endpoint);
        Ok(tpm.start()?)
    }
}

/// A way, and the TPM that it is tried on.
pub(crate) struct Contender {
    pub(crate) way: Way,
    pub(crate) bus: Bus,
    /// A TCTI string, or the broker's socket.
    place: String,
    program: PathBuf,
    /// The broker first.
    _alive: (Option<Killed>, Option<Proxy>, Option<Swtpm>, TempDir),
}

impl Contender {
    pub(crate) fn new(way: Way, bus: Bus, tpm: Swtpm) -> Result<Self> {
        let tcti = tpm.tcti();
        Self::at(way, bus, tcti, (None, Some(tpm)))
    }

    /// The same, behind a proxy.
    pub(crate) fn behind(way: Way, bus: Bus, tpm: Swtpm, proxy: Proxy) -> Result<Self> {
        let tcti = proxy.tcti();
        Self::at(way, bus, tcti, (Some(proxy), Some(tpm)))
    }

    /// The same, with a TPM of another kind.
    pub(crate) fn device(way: Way, bus: Bus, path: &str) -> Result<Self> {
        Self::at(way, bus, format!("device:{path}"), (None, None))
    }

    fn at(
        way: Way,
        bus: Bus,
        tcti: String,
        (proxy, tpm): (Option<Proxy>, Option<Swtpm>),
    ) -> Result<Self> {
        if let Some(path) = tcti.strip_prefix("swtpm:path=") {
            let path = Path::new(path);
            let directory = path.parent().ok_or("a socket has a directory")?;
            fs::set_permissions(directory, Permissions::from_mode(0o755))?;
            fs::set_permissions(path, Permissions::from_mode(0o777))?;
        }
        let (broker, place) = match way {
            Way::Broker | Way::KeepingBroker => {
                let (process, socket) = broker::start(way, bus, &tcti)?;
                let socket = socket.into_os_string().into_string();
                (Some(process), socket.map_err(|_| "a path is text")?)
            }
            _ => (None, tcti),
        };
        // Where everybody can run it. Copied by another process: one that is started
        // meanwhile would have it open for writing.
        let directory = tempfile::tempdir()?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let program = directory.path().join("client");
        let mut copy = Command::new("cp");
        copy.arg(env::current_exe()?).arg(&program);
        if !copy.status()?.success() {
            return Err("the program can't be copied".into());
        }
        Ok(Self {
            way,
            bus,
            place,
            program,
            _alive: (broker, proxy, tpm, directory),
        })
    }

    /// So many at once.
    pub(crate) fn clients(&self, count: usize) -> Vec<Answered> {
        let command = |number: usize| {
            let mut command = Command::new(&self.program);
            command
                .args([CLIENT, &number.to_string(), self.way.name()])
                .args([bus_name(self.bus), &self.place]);
            // Only root takes the lock.
            if matches!(self.way, Way::NoLock | Way::NoLockTcp) {
                command.uid(65534).gid(65534);
            }
            command
        };
        Askers::run((0..count).map(command)).ask().0
    }
}

/// One of many: as the asker that others are measured with.
pub(crate) fn client(number: &str, way: &str, bus: &str, place: &str) -> Result<()> {
    let (way, bus) = (Way::parse(way)?, parse_bus(bus)?);
    let number = number.parse()?;
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    let asked = now();
    let key = match way {
        Way::Lock | Way::NoLock | Way::NoLockTcp => derive(place, bus, number),
        Way::Broker | Way::KeepingBroker => broker::ask(place, number),
        Way::SavedContext => context::derive(place, &digest(number)).and_then(|key| expand(&key)),
    };
    let answered = now();
    let answer = match key {
        Ok(key) => format!("key {}", hex::encode(key)),
        Err(error) => format!("error {error}"),
    };
    println!("{number} {asked} {answered} {answer}");
    loop {
        thread::park();
    }
}

fn now() -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

/// A conversation with the TPM, which may last so long.
pub(crate) fn open(tcti: &str, bus: Bus, hold: Duration) -> Result<Direct> {
    let patience = Patience {
        hold,
        ..Patience::default()
    };
    let trust = Trust {
        bus,
        root: None,
        srk: None,
        owner_auth: None,
    };
    Ok(Direct::open(&tcti.parse()?, &patience, &trust)?)
}

/// A derivation as the callout makes it.
pub(crate) fn derive(tcti: &str, bus: Bus, number: u32) -> Result<[u8; 32]> {
    let patience = Patience::default();
    // Who waits for no turn waits for a connection instead.
    let hold = if rustix::process::geteuid().is_root() {
        patience.hold
    } else {
        patience.turn + patience.hold
    };
    let mut tpm = open(tcti, bus, hold)?;
    let mut root = RootKey::create(&mut tpm)?;
    let key = root.identity_key(&digest(number))?;
    root.flush()?;
    drop(tpm);
    expand(&key)
}

/// Somebody's.
pub(crate) fn digest(number: u32) -> IdentityDigest {
    let identity = Identity::new(Subject::Id, Scope::Uid, number, Realm::default());
    identity.expect("a user").digest()
}

pub(crate) fn expand(key: &IdentityKey) -> Result<[u8; 32]> {
    let request = Request::parse(b"user", b"tpm2:derived:x", b"32 id")?;
    Ok(key.expand(&KeyInfo::from(&request)).as_bytes().try_into()?)
}

/// What everybody has to get from the TPM there.
pub(crate) fn expected(tcti: &str, count: usize) -> Result<Vec<[u8; 32]>> {
    let mut tpm = open(tcti, Bus::Plain, Duration::from_mins(1))?;
    let mut root = RootKey::create(&mut tpm)?;
    let keys = (0..u32::try_from(count)?).map(|number| {
        let key = root.identity_key(&digest(number))?;
        expand(&key)
    });
    keys.collect()
}
