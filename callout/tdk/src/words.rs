// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Options as the callout info of a request, read by the grammar that askers' are
//! read with.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use tpm_derived_keys::request::{PREFIX, Request};

use crate::error::Error;
use crate::warn;

#[derive(Default)]
pub(crate) struct Words(Vec<u8>);

impl Words {
    /// Adds what an option says.
    pub(crate) fn add(&mut self, option: &str, prefix: &str, word: &OsStr) -> Result<(), Error> {
        let word = word.as_bytes();
        if word.is_empty() || word.iter().any(|byte| b" \t".contains(byte)) {
            return Err(Error::Usage(format!("{option} takes one word")));
        }
        self.0.extend([prefix.as_bytes(), word, b" "].concat());
        Ok(())
    }

    /// The request for a key id.
    pub(crate) fn parse(&self, key_type: &OsStr, key_id: &OsStr) -> Result<Request, Error> {
        if key_id.as_bytes().starts_with(PREFIX.as_bytes()) {
            let id = key_id.display();
            warn(&format!(
                "the key id is {id}, so the description {PREFIX}{id}"
            ));
        }
        let description = [PREFIX.as_bytes(), key_id.as_bytes()].concat();
        Ok(Request::parse(key_type.as_bytes(), &description, &self.0)?)
    }
}
