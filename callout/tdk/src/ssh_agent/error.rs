// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why there is no agent.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::key::KeyError;

/// Anything but the asking that keeps an agent from its work.
#[derive(Debug)]
pub(crate) enum AgentError {
    /// The kernel can't parse private keys.
    NoParser,
    /// The key of this name can't be used.
    Key(String, KeyError),
    /// It can't listen there.
    Socket(Option<PathBuf>, io::Error),
    /// It can't become a process of its own.
    Process(io::Error),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoParser => write!(
                f,
                "this kernel can't parse private keys: as root, modprobe pkcs8_key_parser \
                 (CONFIG_PKCS8_PRIVATE_KEY_PARSER)"
            ),
            Self::Key(name, error) => write!(f, "{name}: {error}"),
            Self::Socket(path, error) => {
                let path = match path {
                    Some(path) => path.display().to_string(),
                    None => format!("a new directory in {}", std::env::temp_dir().display()),
                };
                write!(f, "can't listen at {path}: {error}")?;
                if error.kind() == io::ErrorKind::AddrInUse {
                    write!(f, ": remove it, or give another one by -a")?;
                }
                Ok(())
            }
            Self::Process(error) => write!(f, "can't start the agent: {error}"),
        }
    }
}
