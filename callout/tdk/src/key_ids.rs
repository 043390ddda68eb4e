// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The key ids of `tdk derive`, from its command line or, if they are many, from a
//! file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tpm_derived_keys::request::Request;

use crate::error::Error;
use crate::words::Words;

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct KeyIds {
    /// What follows tpm2:derived: in the description; may be given several times, for one line each
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    key_id: Vec<OsString>,

    /// A file with a key id on each line; - is the standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    key_id_file: Option<PathBuf>,
}

impl KeyIds {
    /// The requests for all of them, which are one at least.
    ///
    /// # Errors
    ///
    /// [`Error::Request`] for a key id that can't be one, and [`Error::KeyIds`]
    /// with the line where it stands in a file; [`Error::Read`], [`Error::Input`].
    pub(crate) fn requests(&self, words: &Words, key_type: &OsStr) -> Result<Vec<Request>, Error> {
        let Some(file) = &self.key_id_file else {
            let parse = |key_id: &OsString| words.parse(key_type, key_id);
            return self.key_id.iter().map(parse).collect();
        };
        let text = read(file)?;
        let error = |line: usize, what: Error| Error::KeyIds(name(file), line, what.into());
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        text.split(|byte| *byte == b'\n')
            .zip(1..)
            .map(|(line, number)| {
                let request = words.parse(key_type, OsStr::from_bytes(line));
                request.map_err(|what| error(number, what))
            })
            .collect()
    }
}

/// Whether it is not a file, but the standard input.
fn is_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn name(file: &Path) -> String {
    if is_input(file) {
        return "standard input".into();
    }
    file.display().to_string()
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    if is_input(file) {
        let mut text = Vec::new();
        let read = io::stdin().read_to_end(&mut text);
        return read.map(|_| text).map_err(Error::Input);
    }
    fs::read(file).map_err(|error| Error::Read(file.into(), error))
}
