// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The callout that our line names, and its configuration.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tpm_derived_keys::config::Config;
use tpm_derived_keys::trust::{way_to, weak_spot};

use super::is_root;
use super::report::{Check, Finding, Report, Status};
use super::request_key::{OurLine, program, unreadable};

/// How long the callout may take to say what it is.
const LIMIT: Duration = Duration::from_secs(5);

/// As many bytes of it as are of interest.
const MOST: u64 = 256;

/// Looks at the program.
pub(super) fn examine_program(report: &mut Report, line: Option<&OurLine>) {
    let Some(line) = line else {
        report.depend(&[Check::Callout, Check::CalloutVersion], Check::Line);
        return;
    };
    let found = program(&line.program, Check::Callout, "make install");
    // What others could have changed is not run here.
    let version = if found.status == Status::Ok {
        version(&line.program)
    } else {
        Check::CalloutVersion.depends_on(Check::Callout)
    };
    report.add(found);
    report.add(version);
}

fn version(program: &Path) -> Finding {
    let check = Check::CalloutVersion;
    match what_it_says(program) {
        Ok(said) => compare(&said, env!("CARGO_PKG_VERSION")),
        Err(error) => check.wrong(
            format!("{} --version: {error}", program.display()),
            "make install",
        ),
    }
}

/// Runs it with `--version`, for a limited time.
fn what_it_says(program: &Path) -> io::Result<String> {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = tdk_sys::with_limits_as_given(&mut command).spawn()?;
    let stdout = child.stdout.take().expect("it is piped");
    let (sender, receiver) = mpsc::channel();
    // Left behind, should somebody keep the pipe open.
    thread::spawn(move || {
        let mut said = Vec::new();
        let read = stdout.take(MOST).read_to_end(&mut said);
        let _ = sender.send(read.map(|_| said));
    });
    let said = receiver.recv_timeout(LIMIT);
    child.kill()?;
    child.wait()?;
    match said {
        Ok(said) => Ok(String::from_utf8_lossy(&said?).into_owned()),
        Err(_) => Err(io::Error::other(format!(
            "no answer within {} s",
            LIMIT.as_secs()
        ))),
    }
}

fn compare(said: &str, ours: &str) -> Finding {
    let check = Check::CalloutVersion;
    let version = said.trim_end().strip_prefix("key.tpm2_derived ");
    match version {
        Some(version) if version == ours => check.ok(format!("{version}, as this tdk")),
        Some(version) => check.warning(
            format!("the callout is {version}, and this tdk {ours}"),
            "install both from one build (make install)",
        ),
        None => check.wrong(
            format!("it says '{}' to --version", said.trim_end()),
            "make install",
        ),
    }
}

/// Looks at the configuration, and gives it if it is good.
///
/// It is the one that our line names, or the one that `tdk` was told of.
pub(super) fn examine_config(
    report: &mut Report,
    line: Option<&OurLine>,
    named: Option<&Path>,
) -> Option<Config> {
    let named = named.or_else(|| line.and_then(|line| line.config.as_deref()));
    let (finding, config) = config(named);
    report.add(finding);
    config
}

fn config(named: Option<&Path>) -> (Finding, Option<Config>) {
    let check = Check::CalloutConfig;
    let path = named.unwrap_or(Path::new(Config::PATH));
    let shown = path.display();
    let config = match Config::load(named) {
        Ok(config) => config,
        Err(error) if error.is_permission_denied() && !is_root() => {
            return (check.not_checked(error.to_string(), "run it as root"), None);
        }
        Err(error) => {
            return (check.wrong(error.to_string(), error.hint()), None);
        }
    };
    let realm = match config.realm().as_bytes().len() {
        0 => "no realm".into(),
        length => format!("a realm of {length} bytes"),
    };
    let (tcti, seconds) = (config.tcti(), config.patience().hold.as_secs());
    let content = format!("{tcti}, {seconds} s, {realm}");
    match way_to(path) {
        Ok(way) => match weak_spot(&way) {
            None => (check.ok(format!("{shown}: {content}")), Some(config)),
            Some(weak) => (check.wrong(weak.to_string(), weak.remedy()), None),
        },
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            let seen = format!("no {shown}, so by default: {content}");
            (check.ok(seen), Some(config))
        }
        Err(error) => (unreadable(check, path, &error), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let told = |said: &str| {
            let finding = compare(said, "1.2.3");
            (finding.status, finding.seen)
        };
        let (status, seen) = told("key.tpm2_derived 1.2.3\n");
        assert_eq!((status, seen.as_str()), (Status::Ok, "1.2.3, as this tdk"));
        let (status, seen) = told("key.tpm2_derived 1.2.2\n");
        assert_eq!(status, Status::Warning);
        assert_eq!(seen, "the callout is 1.2.2, and this tdk 1.2.3");
        for said in ["", "busybox 1.2.3\n", "key.tpm2_derived", "1.2.3"] {
            assert_eq!(told(said).0, Status::Wrong, "{said}");
        }
    }

    #[test]
    fn what_a_program_says() {
        let said = what_it_says(Path::new("/bin/echo")).unwrap();
        assert!(said.starts_with("echo (GNU coreutils)"), "{said}");
        assert_eq!(
            what_it_says(Path::new("/bin/false")).map(|_| ()).ok(),
            Some(())
        );
        what_it_says(Path::new("/etc/passwd")).unwrap_err();
    }
}
