// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong with a guest, other than the script in it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Kernel;
use crate::error::SimError;

/// As many lines of the console as an error shows.
const LINES: usize = 25;

/// Why a machine did not run a script to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum GuestError {
    /// A program that a guest needs is not on this machine.
    NotInstalled {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The kernel has not been fetched.
    NoKernel {
        /// The kernel.
        kernel: Kernel,
        /// Where it was looked for.
        image: PathBuf,
    },
    /// The system's image has not been made.
    NoSystem {
        /// Where it was looked for.
        image: PathBuf,
    },
    /// The kernel has no such module.
    NoModule {
        /// The module.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A file can't be put into the guest.
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The guest's TPM can't be had.
    Tpm(SimError),
    /// The machine ended before the script did.
    Died {
        /// How.
        how: String,
        /// What it wrote to its console.
        console: String,
    },
    /// The script did not end in time, or the machine after it.
    TimeLimit {
        /// The time.
        limit: Duration,
        /// What was going on.
        during: &'static str,
        /// What the machine wrote to its console.
        console: String,
    },
    /// The operating system refused something.
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl GuestError {
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

impl From<SimError> for GuestError {
    fn from(error: SimError) -> Self {
        Self::Tpm(error)
    }
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled { program, package } => {
                write!(f, "{program} is not installed: apt-get install {package}")
            }
            Self::NoKernel { kernel, image } => {
                write!(f, "kernel {kernel}: there is no {}: ", image.display())?;
                match kernel {
                    Kernel::At(_) => write!(f, "name a directory with a vmlinuz"),
                    _ => write!(f, "run scripts/kernels.sh"),
                }
            }
            Self::NoSystem { image } => write!(
                f,
                "Debian's image: there is no {}: run scripts/debian.sh",
                image.display()
            ),
            Self::NoModule { name, directory } => write!(
                f,
                "module {name}: it is neither in {} nor built in: correct its name",
                directory.display()
            ),
            Self::BadFile { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Tpm(error) => write!(f, "the guest's TPM: {error}"),
            Self::Died { how, console } => {
                write!(
                    f,
                    "the guest ended before its script: {how}{}",
                    tail(console)
                )
            }
            Self::TimeLimit {
                limit,
                during,
                console,
            } => write!(
                f,
                "the guest was stopped after {limit:?}, {during}{}",
                tail(console)
            ),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

/// The end of a message: the last lines of the console.
fn tail(console: &str) -> String {
    let lines: Vec<_> = console
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return "; it wrote nothing to its console".into();
    }
    let last = &lines[lines.len().saturating_sub(LINES)..];
    format!("; the end of its console:\n{}", last.join("\n"))
}

impl Error for GuestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Tpm(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_console() {
        assert!(tail("\r\n\n").ends_with("nothing to its console"));
        let lines: Vec<_> = (0..100).map(|n| format!("line {n}\r\n")).collect();
        let console = lines.join("\r\n");
        let tail = tail(&console);
        assert!(tail.contains(":\nline 75\nline 76\n"), "{tail}");
        assert!(tail.ends_with("\nline 99"), "{tail}");
    }
}
