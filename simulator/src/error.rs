// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong with a simulated TPM.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why a simulated TPM could not be had or used.
#[derive(Debug)]
#[non_exhaustive]
pub enum SimError {
    /// There is no such program.
    NotInstalled {
        /// The program that was to be started.
        program: PathBuf,
    },
    /// The TPM's process ended by itself.
    Exited {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// All it wrote to its standard error.
        stderr: String,
    },
    /// The TPM's process runs, but answered no command in time.
    NotReady {
        /// The program.
        program: PathBuf,
        /// How long it was waited for.
        limit: Duration,
        /// All it wrote to its standard error so far.
        stderr: String,
    },
    /// The TPM did not answer a command in time.
    NoAnswer {
        /// Where the TPM is, as a TCTI string.
        tcti: String,
        /// How long the answer was waited for.
        limit: Duration,
    },
    /// What came back is not a response of a TPM.
    BadResponse {
        /// The command it was the answer to.
        command: &'static str,
        /// What came back.
        response: Vec<u8>,
    },
    /// The TPM refused a command.
    Tpm {
        /// The command.
        command: &'static str,
        /// The response code.
        code: u32,
    },
    /// swtpm or a TSS cannot be given this path.
    BadPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// Another simulated TPM uses the state directory.
    StateInUse {
        /// The state directory.
        dir: PathBuf,
    },
    /// There is no state of a TPM in the directory.
    NoState {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused something.
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl SimError {
    /// For `map_err`: an I/O error while `doing` something with `path`.
    pub(crate) fn path(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let doing = format!("{doing} {}", path.display());
        move |source| Self::Io { doing, source }
    }

    /// For `map_err`: an I/O error while `doing` something.
    pub(crate) fn io(doing: &str) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.to_owned();
        move |source| Self::Io { doing, source }
    }
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled { program } if program == Path::new("swtpm") => {
                write!(f, "swtpm is not installed: apt-get install swtpm")
            }
            Self::NotInstalled { program } => write!(
                f,
                "there is no program {}: correct the path, or apt-get install swtpm and leave it out",
                program.display()
            ),
            Self::Exited {
                program,
                status,
                stderr,
            } => write!(
                f,
                "{} ended by itself ({status}) {}",
                program.display(),
                said(stderr)
            ),
            Self::NotReady {
                program,
                limit,
                stderr,
            } => write!(
                f,
                "{} runs, but answered no command within {limit:?}, {}",
                program.display(),
                said(stderr)
            ),
            Self::NoAnswer { tcti, limit } => write!(
                f,
                "the TPM at {tcti} did not answer within {limit:?}: \
                 it serves one connection at a time, is another one open?"
            ),
            Self::BadResponse { command, response } => {
                write!(f, "{command}: not the response of a TPM: {response:02x?}")
            }
            Self::Tpm { command, code } => {
                write!(f, "{command}: the TPM answered {code:#05x}")
            }
            Self::BadPath { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::StateInUse { dir } => write!(
                f,
                "{}: another simulated TPM uses this state: stop it, or use a copy",
                dir.display()
            ),
            Self::NoState { dir } => write!(
                f,
                "{}: there is no state of a TPM here (no {})",
                dir.display(),
                crate::state::PERMANENT
            ),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

/// The end of a sentence on what a program wrote to its standard error.
///
/// swtpm writes a line after every connection, which nobody needs to see.
fn said(stderr: &str) -> String {
    let lines: Vec<_> = stderr
        .lines()
        .filter(|line| *line != "swtpm: Data client disconnected")
        .collect();
    match lines.join("\n").trim_end() {
        "" => "and wrote nothing to its standard error".to_owned(),
        text => format!("and wrote to its standard error:\n{text}"),
    }
}

impl Error for SimError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said() {
        let noise = "swtpm: Data client disconnected\n";
        assert!(said(&noise.repeat(3)).contains("nothing"));
        let text = said(&format!("{noise}one\n{noise}two\n{noise}"));
        assert!(text.ends_with(":\none\ntwo"), "{text}");
    }

    #[test]
    fn response_codes_are_written_in_hexadecimal() {
        let command = "TPM2_Clear";
        let error = SimError::Tpm {
            command,
            code: 0x9a2,
        };
        assert_eq!(error.to_string(), "TPM2_Clear: the TPM answered 0x9a2");
    }
}
