// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages, one after the other, until the client leaves.

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use super::protocol::{self, Identity, Sign};

/// The longest message, as ssh-agent(1) has it.
const MAX_LENGTH: u32 = 256 * 1024;

/// Answers what a client asks, until it leaves, or sends what can't be a message.
///
/// # Errors
///
/// What reading or writing says.
pub(super) fn serve<K: Sign>(
    mut stream: impl Read + Write,
    identities: &[Identity<K>],
) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let length = u32::from_be_bytes(length);
        if length > MAX_LENGTH {
            let what = format!("a message of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        // Whoever adds a key sends a private one.
        let mut message = Zeroizing::new(vec![0; length as usize]);
        stream.read_exact(&mut message)?;
        let answer = protocol::answer(&message, identities);
        let length = u32::try_from(answer.len()).expect("answers are short");
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
}
