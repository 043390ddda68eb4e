// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel runs, and whether that runs our callout.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tpm_derived_keys::trust::{way_to, weak_spot};

use super::is_root;
use super::report::{Check, Finding, Report};
use super::request_key_conf::{self as conf, File, Line, choose, ordinary, probes};

/// The path that the kernel has built in.
const PROGRAM: &str = "/sbin/request-key";
const DIRECTORY: &str = "/etc/request-key.d";
const FILE: &str = "/etc/request-key.conf";

/// The callout is known by its name, wherever it is.
const CALLOUT: &[u8] = b"key.tpm2_derived";

const DIRECT: &str = "%k %t %d %c %u %g %S";
const PIPE: &str = "%t %d %c %u %g";

const WRITE_IT: &str = "write 'create * tpm2:derived:* * /usr/sbin/key.tpm2_derived %k %t %d %c \
                        %u %g %S' into /etc/request-key.d/tpm2-derived.conf";

/// Our line, as far as it tells of the callout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OurLine {
    pub(super) program: PathBuf,
    /// Its `--config`.
    pub(super) config: Option<PathBuf>,
}

/// Looks at all of it. `key_types` are those that the kernel has and that we
/// serve.
pub(super) fn examine(report: &mut Report, key_types: &[&'static str]) -> Option<OurLine> {
    report.add(program(
        Path::new(PROGRAM),
        Check::RequestKey,
        "install keyutils",
    ));
    match Configuration::read(Path::new(DIRECTORY), Path::new(FILE)) {
        Ok(configuration) => {
            let (findings, ours) = judge(&configuration, key_types);
            let weak = configuration.weak_spot();
            for finding in findings {
                report.add(match (finding.check, &weak) {
                    (Check::RequestKeyConfig, Some(weak)) => weak.clone(),
                    _ => finding,
                });
            }
            ours
        }
        Err((path, error)) => {
            report.add(unreadable(Check::RequestKeyConfig, &path, &error));
            report.depend(&[Check::Line, Check::OtherLines], Check::RequestKeyConfig);
            None
        }
    }
}

/// Something that is there and can't be read: wrong, unless it is only us who
/// can't.
pub(super) fn unreadable(check: Check, path: &Path, error: &io::Error) -> Finding {
    let seen = format!("{}: {error}", path.display());
    if error.kind() == io::ErrorKind::PermissionDenied && !is_root() {
        check.not_checked(seen, "run it as root")
    } else {
        check.wrong(seen, "make it readable, or remove it")
    }
}

/// Whether a program can be run by root, and nobody else could have changed it.
pub(super) fn program(path: &Path, check: Check, install: &str) -> Finding {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return check.wrong(format!("{shown} is missing"), install);
        }
        Err(error) => return unreadable(check, path, &error),
    };
    if !metadata.is_file() {
        return check.wrong(format!("{shown} is no file"), install);
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return check.wrong(
            format!("{shown} is not executable"),
            format!("chmod +x {shown}"),
        );
    }
    match way_to(path) {
        Ok(way) => match weak_spot(&way) {
            Some(weak) => check.wrong(weak.to_string(), weak.remedy()),
            None => check.ok(format!("only root can change {shown}")),
        },
        Err(error) => unreadable(check, path, &error),
    }
}

/// The files that request-key reads, in the order in which it does.
#[derive(Debug, Default)]
struct Configuration {
    files: Vec<File>,
    /// What looks like one, but is none to request-key.
    ignored: Vec<PathBuf>,
    /// Where they are.
    places: Vec<PathBuf>,
}

impl Configuration {
    fn read(directory: &Path, file: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let mut read = Self::default();
        let entries = match fs::read_dir(directory) {
            Ok(entries) => {
                read.places.push(directory.into());
                Some(entries)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err((directory.into(), error)),
        };
        // Unsorted, as request-key goes through them.
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(|error| (directory.into(), error))?;
            let name = entry.file_name();
            let name = name.as_bytes();
            if name.starts_with(b".") || !name.ends_with(b".conf") {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                read.add(entry.path())?;
            } else {
                read.ignored.push(entry.path());
            }
        }
        read.add(file.into())?;
        Ok(read)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), (PathBuf, io::Error)> {
        match fs::read(&path) {
            Ok(content) => {
                self.places.push(path.clone());
                self.files.push(File { path, content });
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err((path, error)),
        }
    }

    /// Where others than root could write a line.
    fn weak_spot(&self) -> Option<Finding> {
        let mut ways = self.places.iter().filter_map(|path| way_to(path).ok());
        let weak = ways.find_map(|way| weak_spot(&way))?;
        Some(Check::RequestKeyConfig.wrong(weak.to_string(), weak.remedy()))
    }
}

/// What request-key makes of its configuration: [`Check::RequestKeyConfig`],
/// [`Check::Line`], [`Check::OtherLines`].
fn judge(
    configuration: &Configuration,
    key_types: &[&'static str],
) -> (Vec<Finding>, Option<OurLine>) {
    let files = &configuration.files;
    let probes = probes(files, key_types);
    let fault = probes
        .iter()
        .find_map(|asked| choose(files, asked, |_| true).err());
    if let Some(fault) = fault {
        let config = Check::RequestKeyConfig.wrong(
            format!(
                "{} {}, and request-key gives up there",
                fault.place, fault.what
            ),
            "correct or remove that line",
        );
        let rest = [Check::Line, Check::OtherLines];
        let rest = rest.map(|check| check.depends_on(Check::RequestKeyConfig));
        return ([&[config][..], &rest].concat(), None);
    }
    let unfinished = files.iter().find_map(conf::unfinished);
    let config = match unfinished {
        Some(place) => Check::RequestKeyConfig.warning(
            format!("{place} has no newline at its end, so request-key drops its last character"),
            "end it with a newline",
        ),
        None => Check::RequestKeyConfig.ok(match files.len() {
            1 => "request-key reads 1 file to its end".into(),
            count => format!("request-key reads {count} files to their end"),
        }),
    };
    let mut candidates = key_types
        .iter()
        .map(|key_type| ordinary(key_type))
        .chain(probes.iter().cloned());
    let ours = candidates.find_map(|asked| choose(files, &asked, is_ours).ok().flatten());
    let Some(ours) = ours else {
        let findings = vec![
            config,
            no_line(&configuration.ignored),
            Check::OtherLines.depends_on(Check::Line),
        ];
        return (findings, None);
    };
    let line = our_line(files, key_types, &ours);
    let others = other_lines(files, &probes, &ours);
    let ours = OurLine {
        program: OsStr::from_bytes(ours.program()).into(),
        config: config_of(&ours),
    };
    (vec![config, line, others], Some(ours))
}

fn is_ours(line: &Line<'_>) -> bool {
    line.program().rsplit(|byte| *byte == b'/').next() == Some(CALLOUT)
}

fn no_line(ignored: &[PathBuf]) -> Finding {
    let seen = "no line of request-key's configuration runs key.tpm2_derived";
    match ignored.first() {
        Some(path) => Check::Line.wrong(
            format!(
                "{seen} ({} is no regular file, and so not read)",
                path.display()
            ),
            "make it a file",
        ),
        None => Check::Line.wrong(seen, WRITE_IT),
    }
}

/// Whether our line is good for all of our requests.
fn our_line(files: &[File], key_types: &[&'static str], ours: &Line<'_>) -> Finding {
    let place = ours.place;
    let program = OsStr::from_bytes(ours.program()).display();
    if !ours.program().starts_with(b"/") {
        return Check::Line.wrong(
            format!("{place} runs '{program}'"),
            "name the program by its whole path",
        );
    }
    let expected = if ours.is_pipe() { PIPE } else { DIRECT };
    let arguments = arguments_of(ours);
    if arguments != expected.as_bytes() {
        return Check::Line.wrong(
            format!("{place} passes '{}' to {program}", arguments.escape_ascii()),
            format!("let it pass '{expected}'"),
        );
    }
    let unserved: Vec<_> = key_types
        .iter()
        .copied()
        .filter(|key_type| !matches!(choose(files, &ordinary(key_type), is_ours), Ok(Some(_))))
        .collect();
    if !unserved.is_empty() {
        return Check::Line.warning(
            format!(
                "{place} ({}) leaves out keys of type {}",
                ours.pattern(),
                unserved.join(", ")
            ),
            "let it begin with 'create * tpm2:derived:* *' unless that is meant",
        );
    }
    Check::Line.ok(format!("{place} runs {program}"))
}

/// The arguments but for the options.
fn arguments_of(line: &Line<'_>) -> Vec<u8> {
    match &line.arguments()[..] {
        [b"--config", _, b"--", rest @ ..]
        | [b"--config", _, rest @ ..]
        | [b"--", rest @ ..]
        | rest => rest.join(&b' '),
    }
}

fn config_of(line: &Line<'_>) -> Option<PathBuf> {
    match line.arguments()[..] {
        [b"--config", path, ..] => Some(OsStr::from_bytes(path).into()),
        _ => None,
    }
}

/// Whether another line is chosen for some of our requests.
fn other_lines(files: &[File], probes: &[conf::Asked], ours: &Line<'_>) -> Finding {
    let mut foreign: Vec<(Line<'_>, &conf::Asked)> = Vec::new();
    let mut related: Vec<(Line<'_>, &conf::Asked)> = Vec::new();
    for asked in probes {
        let Ok(Some(line)) = choose(files, asked, |_| true) else {
            continue;
        };
        let list = if is_ours(&line) {
            &mut related
        } else {
            &mut foreign
        };
        if line != *ours && !list.iter().any(|(known, _)| *known == line) {
            list.push((line, asked));
        }
    }
    let describe = |lines: &[(Line<'_>, &conf::Asked)]| {
        let (line, asked) = &lines[0];
        let more = match lines.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        format!(
            "{} ({}) is chosen before {} for the {} key {}, and runs {}{more}",
            line.place,
            line.pattern(),
            ours.place,
            asked.key_type,
            asked.description.escape_ascii(),
            OsStr::from_bytes(line.program()).display(),
        )
    };
    if !foreign.is_empty() {
        return Check::OtherLines.wrong(
            describe(&foreign),
            "remove it, or give each key type a line of ours: 'create user tpm2:derived:* * ...'",
        );
    }
    if !related.is_empty() {
        return Check::OtherLines.remark(describe(&related));
    }
    Check::OtherLines.ok("none is chosen for tpm2:derived:*")
}

#[cfg(test)]
#[path = "request_key_tests.rs"]
mod tests;
