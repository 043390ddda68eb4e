// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the TPM is, and who speaks to it.

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;
use tpm_derived_keys::config::Config;
use tpm_derived_keys::tpm::{Bus, Direct, Patience, Tcti, Tpm, Trust};
use tpm_derived_keys_tss::{Tss, TssTcti};

use crate::error::Error;
use crate::warn;

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
        self.tcti.is_some() || self.backend.is_some() || self.config.is_some()
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

    /// Connects to the TPM, which is to be the enrolled one unless --tcti names
    /// another.
    pub(crate) fn open(&self) -> Result<Box<dyn Tpm>, Error> {
        let config = self.config()?;
        let trust = match self.tcti {
            None => config.trust()?,
            Some(_) => in_anybody(&config),
        };
        self.way()?.open(&config.patience(), &trust)
    }

    /// Connects to the TPM, whichever it is.
    pub(crate) fn open_any(&self) -> Result<Box<dyn Tpm>, Error> {
        let config = self.config()?;
        let trust = in_anybody(&config);
        self.way()?.open(&config.patience(), &trust)
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
