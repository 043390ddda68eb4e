// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which line of request-key.conf(5) a request is answered by: as
//! `/sbin/request-key` of keyutils 1.6.3 reads its files, which is stricter and
//! stranger than the manual page has it.
//!
//! - All lines that match compete. Column by column from the left, the one whose
//!   asterisk stands for fewer bytes wins: whatever names the type comes before
//!   our `create * tpm2:derived:*`. Of equals, the first wins.
//! - A line that breaks off makes request-key give up, if its columns match as
//!   far as they go; one that is too long does so in any case.
//! - The last byte of a line is taken to be its newline.
//! - After an asterisk in the middle of a pattern, it is not what follows there
//!   that has to be at the end, but as many bytes of the pattern's beginning.

use std::fmt;
use std::path::{Path, PathBuf};

use tpm_derived_keys::request::{PREFIX, Request};

/// The only operation that the kernel asks for.
const CREATE: &[u8] = b"create";

/// A line with its newline has to be shorter.
const TOO_LONG: usize = 4096;

/// A configuration file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) content: Vec<u8>,
}

/// A request, as far as it decides on the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) key_type: &'static str,
    pub(super) description: Vec<u8>,
    pub(super) callout_info: Vec<u8>,
}

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    path: &'a Path,
    number: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.number)
    }
}

/// A line that a request can be answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) place: Place<'a>,
    columns: [&'a [u8]; 4],
    command: &'a [u8],
}

/// A line that makes request-key give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault<'a> {
    pub(super) place: Place<'a>,
    pub(super) what: &'static str,
}

impl Line<'_> {
    /// Whether the program is run in the pipe form.
    pub(super) fn is_pipe(&self) -> bool {
        self.command.starts_with(b"|")
    }

    /// The program.
    pub(super) fn program(&self) -> &[u8] {
        self.words().next().unwrap_or_default()
    }

    /// What follows the program.
    pub(super) fn arguments(&self) -> Vec<&[u8]> {
        self.words().skip(1).collect()
    }

    fn words(&self) -> impl Iterator<Item = &[u8]> {
        let command = self.command.strip_prefix(b"|").unwrap_or(self.command);
        command
            .split(|byte| is_space(*byte))
            .enumerate()
            .filter(|(number, word)| *number == 0 || !word.is_empty())
            .map(|(_, word)| word)
    }

    /// The columns, as one would write them.
    pub(super) fn pattern(&self) -> String {
        let columns = self.columns.map(|column| column.escape_ascii().to_string());
        columns.join(" ")
    }
}

/// As `isspace(3)` in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// The line that request-key answers `asked` by, of those that `admitted` lets
/// compete.
pub(super) fn choose<'a>(
    files: &'a [File],
    asked: &Asked,
    admitted: impl Fn(&Line<'a>) -> bool,
) -> Result<Option<Line<'a>>, Fault<'a>> {
    let mut best: Option<([usize; 4], Line<'a>)> = None;
    for raw in files.iter().flat_map(raw_lines) {
        if let Some((wildness, line)) = raw.matches(asked)?
            && admitted(&line)
            && best.as_ref().is_none_or(|(least, _)| wildness < *least)
        {
            best = Some((wildness, line));
        }
    }
    Ok(best.map(|(_, line)| line))
}

/// Requests for derived keys of these types that between them meet every line
/// that any such request can meet.
pub(super) fn probes(files: &[File], key_types: &[&'static str]) -> Vec<Asked> {
    let mut probes = Vec::new();
    for &key_type in key_types {
        probes.push(ordinary(key_type));
        for raw in files.iter().flat_map(raw_lines) {
            let (columns, _) = raw.columns();
            let description = match columns.get(2) {
                Some(pattern) => described_by(pattern),
                None => Some(ordinary(key_type).description),
            };
            for callout_info in infos(columns.get(3).copied()) {
                if let Some(description) = description.clone() {
                    probes.push(Asked {
                        key_type,
                        description,
                        callout_info,
                    });
                }
            }
        }
    }
    probes.retain(|asked| {
        let key_type = asked.key_type.as_bytes();
        Request::parse(key_type, &asked.description, &asked.callout_info).is_ok()
    });
    probes
}

/// A request that no line is made for in particular.
pub(super) fn ordinary(key_type: &'static str) -> Asked {
    Asked {
        key_type,
        description: [PREFIX.as_bytes(), b"x"].concat(),
        callout_info: b"32 path".into(),
    }
}

/// A description of ours that a pattern catches.
fn described_by(pattern: &[u8]) -> Option<Vec<u8>> {
    let Some(asterisk) = pattern.iter().position(|byte| *byte == b'*') else {
        return Some(pattern.to_vec());
    };
    let (before, end) = ends(pattern, asterisk);
    let prefix = PREFIX.as_bytes();
    let beginning = if before.len() > prefix.len() {
        before.to_vec()
    } else if prefix.starts_with(before) {
        [prefix, b"x"].concat()
    } else {
        return None;
    };
    Some([&beginning, end].concat())
}

/// Callout infos, one of which a pattern catches if it catches any of ours.
fn infos(pattern: Option<&[u8]>) -> Vec<Vec<u8>> {
    let pattern = pattern.unwrap_or(b"*");
    let asterisk = pattern.iter().position(|byte| *byte == b'*');
    let Some(asterisk) = asterisk else {
        // Ours have a blank in them, which a pattern can't have.
        return Vec::new();
    };
    let (before, last) = ends(pattern, asterisk);
    let (before, last) = (
        String::from_utf8_lossy(before),
        String::from_utf8_lossy(last),
    );
    let mut infos = Vec::new();
    for what in ["32", "p256", "ed25519", &before, &format!("{before}2")] {
        for identity in ["path", "csum", "id", "cgroup", "verity"] {
            for end in [
                "",
                " gen=1",
                " v=1",
                &format!(" gen={last}"),
                &format!(" {last}"),
            ] {
                infos.push(format!("{what} {identity}{end}").into_bytes());
            }
        }
    }
    let description = ordinary("user").description;
    infos.retain(|info| {
        matches(pattern, info).is_some() && Request::parse(b"user", &description, info).is_ok()
    });
    infos.truncate(1);
    infos
}

/// A line, whatever it is.
struct Raw<'a> {
    place: Place<'a>,
    text: &'a [u8],
    fault: Option<&'static str>,
}

/// The lines of a file that request-key looks at.
fn raw_lines(file: &File) -> impl Iterator<Item = Raw<'_>> {
    let lines = file.content.split_inclusive(|byte| *byte == b'\n');
    lines.zip(1..).filter_map(|(text, number)| {
        let fault = if text.len() >= TOO_LONG {
            Some("is too long")
        } else if text.contains(&0) {
            Some("has a byte 0 in it")
        } else {
            None
        };
        let ignored = text.len() == 1 || text[0] == b'#' || is_space(text[0]);
        (fault.is_some() || !ignored).then(|| Raw {
            place: Place {
                path: &file.path,
                number,
            },
            // Its newline, it is hoped.
            text: &text[..text.len() - 1],
            fault,
        })
    })
}

impl<'a> Raw<'a> {
    /// The columns that are there, up to four, and what follows all four.
    fn columns(&self) -> (Vec<&'a [u8]>, &'a [u8]) {
        let mut columns = Vec::new();
        let mut rest = self.text;
        while columns.len() < 4 {
            // A column ends with white space.
            let Some(end) = rest.iter().position(|byte| is_space(*byte)) else {
                return (columns, b"");
            };
            let (column, after) = rest.split_at(end);
            columns.push(column);
            rest = trimmed(after);
        }
        (columns, rest)
    }

    /// Whether the line matches, and how many bytes each of its asterisks stands
    /// for.
    fn matches(&self, asked: &Asked) -> Result<Option<([usize; 4], Line<'a>)>, Fault<'a>> {
        let fault = |what| Fault {
            place: self.place,
            what,
        };
        if let Some(what) = self.fault {
            return Err(fault(what));
        }
        let (columns, command) = self.columns();
        let key_type = asked.key_type.as_bytes();
        let data = [CREATE, key_type, &asked.description, &asked.callout_info];
        let mut wildness = [0; 4];
        for (column, (datum, wildness)) in data.into_iter().zip(&mut wildness).enumerate() {
            let pattern = columns.get(column);
            let pattern = pattern.ok_or_else(|| fault("breaks off"))?;
            match matches(pattern, datum) {
                Some(skipped) => *wildness = skipped,
                None => return Ok(None),
            }
        }
        if command.is_empty() {
            return Err(fault("names no program"));
        }
        let line = Line {
            place: self.place,
            columns: columns.try_into().expect("there were four"),
            command,
        };
        Ok(Some((wildness, line)))
    }
}

fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(*byte));
    &text[start.unwrap_or(text.len())..]
}

/// How many bytes of `datum` the asterisk in `pattern` stands for, if they match.
/// A second asterisk is a byte as any other.
fn matches(pattern: &[u8], datum: &[u8]) -> Option<usize> {
    let Some(asterisk) = pattern.iter().position(|byte| *byte == b'*') else {
        return (pattern == datum).then_some(0);
    };
    let (beginning, end) = ends(pattern, asterisk);
    let skipped = datum.len().checked_sub(beginning.len() + end.len())?;
    (datum.starts_with(beginning) && datum.ends_with(end)).then_some(skipped)
}

/// What has to be at the beginning and at the end of what a pattern catches.
fn ends(pattern: &[u8], asterisk: usize) -> (&[u8], &[u8]) {
    let (before, after) = (&pattern[..asterisk], &pattern[asterisk + 1..]);
    let end = if before.is_empty() {
        after
    } else {
        &pattern[..after.len()]
    };
    (before, end)
}

/// Where a file's last line has no newline, and so loses its last byte.
pub(super) fn unfinished(file: &File) -> Option<Place<'_>> {
    let last = raw_lines(file).last()?;
    let lines = file.content.split_inclusive(|byte| *byte == b'\n').count();
    let is_last = last.place.number == lines && !file.content.ends_with(b"\n");
    is_last.then_some(last.place)
}

#[cfg(test)]
#[path = "request_key_conf_tests.rs"]
mod tests;
