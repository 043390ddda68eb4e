// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tdk` says when something is wrong.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use tpm_derived_keys::config::ConfigError;
use tpm_derived_keys::det_keygen::DetKeygenError;
use tpm_derived_keys::identity::IdentityError;
use tpm_derived_keys::policy::PolicyError;
use tpm_derived_keys::request::RequestError;
use tpm_derived_keys::tpm::{TctiError, TpmError};

use crate::ssh_agent::AgentError;

/// Anything that ends the command.
#[derive(Debug)]
pub(crate) enum Error {
    /// An option, or options that don't go together.
    Usage(String),
    Request(RequestError),
    Identity(IdentityError),
    Tcti(TctiError),
    Config(ConfigError),
    Policy(PolicyError),
    Asker(tdk_request_key::Failure),
    Tpm(TpmError),
    DetKeygen(DetKeygenError),
    SshKey(ssh_key::Error),
    Log(String),
    Input(io::Error),
    Read(PathBuf, io::Error),
    /// What is wrong with the key id on a line of a file.
    KeyIds(String, usize, Box<Error>),
    Output(io::Error),
    Asking(tdk_client::Error),
    Pipe(io::Error),
    Command(OsString, io::Error),
    Agent(AgentError),
    /// Another TPM, or another owner seed, is the known one already.
    Enrolled(String),
    Enrolment(PathBuf, io::Error),
    /// What was typed can't be the owner's password.
    OwnerAuth(&'static str),
}

impl Error {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Request(_) | Self::Identity(_) | Self::Tcti(_) => {
                ExitCode::from(2)
            }
            Self::DetKeygen(
                DetKeygenError::Seed(_) | DetKeygenError::Ed25519Seed(_) | DetKeygenError::Bits(_),
            ) => ExitCode::from(2),
            Self::KeyIds(_, _, what) => what.exit_code(),
            Self::DetKeygen(_)
            | Self::SshKey(_)
            | Self::Config(_)
            | Self::Policy(_)
            | Self::Asker(_)
            | Self::Tpm(_)
            | Self::Log(_)
            | Self::Input(_)
            | Self::Read(..)
            | Self::Output(_)
            | Self::Asking(_)
            | Self::Pipe(_)
            | Self::Command(..)
            | Self::Enrolled(_)
            | Self::Enrolment(..)
            | Self::OwnerAuth(_)
            | Self::Agent(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Enrolled(what) | Self::Log(what) => f.write_str(what),
            Self::Enrolment(path, error) => {
                write!(f, "can't write {}: {error}", path.display())
            }
            Self::OwnerAuth(what) => write!(f, "what was typed is not the password: {what}"),
            Self::Request(error) => write!(f, "{error}: {}", error.hint()),
            Self::Identity(error) => error.fmt(f),
            Self::Tcti(error) => error.fmt(f),
            Self::Config(error) => write!(f, "{error}: {}", error.hint()),
            Self::Policy(error) => write!(f, "{error}: {}", error.hint()),
            Self::Asker(failure) => failure.fmt(f),
            Self::Tpm(error) => write!(f, "{error}: {}", error.hint()),
            Self::Asking(error) if error.hint().is_empty() => error.fmt(f),
            Self::Asking(error) => write!(f, "{error}: {}", error.hint()),
            Self::Agent(error) => error.fmt(f),
            Self::Pipe(error) => write!(f, "can't put the key into a pipe: {error}"),
            Self::Command(program, error) => {
                write!(f, "can't run {}: {error}", program.display())
            }
            Self::DetKeygen(error) => error.fmt(f),
            Self::SshKey(error) => write!(f, "the key can't be written as OpenSSH's: {error}"),
            Self::Input(error) => write!(f, "can't read standard input: {error}"),
            Self::Read(path, error) => write!(f, "can't read {}: {error}", path.display()),
            Self::KeyIds(file, line, what) => write!(f, "{file}, line {line}: {what}"),
            Self::Output(error) => write!(f, "can't write to standard output: {error}"),
        }
    }
}

macro_rules! from {
    ($($variant:ident: $error:ty),+) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

from!(
    Request: RequestError,
    Identity: IdentityError,
    Tcti: TctiError,
    Config: ConfigError,
    Policy: PolicyError,
    Tpm: TpmError,
    DetKeygen: DetKeygenError,
    SshKey: ssh_key::Error,
    Asking: tdk_client::Error,
    Agent: AgentError
);
