// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk log`.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;
use jiff::Zoned;
use serde_json::{Map, Value};
use tdk_request_key::Field;
use tpm_derived_keys::policy::Glob;

use crate::error::Error;
use crate::place::Place;
use crate::{print, warn};

mod entry;
mod source;
mod when;

use entry::{Entry, shown};
use source::Source;

/// How many records there are before what follows.
const BEFORE_FOLLOWING: usize = 10;

/// Shows what the callout has decided: who asked for which key, and got it or why not
///
/// A line for each request, the latest last: time, decision, errno, uid, key type, key id, callout
/// info, executable, and the cause or the policy's rule. It reads the journal, or else syslog's file,
/// or else the kernel's log, and says which.
#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Log {
    /// From then on: 2026-11-22 10:00, 10:00, yesterday, -1h
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,

    /// Up to then
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,

    /// Requests of this uid
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,

    /// Requests of this user
    #[arg(long, value_name = "NAME", conflicts_with = "uid")]
    user: Option<String>,

    /// Requests for key ids that match this pattern, as in a policy
    #[arg(long, value_name = "GLOB", allow_hyphen_values = true)]
    key_id: Option<String>,

    /// Requests that were decided so
    #[arg(long)]
    decision: Option<Decision>,

    /// Requests of executables that match this pattern, as in a policy
    #[arg(long, value_name = "GLOB")]
    exe: Option<String>,

    /// The request for the key with this serial number
    #[arg(long, value_name = "N")]
    serial: Option<i32>,

    /// The last so many
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,

    /// Goes on with what comes
    #[arg(short, long)]
    follow: bool,

    /// As one JSON object a line
    #[arg(long)]
    json: bool,

    /// Reads this instead: a file of syslog's, or what journalctl --output=json has printed; - is
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Decision {
    Granted,
    Refused,
    Failed,
}

impl Decision {
    fn word(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Which records are shown.
#[derive(Default)]
struct Filter {
    since: Option<i64>,
    until: Option<i64>,
    uid: Option<u32>,
    key_id: Option<Glob<'static>>,
    decision: Option<Decision>,
    exe: Option<Glob<'static>>,
    serial: Option<i32>,
}

impl Filter {
    fn passes(&self, entry: &Entry) -> bool {
        let is = |field, wanted: Option<String>| {
            wanted.is_none_or(|wanted| entry.text(field) == Some(&wanted))
        };
        let matches = |fields: &[Field], glob: &Option<Glob<'static>>| {
            let mut values = fields.iter().filter_map(|field| entry.get(*field));
            glob.as_ref()
                .is_none_or(|glob| values.any(|value| glob.matches(value)))
        };
        // A time that is not known is within none.
        self.since.is_none_or(|since| entry.time >= Some(since))
            && self
                .until
                .is_none_or(|until| entry.time.is_some_and(|time| time <= until))
            && is(Field::Uid, self.uid.map(|uid| uid.to_string()))
            && is(Field::Key, self.serial.map(|serial| serial.to_string()))
            && is(
                Field::Decision,
                self.decision.map(|decision| decision.word().into()),
            )
            && matches(&[Field::KeyId], &self.key_id)
            && matches(&[Field::Executable, Field::ClaimedExecutable], &self.exe)
    }
}

impl Log {
    pub(crate) fn run(&self, place: &Place) -> Result<(), Error> {
        match self.show(place) {
            // Whoever reads has seen enough.
            Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    fn show(&self, place: &Place) -> Result<(), Error> {
        if place.tcti.is_some() || place.backend.is_some() || place.config.is_some() {
            let what = "log needs no TPM: leave out --tcti, --backend and --config";
            return Err(Error::Usage(what.into()));
        }
        let now = Zoned::now();
        let mut source = match &self.file {
            Some(file) => Source::Named(file.clone()),
            None => Source::find()?,
        };
        let filter = self.filter(&source, &now)?;
        let text = |entry: &Entry| {
            if self.json {
                json(entry)
            } else {
                line(entry, &now)
            }
        };

        eprint(&format!("tdk: this is from {}\n", source.name()));
        if source.is_anybodys() {
            warn("others than root may have written lines to that log");
        }
        let most = self.lines.or(self.follow.then_some(BEFORE_FOLLOWING));
        let mut last = VecDeque::new();
        let (since, until) = (self.since.as_deref(), self.until.as_deref());
        let end = source.read(since, until, &now, &mut |entry| {
            if !filter.passes(&entry) {
                return Ok(());
            }
            let Some(most) = most else {
                return print(text(&entry).as_bytes());
            };
            last.push_back(entry);
            if last.len() > most {
                last.pop_front();
            }
            Ok(())
        })?;
        for entry in &last {
            print(text(entry).as_bytes())?;
        }
        if self.follow {
            source.follow(end, &now, &mut |entry| {
                if filter.passes(&entry) {
                    print(text(&entry).as_bytes())?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn filter(&self, source: &Source, now: &Zoned) -> Result<Filter, Error> {
        let time = |option: &str, text: &Option<String>| match (source, text) {
            // It filters itself, and says itself what it does not understand.
            (Source::Journal, _) | (_, None) => Ok(None),
            (_, Some(text)) => when::parse(text, now).map(Some).ok_or_else(|| {
                Error::Usage(format!(
                    "{option} '{}' is no time: write it as \"2026-11-22 10:00\", 10:00, yesterday \
                     or -1h",
                    text.escape_debug()
                ))
            }),
        };
        let glob = |option: &str, text: &Option<String>, new: NewGlob| {
            let glob = text.clone().map(new).transpose();
            glob.map_err(|what| Error::Usage(format!("{option}: {what}")))
        };
        let uid = match &self.user {
            None => self.uid,
            Some(user) => Some(uid_of(user)?),
        };
        Ok(Filter {
            since: time("--since", &self.since)?,
            until: time("--until", &self.until)?,
            uid,
            key_id: glob("--key-id", &self.key_id, Glob::new)?,
            decision: self.decision,
            exe: glob("--exe", &self.exe, Glob::of_paths)?,
            serial: self.serial,
        })
    }
}

type NewGlob = fn(String) -> Result<Glob<'static>, &'static str>;

/// The uid of a user, wherever this system has its users.
fn uid_of(user: &str) -> Result<u32, Error> {
    let mut id = Command::new("id");
    id.args(["-u", "--", user]);
    let output = tdk_sys::with_limits_as_given(&mut id).output();
    let output = output.map_err(|error| Error::Command("id".into(), error))?;
    let uid = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    uid.filter(|_| output.status.success()).ok_or_else(|| {
        let user = user.escape_debug();
        Error::Usage(format!(
            "--user '{user}' is no user here: its number can be given by --uid"
        ))
    })
}

fn eprint(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

/// A record for people.
fn line(entry: &Entry, now: &Zoned) -> String {
    let mut line = when::shown(entry.time, now.time_zone());
    // Writing to a String does not fail.
    let Some(decision) = entry.get(Field::Decision) else {
        let _ = writeln!(line, "  {}", shown(&entry.message));
        return line;
    };
    let of = |field| entry.get(field).map_or_else(|| "-".into(), shown);
    let executable = match (
        entry.get(Field::Executable),
        entry.get(Field::ClaimedExecutable),
    ) {
        (Some(name), _) => shown(name),
        (None, Some(b"") | None) => "-".into(),
        (None, Some(name)) => format!("{} (so it calls itself)", shown(name)),
    };
    let _ = write!(
        line,
        "  {:8} {:12}  uid {:6}  {} {}  {}  {executable}",
        shown(decision),
        of(Field::Errno),
        of(Field::Uid),
        of(Field::Type),
        of(Field::KeyId),
        of(Field::Info),
    );
    if let Some(why) = entry.get(Field::Cause).or(entry.get(Field::Rule)) {
        let _ = write!(line, "  {}", shown(why));
    }
    line.push('\n');
    line
}

/// A record for programs.
fn json(entry: &Entry) -> String {
    let mut object = Map::new();
    if let Some(time) = entry.time.and_then(when::exact) {
        object.insert("time".into(), time.into());
    }
    for (field, value) in &entry.fields {
        let text = std::str::from_utf8(value).ok();
        let number = text.filter(|_| {
            use Field::{Key, Milliseconds, Thread, TpmCommands, Uid};
            matches!(field, Key | Milliseconds | Thread | TpmCommands | Uid)
        });
        let value = match (
            number.and_then(|text| serde_json::from_str::<Value>(text).ok()),
            text,
        ) {
            (Some(number @ Value::Number(_)), _) => number,
            (_, Some(text)) => text.into(),
            // As journalctl(1) does it.
            (_, None) => value.clone().into(),
        };
        object.insert(field.in_line().into(), value);
    }
    if entry.get(Field::Decision).is_none() {
        let message = String::from_utf8_lossy(&entry.message).into_owned();
        object.insert("message".into(), message.into());
    }
    format!("{}\n", Value::Object(object))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    fn entry(line: &str) -> Entry {
        Entry::of_line(line.as_bytes(), Some(1_700_000_000_000_000))
    }

    fn now() -> Zoned {
        let timestamp: Timestamp = "2026-03-02T10:30:00Z".parse().unwrap();
        timestamp.to_zoned(TimeZone::UTC)
    }

    #[test]
    fn for_people_and_for_programs() {
        let refused = entry(
            r#"key=7 decision=refused errno=EACCES ms=0.4 uid="1000" type="user" info="32 path" cause="no: never" id="a\n\x1b[2J\xff" exe_calls_itself="/bin/x""#,
        );
        assert_eq!(
            line(&refused, &now()),
            "2023-11-14 22:13:20  refused  EACCES        uid 1000    user a\\n\\u{1b}[2J\\xff  \
             \"32 path\"  /bin/x (so it calls itself)  \"no: never\"\n"
        );
        let value: Value = serde_json::from_str(&json(&refused)).unwrap();
        assert_eq!(value["time"], "2023-11-14T22:13:20Z");
        assert_eq!(value["key"], 7);
        assert_eq!(value["uid"], 1000);
        assert_eq!(value["ms"], 0.4);
        assert_eq!(value["id"][1], 10);
        assert_eq!(value["cause"], "no: never");

        let other = entry("called wrongly, \u{1b}");
        assert!(line(&other, &now()).ends_with("  \"called wrongly, \\u{1b}\"\n"));
        assert!(json(&other).contains("\"message\":\"called wrongly, \\u001b\""));
    }

    #[test]
    fn filters() {
        let granted = entry(r#"key=7 decision=granted uid="5" id="disk:home" exe="/opt/a/run""#);
        let passes = |filter: &Filter| filter.passes(&granted);
        let nothing = Filter::default;
        assert!(passes(&nothing()));
        let time = granted.time.unwrap();
        let glob = |text| Glob::new(text).ok();
        for (filter, expected) in [
            (
                Filter {
                    uid: Some(5),
                    ..nothing()
                },
                true,
            ),
            (
                Filter {
                    uid: Some(6),
                    ..nothing()
                },
                false,
            ),
            (
                Filter {
                    serial: Some(7),
                    ..nothing()
                },
                true,
            ),
            (
                Filter {
                    serial: Some(8),
                    ..nothing()
                },
                false,
            ),
            (
                Filter {
                    key_id: glob("disk:*"),
                    ..nothing()
                },
                true,
            ),
            (
                Filter {
                    key_id: glob("disk"),
                    ..nothing()
                },
                false,
            ),
            (
                Filter {
                    exe: Glob::of_paths("/opt/*/run").ok(),
                    ..nothing()
                },
                true,
            ),
            (
                Filter {
                    exe: Glob::of_paths("/opt/*").ok(),
                    ..nothing()
                },
                false,
            ),
            (
                Filter {
                    decision: Some(Decision::Granted),
                    ..nothing()
                },
                true,
            ),
            (
                Filter {
                    decision: Some(Decision::Failed),
                    ..nothing()
                },
                false,
            ),
            (
                Filter {
                    since: Some(time),
                    until: Some(time),
                    ..nothing()
                },
                true,
            ),
            (
                Filter {
                    since: Some(time + 1),
                    ..nothing()
                },
                false,
            ),
            (
                Filter {
                    until: Some(time - 1),
                    ..nothing()
                },
                false,
            ),
        ] {
            assert_eq!(passes(&filter), expected);
        }
    }
}
