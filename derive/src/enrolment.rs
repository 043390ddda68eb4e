// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine's TPM is known by: the Names of its root key and its storage key,
//! as `tdk enroll` has recorded them.
//!
//! They are in a file, or where a machine has no disk to keep one, in the
//! configuration or on the kernel's command line: `tdk.root_name=NAME` and
//! `tdk.srk_name=NAME`.

use std::fs;
use std::io;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer};

use crate::config::{self, ConfigError, Fault, one_line};
use crate::tpm::Name;

/// Where the file is, unless the configuration names another.
pub const PATH: &str = "/var/lib/tdk/root.json";

const COMMAND_LINE: &str = "/proc/cmdline";
const ROOT: &str = "tdk.root_name=";
const SRK: &str = "tdk.srk_name=";

/// What a TPM is known by, as far as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// The root key's Name.
    #[serde(rename = "root_name", deserialize_with = "name")]
    pub root: Option<Name>,
    /// The storage key's.
    #[serde(rename = "srk_name", default, deserialize_with = "name")]
    pub srk: Option<Name>,
}

impl Names {
    /// For the file.
    pub fn to_json(self) -> String {
        let lines: Vec<_> = [("root_name", self.root), ("srk_name", self.srk)]
            .into_iter()
            .filter_map(|(key, name)| Some(format!("  \"{key}\": \"{}\"", name?)))
            .collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }

    /// For a configuration.
    pub fn to_config(self) -> String {
        let line = |key, name: Option<Name>| name.map(|name| format!("{key} = \"{name}\"\n"));
        let lines = [line("root_name", self.root), line("srk_name", self.srk)];
        lines.into_iter().flatten().collect()
    }

    /// For a kernel's command line.
    pub fn to_command_line(self) -> String {
        let word = |key, name: Option<Name>| name.map(|name| format!("{key}{name}"));
        let words: Vec<_> = [word(ROOT, self.root), word(SRK, self.srk)]
            .into_iter()
            .flatten()
            .collect();
        format!("{}\n", words.join(" "))
    }

    pub(crate) fn of_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| one_line(&error.to_string()))
    }

    pub(crate) fn of_words(text: &str) -> Result<Self, String> {
        let mut names = Self::default();
        for word in text.split_ascii_whitespace() {
            for (key, slot) in [(ROOT, &mut names.root), (SRK, &mut names.srk)] {
                if let Some(name) = word.strip_prefix(key) {
                    let name = name.parse().map_err(|error| format!("{key} {error}"))?;
                    if slot.is_some_and(|other| other != name) {
                        return Err(format!("{key} is there twice, with two Names"));
                    }
                    *slot = Some(name);
                }
            }
        }
        Ok(names)
    }

    /// What both say together.
    pub(crate) fn and(self, (other, path): (Self, &Path)) -> Result<Self, ConfigError> {
        let both = |what, ours: Option<Name>, theirs: Option<Name>| match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                let what = format!("{what} is {theirs} there, but {ours} elsewhere");
                Err(ConfigError::new(path, Fault::Enrolment(what)))
            }
            (ours, theirs) => Ok(ours.or(theirs)),
        };
        Ok(Self {
            root: both("root_name", self.root, other.root)?,
            srk: both("srk_name", self.srk, other.srk)?,
        })
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

/// What the kernel's command line says.
pub(crate) fn of_command_line() -> Result<(Names, &'static Path), ConfigError> {
    let path = Path::new(COMMAND_LINE);
    let names = match fs::read(path) {
        Ok(text) => Names::of_words(&String::from_utf8_lossy(&text)).map_err(Fault::Enrolment),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Names::default()),
        Err(error) => Err(error.into()),
    };
    let names = names.map_err(|fault| ConfigError::new(path, fault))?;
    Ok((names, path))
}

/// What the file says, if there is one.
pub(crate) fn of_file(path: &Path) -> Result<(Names, &Path), ConfigError> {
    // Who could remove it could have the TPM be taken for one that is not enrolled.
    let content = config::check_way(path).and_then(|()| config::read(path));
    let names = match content {
        Ok(text) => Names::of_json(&text).map_err(Fault::Enrolment),
        Err(Fault::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Names::default()),
        Err(fault) => Err(fault),
    };
    let names = names.map_err(|fault| ConfigError::new(path, fault))?;
    Ok((names, path))
}

/// What the file at that place says.
///
/// # Errors
///
/// A [`ConfigError`], if there is a file which can't be read or understood, or which
/// others than its reader or root could have written.
pub fn read(path: &Path) -> Result<Names, ConfigError> {
    of_file(path).map(|(names, _)| names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(byte: u8) -> Name {
        format!("000b{}", format!("{byte:02x}").repeat(32))
            .parse()
            .unwrap()
    }

    fn names(root: Option<u8>, srk: Option<u8>) -> Names {
        Names {
            root: root.map(name),
            srk: srk.map(name),
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        let error = Names::of_json("{\"\\u001b[2J\\n\": 1}").unwrap_err();
        assert!(error.starts_with("unknown field `\\u{1b}[2J `"), "{error}");
    }

    #[test]
    fn what_is_written_is_read() {
        for names in [names(Some(1), Some(2)), names(Some(1), None)] {
            assert_eq!(Names::of_json(&names.to_json()), Ok(names));
            assert_eq!(Names::of_words(&names.to_command_line()), Ok(names));
            let value: serde_json::Value = serde_json::from_str(&names.to_json()).unwrap();
            assert_eq!(value["root_name"], name(1).to_string());
        }
        let config = names(Some(1), Some(2)).to_config();
        let expected = format!("root_name = \"{}\"\nsrk_name = \"{}\"\n", name(1), name(2));
        assert_eq!(config, expected);
    }

    #[test]
    fn a_file_that_says_something_else() {
        for text in [
            "",
            "{}",
            "{\"root_name\": \"000b\"}",
            "{\"root_name\": 7}",
            "[]",
            &names(Some(1), None).to_json().replace("root_name", "root"),
            &names(Some(1), None).to_json().replace('{', "{\"x\": 1,"),
        ] {
            Names::of_json(text).unwrap_err();
        }
    }

    #[test]
    fn other_words_of_the_kernel() {
        let line = format!("quiet tdk.root_name={} root=/dev/sda1\n", name(1));
        assert_eq!(Names::of_words(&line), Ok(names(Some(1), None)));
        assert_eq!(Names::of_words("quiet splash\n"), Ok(Names::default()));
        let twice = format!("tdk.srk_name={0} tdk.srk_name={0}", name(1));
        assert_eq!(Names::of_words(&twice), Ok(names(None, Some(1))));
        let two = format!("tdk.srk_name={} tdk.srk_name={}", name(1), name(2));
        Names::of_words(&two).unwrap_err();
        Names::of_words("tdk.root_name=000b").unwrap_err();
    }

    #[test]
    fn contradictions() {
        let path = Path::new("/x");
        let one = names(Some(1), None);
        let other = names(Some(1), Some(2));
        assert_eq!(one.and((other, path)).unwrap(), other);
        let error = one.and((names(Some(3), None), path)).unwrap_err();
        let expected = format!(
            "/x: root_name is {} there, but {} elsewhere",
            name(3),
            name(1)
        );
        assert_eq!(error.to_string(), expected);
    }
}
