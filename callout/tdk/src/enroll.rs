// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk enroll`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use clap::ValueEnum;
use tpm_derived_keys::enrolment::{self, Names};
use tpm_derived_keys::tpm::{Bus, Direct, RootKey, Trust};

use crate::error::Error;
use crate::place::{Backend, Way};
use crate::{Place, print, warn};

/// Records what this machine's TPM is known by: the Names of its root key and storage key
///
/// From then on no key is derived from another TPM, or after the TPM's owner hierarchy was cleared,
/// and nobody can answer in the TPM's place. Do it when you know that nobody does so already.
#[derive(clap::Args)]
pub(crate) struct Enroll {
    /// Record it although another TPM, or this one before it was cleared, is the known one: its keys
    /// are gone
    #[arg(long)]
    force: bool,

    /// Write no file, but print what to put into the configuration or on the kernel's command line
    /// of machines that have no disk
    #[arg(long, value_name = "WHERE", conflicts_with = "force")]
    print: Option<Where>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Where {
    Config,
    Cmdline,
}

impl Enroll {
    pub(crate) fn run(&self, place: &Place) -> Result<(), Error> {
        if place.tcti.is_some() && self.print.is_none() {
            let what = "the configured TPM is enrolled: leave out --tcti, or add --print";
            return Err(Error::Usage(what.into()));
        }
        let found = look(place)?;
        match self.print {
            Some(Where::Config) => print(found.to_config().as_bytes()),
            Some(Where::Cmdline) => print(found.to_command_line().as_bytes()),
            None => self.record(found, place),
        }
    }

    fn record(&self, found: Names, place: &Place) -> Result<(), Error> {
        let config = place.config()?;
        let path = config.enrolment();
        // With --force, what can't be read is replaced.
        let before = match enrolment::read(path) {
            Err(_) if self.force => Names::default(),
            other => other?,
        };
        if before == found {
            return print(b"enrolled already\n");
        }
        let same_root = before.root == found.root;
        if let Some(root) = before.root {
            let loss = if same_root {
                "its root key, and so all derived keys, are as before, but its storage key is not: \
                 somebody may answer in its place"
                    .to_owned()
            } else {
                format!(
                    "the TPM's owner hierarchy was cleared, or this is another machine, and the \
                     keys of the root key {root} are gone"
                )
            };
            // That no storage key was recorded is nothing that is lost.
            if !same_root || before.srk.is_some() {
                if !self.force {
                    return Err(Error::Enrolled(format!(
                        "another TPM is enrolled: {loss}: tdk enroll --force enrolls this one"
                    )));
                }
                warn(&loss);
            }
        }
        write(path, found).map_err(|error| Error::Enrolment(path.into(), error))?;
        // Elsewhere something else may be said still, and then no key is derived.
        config.known()?;
        let text = found.to_config();
        print(format!("{text}enrolled in {}\n", path.display()).as_bytes())
    }
}

/// What the TPM is to be known by.
fn look(place: &Place) -> Result<Names, Error> {
    let config = place.config()?;
    let (Way::Direct(tcti), None | Some(Backend::Direct)) = (place.way()?, place.backend) else {
        let what = "the callout's TPM is enrolled, which it does not reach by libtss2";
        return Err(Error::Usage(what.into()));
    };
    let names = place.with_owner_auth(|auth| {
        let trust = Trust {
            bus: config.bus(),
            owner_auth: auth,
            ..Trust::default()
        };
        let mut tpm = Direct::open(&tcti, &config.patience(), &trust)?;
        let root = RootKey::create(&mut tpm)?;
        let name = root.name();
        root.flush()?;
        Ok(Names {
            root: Some(name),
            srk: tpm.storage_key(),
        })
    })?;
    if config.bus() == Bus::Plain {
        warn("bus = \"plain\" needs no storage key, so that none is recorded");
    }
    Ok(names)
}

/// Replaces the file as a whole.
fn write(path: &Path, names: Names) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // Not by others, whatever the umask lets through.
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(new)?;
    file.write_all(names.to_json().as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(directory)?.sync_all()
}
