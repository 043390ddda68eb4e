// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the log has of a request, as a line and as the journal's fields.
//!
//! The line is `name=value` pairs, whose values can't be taken for more of them: in
//! quotes, escaped and cut. The journal takes each value as it is, with its length
//! where it has to (systemd's "Native Journal Protocol").

use std::fmt::{self, Write as _};

use tpm_derived_keys::config::LogLevel;

/// What records are signed with.
pub const IDENTIFIER: &str = "key.tpm2_derived";

/// `LOG_AUTHPRIV`.
pub(crate) const FACILITY: u8 = 10;

/// As many bytes of one value as a line bears.
const VALUE_MOST: usize = 256;

/// As many bytes of one value as a field of the journal gets: no path, description
/// or callout info is longer, and all together fit in a datagram.
const FIELD_MOST: usize = 4096;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key was given.
    Granted,
    /// Whoever asked may not have it, or asked wrongly.
    Refused,
    /// It could not be made.
    Failed,
    /// The kernel did not take the answer that there is no key.
    Unanswered,
    /// The TPM's root key, for debugging.
    Root,
    /// The root key was left in the TPM.
    LeftBehind,
    /// The program was not called as request-key(8) calls it.
    Misused,
}

impl Kind {
    /// The journal's MESSAGE_ID. They never change: others select by them.
    pub fn message_id(self) -> &'static str {
        match self {
            Self::Granted => "44c08532c95746869f486110b79a8c2f",
            Self::Refused => "1592b57e729d4e00aacdf480166dd78a",
            Self::Failed => "bb804b085ebf43fea283896fa2be3425",
            Self::Unanswered => "e550a364e9624ef88fc348ac4d502b4f",
            Self::Root => "80e574f1ad7f4c47b5f99b4979c88eda",
            Self::LeftBehind => "3ffbe564eaa74c5b9f17e3d3aa774f3d",
            Self::Misused => "2a03c91c409d4d3098454827bde6d096",
        }
    }
}

/// What a record says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The serial number of the key.
    Key,
    /// `granted`, `refused` or `failed`.
    Decision,
    /// The name of the errno that the asker gets.
    Errno,
    /// How long it took, in milliseconds.
    Milliseconds,
    /// How many commands the TPM was sent.
    TpmCommands,
    /// The uid that asks.
    Uid,
    /// The key type.
    Type,
    /// The callout info.
    Info,
    /// The thread that asks.
    Thread,
    /// What kept the program that answers from doing anything else.
    Sandbox,
    /// The rule of the policy that decided.
    Rule,
    /// Why there is no key.
    Cause,
    /// Why the key's group is not root.
    Group,
    /// The key id; or all of the description, if it is not one of ours.
    KeyId,
    /// The asker's executable.
    Executable,
    /// What that is called where it runs, which is not its name here.
    ClaimedExecutable,
    /// The TPM's address.
    Tcti,
    /// The Name of its root key.
    Root,
}

impl Field {
    /// All there are.
    pub const ALL: [Self; 18] = [
        Self::Key,
        Self::Decision,
        Self::Errno,
        Self::Milliseconds,
        Self::TpmCommands,
        Self::Uid,
        Self::Type,
        Self::Info,
        Self::Thread,
        Self::Sandbox,
        Self::Rule,
        Self::Cause,
        Self::Group,
        Self::KeyId,
        Self::Executable,
        Self::ClaimedExecutable,
        Self::Tcti,
        Self::Root,
    ];

    /// What it is called in a line.
    pub fn in_line(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Decision => "decision",
            Self::Errno => "errno",
            Self::Milliseconds => "ms",
            Self::TpmCommands => "tpm_commands",
            Self::Uid => "uid",
            Self::Type => "type",
            Self::Info => "info",
            Self::Thread => "tid",
            Self::Sandbox => "sandbox",
            Self::Rule => "rule",
            Self::Cause => "cause",
            Self::Group => "not_given_to_group_root",
            Self::KeyId => "id",
            Self::Executable => "exe",
            Self::ClaimedExecutable => "exe_calls_itself",
            Self::Tcti => "tcti",
            Self::Root => "root",
        }
    }

    /// What it is called in the journal.
    pub fn in_journal(self) -> &'static str {
        match self {
            Self::Key => "TDK_KEY_SERIAL",
            Self::Decision => "TDK_DECISION",
            Self::Errno => "TDK_ERRNO",
            Self::Milliseconds => "TDK_MS",
            Self::TpmCommands => "TDK_TPM_COMMANDS",
            Self::Uid => "TDK_UID",
            Self::Type => "TDK_TYPE",
            Self::Info => "TDK_INFO",
            Self::Thread => "TDK_TID",
            Self::Sandbox => "TDK_SANDBOX",
            Self::Rule => "TDK_RULE",
            Self::Cause => "TDK_CAUSE",
            Self::Group => "TDK_NOT_GIVEN_TO_GROUP_ROOT",
            Self::KeyId => "TDK_KEY_ID",
            Self::Executable => "TDK_EXE",
            Self::ClaimedExecutable => "TDK_EXE_CALLS_ITSELF",
            Self::Tcti => "TDK_TCTI",
            Self::Root => "TDK_ROOT",
        }
    }
}

/// One record.
#[derive(Debug)]
pub(crate) struct Record {
    kind: Kind,
    level: LogLevel,
    line: String,
    fields: Vec<(Field, Vec<u8>)>,
}

impl Record {
    pub(crate) fn new(kind: Kind, level: LogLevel) -> Self {
        Self {
            kind,
            level,
            line: String::new(),
            fields: Vec::new(),
        }
    }

    /// A word of ours.
    pub(crate) fn add(&mut self, field: Field, value: impl fmt::Display) -> &mut Self {
        let value = value.to_string();
        self.say(format_args!("{}={value}", field.in_line()));
        self.fields.push((field, value.into_bytes()));
        self
    }

    /// A value that may contain anything.
    pub(crate) fn add_bytes(&mut self, field: Field, value: &[u8]) -> &mut Self {
        // Between double quotes, single ones are harmless.
        let mut escaped = value.escape_ascii().to_string().replace("\\'", "'");
        if escaped.len() > VALUE_MOST {
            escaped.truncate(VALUE_MOST);
            escaped.push_str("...");
        }
        self.say(format_args!("{}=\"{escaped}\"", field.in_line()));
        let value = &value[..value.len().min(FIELD_MOST)];
        self.fields.push((field, value.to_vec()));
        self
    }

    /// Words that stand in the line alone.
    pub(crate) fn say(&mut self, words: impl fmt::Display) -> &mut Self {
        let gap = if self.line.is_empty() { "" } else { " " };
        // Writing to a String does not fail.
        let _ = write!(self.line, "{gap}{words}");
        self
    }

    pub(crate) fn level(&self) -> LogLevel {
        self.level
    }

    /// As syslog counts.
    pub(crate) fn severity(&self) -> u8 {
        match self.level {
            LogLevel::Error => 3,
            LogLevel::Warning => 4,
            LogLevel::Info => 6,
            LogLevel::Debug => 7,
        }
    }

    /// The line.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// The fields as the journal takes them.
    pub(crate) fn for_the_journal(&self) -> Vec<u8> {
        let mut entry = Vec::new();
        let mut add = |name: &str, value: &[u8]| add_to_journal(&mut entry, name, value);
        add("MESSAGE", self.line.as_bytes());
        add("MESSAGE_ID", self.kind.message_id().as_bytes());
        add("PRIORITY", self.severity().to_string().as_bytes());
        add("SYSLOG_FACILITY", FACILITY.to_string().as_bytes());
        add("SYSLOG_IDENTIFIER", IDENTIFIER.as_bytes());
        add("SYSLOG_PID", std::process::id().to_string().as_bytes());
        for (field, value) in &self.fields {
            add(field.in_journal(), value);
        }
        entry
    }
}

/// `NAME=value`, up to the end of the line; or where the value has such ends itself,
/// the name, the value's length and the value.
fn add_to_journal(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value);
    entry.push(b'\n');
}

/// The fields of an entry, read as the protocol is documented.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fields_of(mut entry: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut fields = Vec::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            fields.push((&line[..equals], &line[equals + 1..]));
            entry = rest;
        } else {
            let (length, rest) = rest.split_first_chunk()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            let (value, rest) = rest.split_at_checked(length)?;
            fields.push((line, value));
            entry = rest.strip_prefix(b"\n")?;
        }
    }
    entry.is_empty().then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(Kind::Refused, LogLevel::Warning)
    }

    #[test]
    fn one_line_whatever_is_in_it() {
        let mut record = record();
        record
            .add(Field::Key, 7)
            .add_bytes(Field::KeyId, b"a\n\"b\" c='d'\\\xff\0");
        assert_eq!(record.line(), r#"key=7 id="a\n\"b\" c='d'\\\xff\x00""#);
        record.say("and more");
        assert!(record.line().ends_with("\" and more"));
    }

    #[test]
    fn values_are_cut() {
        let mut record = record();
        record
            .add_bytes(Field::KeyId, &[0xFF; 255])
            .add_bytes(Field::Executable, &[b'x'; 5000]);
        assert!(record.line().len() < 2 * (VALUE_MOST + 16));
        let lengths = record.fields.iter().map(|(_, value)| value.len());
        assert_eq!(lengths.collect::<Vec<_>>(), [255, FIELD_MOST]);
    }

    #[test]
    fn the_journals_bytes() {
        let mut record = record();
        record
            .add(Field::Key, 7)
            .add_bytes(Field::Type, b"\xff=")
            .add_bytes(Field::Info, b"")
            .add_bytes(Field::KeyId, b"a\nTDK_DECISION=granted\n");
        let pid = std::process::id();
        let expected = format!(
            "MESSAGE=key=7 type=\"\\xff=\" info=\"\" id=\"a\\nTDK_DECISION=granted\\n\"\n\
             MESSAGE_ID=1592b57e729d4e00aacdf480166dd78a\nPRIORITY=4\nSYSLOG_FACILITY=10\n\
             SYSLOG_IDENTIFIER=key.tpm2_derived\nSYSLOG_PID={pid}\nTDK_KEY_SERIAL=7\nTDK_TYPE="
        );
        let rest = b"\xff=\nTDK_INFO=\nTDK_KEY_ID\n\x17\0\0\0\0\0\0\0a\nTDK_DECISION=granted\n\n";
        assert_eq!(
            record.for_the_journal(),
            [expected.as_bytes(), rest].concat()
        );
    }

    #[test]
    fn no_value_becomes_a_field() {
        let hostile: [&[u8]; 7] = [
            b"\n",
            b"\nTDK_DECISION=granted",
            b"x\nTDK_DECISION=granted\nx",
            b"TDK_DECISION=granted",
            b"=\n\x01\0\0\0\0\0\0\0\n",
            b"\n\n\n\0\xff",
            b"",
        ];
        for value in hostile {
            let mut record = record();
            record.add(Field::Decision, "refused");
            let bytes = [
                Field::Type,
                Field::Info,
                Field::KeyId,
                Field::Executable,
                Field::ClaimedExecutable,
                Field::Cause,
                Field::Uid,
            ];
            for field in bytes {
                record.add_bytes(field, value);
            }
            let entry = record.for_the_journal();
            let fields = fields_of(&entry).unwrap();
            assert_eq!(fields.len(), 6 + 1 + bytes.len());
            let values = |field: Field| {
                let name = field.in_journal().as_bytes();
                let fields = fields.iter().filter(move |(other, _)| *other == name);
                fields.map(|(_, value)| *value).collect::<Vec<_>>()
            };
            assert_eq!(values(Field::Decision), [b"refused"]);
            for field in bytes {
                assert_eq!(values(field), [value]);
            }
        }
    }

    #[test]
    fn names_that_the_journal_takes_and_no_two_alike() {
        for (n, field) in Field::ALL.into_iter().enumerate() {
            let (line, journal) = (field.in_line(), field.in_journal());
            let upper = |c: char| c.is_ascii_uppercase() || c == '_';
            assert!(journal.starts_with("TDK_") && journal.chars().all(upper));
            for other in &Field::ALL[..n] {
                assert!(other.in_line() != line && other.in_journal() != journal);
            }
        }
    }
}
