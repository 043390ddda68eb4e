// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk policy`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use tdk_request_key::{Errno, Failure, Observed};
use tpm_derived_keys::config::Config;
use tpm_derived_keys::identity::Identified;
use tpm_derived_keys::policy::{Action, Explained, Policy};
use tpm_derived_keys::request::Request;

use crate::error::Error;
use crate::place::Place;
use crate::words::Words;
use crate::{print, warn};

/// Checks the policy, and explains what it decides
///
/// The policy is policy.toml and policy.d/*.toml in the directory of the configuration, /etc/tdk.
/// No TPM is needed. docs/policy.md says what rules are made of.
#[derive(clap::Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads the policy as the callout does, and says what is wrong with it
    ///
    /// Exit status 1 with file, line and column if something is, for each file: then nobody gets a key.
    Check,
    Explain(Explain),
}

/// Says what the policy decides about a process' request, which rule of it, and why
///
/// The process is looked at as it would be if it asked now. Exit status 0 if it would get the key, 1
/// if not.
#[derive(clap::Args)]
struct Explain {
    /// The process (or thread) that would ask
    #[arg(long, value_name = "N")]
    pid: u32,

    /// What follows tpm2:derived: in the description
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    key_id: OsString,

    /// What the key is to be: a length in bytes, from 1 to 1024, or rsa2048, rsa3072, rsa4096, p256,
    /// p384 or ed25519
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true)]
    what: OsString,

    /// By what the asker is known: path, csum, id, cgroup or verity
    #[arg(long, value_name = "KIND", allow_hyphen_values = true)]
    identity: OsString,

    /// The key type: user, logon, big_key or asymmetric
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "user",
        allow_hyphen_values = true
    )]
    r#type: OsString,

    /// The key's generation, 0 by default
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    r#gen: Option<OsString>,

    /// "any" for a key that is bound to no user
    #[arg(long)]
    scope: Option<Any>,

    /// Also say of each rule before the one that decides why it does not
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Any {
    Any,
}

impl PolicyCommand {
    pub(crate) fn run(&self, place: &Place) -> Result<ExitCode, Error> {
        if place.tcti.is_some() || place.backend.is_some() {
            let what = "policy needs no TPM: leave out --tcti and --backend";
            return Err(Error::Usage(what.into()));
        }
        match &self.command {
            Command::Check => check(place).map(|()| ExitCode::SUCCESS),
            Command::Explain(explain) => explain.run(place),
        }
    }
}

fn load(place: &Place) -> Result<Policy, Error> {
    Ok(Policy::load(Config::directory(place.config.as_deref()))?)
}

fn check(place: &Place) -> Result<(), Error> {
    let directory = Config::directory(place.config.as_deref());
    let policy = match Policy::check(directory) {
        Ok(policy) => policy,
        Err(mut errors) => {
            let last = errors.pop().expect("an error, if there is no policy");
            for error in errors.into_iter().map(Error::from) {
                // Nothing is left to be done if standard error is closed.
                let _ = writeln!(std::io::stderr(), "tdk: {error}");
            }
            return Err(last.into());
        }
    };
    let mut text = String::new();
    for (file, rules) in policy.files() {
        let s = if rules == 1 { "" } else { "s" };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}: {rules} rule{s}", file.display());
    }
    if text.is_empty() {
        let _ = writeln!(text, "no policy in {}", directory.display());
    }
    text += match policy.default_action() {
        Action::Allow => "default: allow every key that is bound to its asker's uid\n",
        Action::Deny => "default: deny\n",
    };
    print(text.as_bytes())
}

impl Explain {
    fn run(&self, place: &Place) -> Result<ExitCode, Error> {
        let request = self.request()?;
        let config = place.config()?;
        let policy = load(place)?;
        if !rustix::process::geteuid().is_root() {
            warn("the callout is root, and may see more of the asker than you");
        }
        let explained = match self.identify(request, &config, &policy) {
            Ok((asker, identified)) => {
                let (judgement, facts) = policy.judge_by(&identified, &mut asker.facts());
                policy.explain(&judgement, &facts)
            }
            Err(Error::Asker(failure)) if is_refusal(&failure) => before_any_rule(&failure),
            Err(error) => return Err(error),
        };
        print(self.text(&explained).as_bytes())?;
        Ok(if explained.allowed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// The request, by the grammar that askers' are read with.
    fn request(&self) -> Result<Request, Error> {
        let mut words = Words::default();
        words.add("--what", "", &self.what)?;
        words.add("--identity", "", &self.identity)?;
        if let Some(generation) = &self.r#gen {
            words.add("--gen", "gen=", generation)?;
        }
        if self.scope.is_some() {
            words.add("--scope", "scope=", "any".as_ref())?;
        }
        words.parse(&self.r#type, &self.key_id)
    }

    /// The asker as the callout would see it.
    fn identify(
        &self,
        request: Request,
        config: &Config,
        policy: &Policy,
    ) -> Result<(Observed, Identified), Error> {
        let asker = Observed::of_thread(self.pid).map_err(Error::Asker)?;
        let kind = request.kind();
        asker.rule_out(policy, kind).map_err(Error::Asker)?;
        let subject = asker.subject(kind).map_err(Error::Asker)?;
        let identified = request.identify(subject, asker.uid(), config.realm())?;
        Ok((asker, identified))
    }

    fn text(&self, explained: &Explained) -> String {
        let mut text = format!("{}\n", explained.decision);
        let parts = [("", &explained.because), ("given ", &explained.given)];
        for (what, lines) in parts {
            for line in lines {
                let _ = writeln!(text, "  {what}{line}");
            }
        }
        if self.all && !explained.passed_over.is_empty() {
            text += "passed over:\n";
            for line in &explained.passed_over {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }
}

fn is_refusal(failure: &Failure) -> bool {
    matches!(failure.errno(), Errno::Refused | Errno::Malformed)
}

fn before_any_rule(failure: &Failure) -> Explained {
    Explained {
        allowed: false,
        decision: format!("refused before any rule is looked at: {failure}"),
        because: Vec::new(),
        given: Vec::new(),
        passed_over: Vec::new(),
    }
}
