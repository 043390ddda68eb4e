// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk ssh-agent`.

mod agent;
mod background;
mod connection;
mod error;
mod key;
mod modulus;
mod protocol;
mod shell;
mod socket;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::process::getpid;

use agent::{Agent, Wanted};
use background::Side;
pub(crate) use error::AgentError;
use shell::{AGENT_PID, AUTH_SOCK, Shell};

use crate::error::Error;
use crate::words::Words;
use crate::{Place, print};

/// The keys that the kernel signs with.
const KEYS: [&str; 3] = ["rsa2048", "rsa3072", "rsa4096"];

/// Signs for ssh with RSA keys that nobody can read, as ssh-agent does
///
/// It asks the kernel for its keys as "tdk request" does, but for keys that stay in the kernel, which
/// signs with them by rsa-sha2-256 and rsa-sha2-512. When the agent ends, the keys are gone. It takes no
/// others: ssh-add can list these (-l, -L), but neither add nor remove any.
///
/// It goes to the background and prints what to have a shell evaluate, or runs a command and ends with
/// it; -D keeps it in the foreground, for a unit of systemd's.
#[derive(clap::Args)]
pub(crate) struct SshAgent {
    /// What follows tpm2:derived: in a key's description; may be given several times
    #[arg(long, value_name = "ID", required = true, allow_hyphen_values = true)]
    key_id: Vec<OsString>,

    /// What the keys are to be: rsa2048, rsa3072 or rsa4096
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true)]
    what: OsString,

    /// By what the asker, which is tdk, is known: path, csum or id
    #[arg(long, value_name = "KIND", allow_hyphen_values = true)]
    identity: OsString,

    /// The keys' generation, 0 by default
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    r#gen: Option<OsString>,

    /// Where to listen, instead of in a new directory in TMPDIR or /tmp
    #[arg(short = 'a', value_name = "SOCKET")]
    socket: Option<PathBuf>,

    /// Stay in the foreground
    #[arg(short = 'D', conflicts_with = "command")]
    foreground: bool,

    /// Print commands for csh, as by default if SHELL is one
    #[arg(short = 'c', conflicts_with_all = ["command", "sh"])]
    csh: bool,

    /// Print commands for a Bourne shell
    #[arg(short = 's', conflicts_with = "command")]
    sh: bool,

    /// The command, and its arguments
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl SshAgent {
    pub(crate) fn run(&self, place: &Place) -> Result<ExitCode, Error> {
        if place.is_given() {
            let what = "ssh-agent asks the kernel, whose callout has its own configuration: \
                        leave out --tcti, --backend and --config";
            return Err(Error::Usage(what.into()));
        }
        let wanted = self.wanted()?;
        let start = || Agent::start(&wanted, self.socket.as_deref());
        if self.foreground {
            let agent = start()?;
            self.announce(agent.path(), getpid().as_raw_nonzero().get())?;
            agent.run()?;
            return Ok(ExitCode::SUCCESS);
        }
        match background::split(!self.command.is_empty())? {
            Side::Agent(readiness) => {
                let agent = start()?;
                readiness.tell(agent.path())?;
                agent.run()?;
                Ok(ExitCode::SUCCESS)
            }
            Side::Caller(mut child) => match child.socket()? {
                Ok(path) => self.go_on(&path, child.pid()).inspect_err(|_| child.end()),
                Err(code) => Ok(code),
            },
        }
    }

    /// Once there is an agent.
    fn go_on(&self, path: &Path, pid: i32) -> Result<ExitCode, Error> {
        let Some((program, arguments)) = self.command.split_first() else {
            self.announce(path, pid)?;
            return Ok(ExitCode::SUCCESS);
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env(AUTH_SOCK, path)
            .env(AGENT_PID, pid.to_string());
        let error = tdk_sys::with_limits_as_given(&mut command).exec();
        Err(Error::Command(program.clone(), error))
    }

    fn announce(&self, path: &Path, pid: i32) -> Result<(), Error> {
        let shell = match (self.csh, self.sh) {
            (true, _) => Shell::C,
            (_, true) => Shell::Bourne,
            _ => Shell::of_user(),
        };
        print(&shell.announcement(path, pid))
    }

    fn wanted(&self) -> Result<Vec<Wanted>, Error> {
        let mut words = Words::default();
        words.add("--what", "", &self.what)?;
        words.add("--identity", "", &self.identity)?;
        if let Some(generation) = &self.r#gen {
            words.add("--gen", "gen=", generation)?;
        }
        // Other words have a meaning elsewhere.
        if !KEYS.iter().any(|word| self.what == *word) {
            let what =
                "--what is rsa2048, rsa3072 or rsa4096: the kernel has no other private keys";
            return Err(Error::Usage(what.into()));
        }
        let mut all = Vec::new();
        for (i, key_id) in self.key_id.iter().enumerate() {
            if self.key_id[..i].contains(key_id) {
                let what = format!("--key-id {} is given twice", key_id.display());
                return Err(Error::Usage(what));
            }
            let request = words.parse("asymmetric".as_ref(), key_id)?;
            all.push(Wanted::new(&request));
        }
        Ok(all)
    }
}
