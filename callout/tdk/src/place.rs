// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the TPM is, and who speaks to it.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tpm_derived_keys::config::Config;
use tpm_derived_keys::tpm::{
    Bus, Cause, Direct, OwnerAuth, Patience, PcrPolicy, Tcti, Tpm, TpmError, Trust,
};
use tpm_derived_keys_tss::{Tss, TssTcti};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::warn;

/// What the systemd credential with the owner's password is called.
const CREDENTIAL: &str = "tdk.owner-auth";

/// Which TPM, and which configuration.
#[derive(clap::Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct Place {
    /// Where the TPM is, instead of where the configuration says: device:PATH, swtpm:path=SOCKET or
    /// swtpm:host=ADDRESS,port=NUMBER; by libtss2 also tabrmd:, cmd:COMMAND, pcap:TCTI, libtpms:FILE
    /// or mssim:host=ADDRESS,port=NUMBER
    #[arg(long, global = true, value_name = "STRING", allow_hyphen_values = true)]
    pub(crate) tcti: Option<String>,

    /// Who speaks to the TPM: tdk itself, as the callout does (direct), or libtss2 (tss). By default
    /// libtss2 does so only where tdk can't
    #[arg(long, global = true, value_name = "WHO")]
    pub(crate) backend: Option<Backend>,

    /// The configuration, instead of /etc/tdk/config.toml
    #[arg(long, global = true, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) config: Option<PathBuf>,

    /// The password of the TPM's owner hierarchy, if it has one: a file (or a pipe), instead of
    /// systemd's credential tdk.owner-auth or the configured owner_auth. If there is none of them, and
    /// a terminal, it is asked for
    #[arg(long, global = true, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) owner_auth_file: Option<PathBuf>,

    /// The PCRs of the TPM's owner hierarchy's policy, if that is what opens it, as in sha256:7;
    /// instead of the configured owner_policy
    #[arg(
        long,
        global = true,
        value_name = "BANK:PCRS",
        conflicts_with = "owner_auth_file"
    )]
    pub(crate) owner_policy: Option<PcrPolicy>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Backend {
    Direct,
    Tss,
}

/// A TPM, and who speaks to it.
pub(crate) enum Way {
    Direct(Tcti),
    Tss(TssTcti),
}

impl Place {
    /// Whether any of it was said.
    pub(crate) fn is_given(&self) -> bool {
        self.tcti.is_some()
            || self.backend.is_some()
            || self.config.is_some()
            || self.owner_auth_file.is_some()
            || self.owner_policy.is_some()
    }

    pub(crate) fn config(&self) -> Result<Config, Error> {
        Ok(Config::load(self.config.as_deref())?)
    }

    pub(crate) fn way(&self) -> Result<Way, Error> {
        let tcti = match &self.tcti {
            Some(tcti) => tcti.clone(),
            None => self.config()?.tcti().to_string(),
        };
        Ok(match (self.backend, tcti.parse()) {
            (Some(Backend::Direct), tcti) => Way::Direct(tcti?),
            (None, Ok(tcti)) => Way::Direct(tcti),
            // What is wrong with a string of neither is told by whom knows more.
            (Some(Backend::Tss), _) | (None, Err(_)) => Way::Tss(tcti.parse()?),
        })
    }

    /// Does something for which the TPM's owner hierarchy may ask for its password: it
    /// is then done once more with the one that somebody types, if none was given and
    /// somebody is there.
    pub(crate) fn with_owner_auth<T>(
        &self,
        mut work: impl FnMut(Option<Arc<OwnerAuth>>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(given) = self.owner_auth()? {
            return work(Some(Arc::new(given)));
        }
        match work(None) {
            Err(Error::Tpm(error)) if error.cause() == Cause::OwnerAuth => {
                work(Some(Arc::new(typed(error)?)))
            }
            other => other,
        }
    }

    /// The owner's password, from where it is without asking anybody, or the owner's
    /// policy.
    pub(crate) fn owner_auth(&self) -> Result<Option<OwnerAuth>, Error> {
        if let Some(policy) = &self.owner_policy {
            return Ok(Some(OwnerAuth::by_policy(policy.clone())));
        }
        if let Some(file) = &self.owner_auth_file {
            return Ok(Some(given(file)?));
        }
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        if let Some(credential) = credentials.map(|directory| directory.join(CREDENTIAL))
            && credential.exists()
        {
            return Ok(Some(OwnerAuth::of_anything(&credential)?));
        }
        if self.tcti.is_some() {
            return Ok(None);
        }
        match self.config()?.owner_auth() {
            Err(error) if error.is_permission_denied() => Ok(None),
            other => Ok(other?),
        }
    }

    /// Connects to the TPM, which is to be the enrolled one unless --tcti names
    /// another.
    pub(crate) fn open(&self, auth: Option<Arc<OwnerAuth>>) -> Result<Box<dyn Tpm>, Error> {
        let config = self.config()?;
        let trust = match self.tcti {
            None => config.known()?,
            Some(_) => in_anybody(&config),
        };
        let trust = Trust {
            owner_auth: auth,
            ..trust
        };
        self.way()?.open(&config.patience(), &trust)
    }

    /// Connects to the TPM, whichever it is.
    pub(crate) fn open_any(&self, auth: Option<Arc<OwnerAuth>>) -> Result<Box<dyn Tpm>, Error> {
        let config = self.config()?;
        let trust = Trust {
            owner_auth: auth,
            ..in_anybody(&config)
        };
        self.way()?.open(&config.patience(), &trust)
    }
}

/// A file that was named. One that stays is to be as secret as the configured one; a
/// pipe is not there for anybody else.
fn given(file: &Path) -> Result<OwnerAuth, Error> {
    Ok(match fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => OwnerAuth::of_anything(file)?,
        _ => OwnerAuth::of_file(file)?,
    })
}

/// The password that somebody types, without being seen; or why it was needed.
fn typed(error: TpmError) -> Result<OwnerAuth, Error> {
    if !io::stdin().is_terminal() {
        return Err(error.into());
    }
    let _unseen = Unseen::begin();
    let typed =
        rpassword::prompt_password("Password of the TPM's owner: ").map_err(Error::Input)?;
    let value = Zeroizing::new(typed.into_bytes());
    OwnerAuth::new(value, "the terminal").map_err(Error::OwnerAuth)
}

/// A terminal that does not show what is typed, from before it is asked for.
struct Unseen(File, Termios);

impl Unseen {
    fn begin() -> Option<Self> {
        let terminal = File::open("/dev/tty").ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut unseen = before.clone();
        unseen.local_modes -= LocalModes::ECHO;
        tcsetattr(&terminal, OptionalActions::Now, &unseen).ok()?;
        Some(Self(terminal, before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.0, OptionalActions::Now, &self.1);
    }
}

fn in_anybody(config: &Config) -> Trust {
    Trust {
        bus: config.bus(),
        ..Trust::default()
    }
}

impl Way {
    pub(crate) fn backend(&self) -> &'static str {
        match self {
            Self::Direct(_) => "direct",
            Self::Tss(_) => "tss",
        }
    }

    fn open(&self, patience: &Patience, trust: &Trust) -> Result<Box<dyn Tpm>, Error> {
        match self {
            Self::Direct(tcti) => Ok(Box::new(Direct::open(tcti, patience, trust)?)),
            Self::Tss(tcti) => {
                if tcti.is_recorded() {
                    let secrets = match trust.bus {
                        Bus::Encrypted => "",
                        Bus::Plain => ": who can read it has the keys",
                    };
                    warn(&format!("pcap writes everything to a file{secrets}"));
                    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
                }
                tpm_derived_keys_tss::quiet();
                Ok(Box::new(Tss::open(tcti, patience, trust)?))
            }
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(tcti) => tcti.fmt(f),
            Self::Tss(tcti) => tcti.fmt(f),
        }
    }
}
