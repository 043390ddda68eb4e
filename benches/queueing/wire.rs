// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands to a software TPM as they are, by the empty password and in clear: what the
//! library does not send.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::Result;

const CREATE_PRIMARY: u32 = 0x131;
const EVICT_CONTROL: u32 = 0x120;
const HMAC: u32 = 0x155;
const CONTEXT_LOAD: u32 = 0x161;
const CONTEXT_SAVE: u32 = 0x162;
const FLUSH_CONTEXT: u32 = 0x165;

/// TPM_RH_OWNER.
const OWNER: u32 = 0x4000_0001;

/// Before everything else in a response.
const HEADER: usize = 10;

/// A connection.
pub(crate) struct Wire(UnixStream);

impl Wire {
    pub(crate) fn open(tcti: &str) -> Result<Self> {
        let path = tcti.strip_prefix("swtpm:path=");
        Ok(Self(UnixStream::connect(path.ok_or("no Unix socket")?)?))
    }

    /// What follows the header of the answer.
    fn send(&mut self, tag: u8, code: u32, body: &[u8]) -> Result<Vec<u8>> {
        let size = u32::try_from(HEADER + body.len())?;
        let head = [&[0x80, tag], &size.to_be_bytes()[..], &code.to_be_bytes()];
        self.0.write_all(&[&head.concat(), body].concat())?;
        let mut header = [0; HEADER];
        self.0.read_exact(&mut header)?;
        let [_, _, a, b, c, d, code @ ..] = header;
        let size = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
        let rest = size.checked_sub(HEADER).ok_or("a short answer")?;
        let mut body = vec![0; rest];
        self.0.read_exact(&mut body)?;
        match u32::from_be_bytes(code) {
            0 => Ok(body),
            code => Err(format!("the TPM answers {code:#x}").into()),
        }
    }

    /// A command on these handles, the first of which the empty password authorises.
    fn authorized(&mut self, code: u32, handles: &[u32], parameters: &[u8]) -> Result<Vec<u8>> {
        let handles: Vec<_> = handles.iter().flat_map(|h| h.to_be_bytes()).collect();
        // TPM_RS_PW, no nonce, no attributes, no password.
        let area = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        self.send(2, code, &[&handles, &area[..], parameters].concat())
    }

    /// TPM2_CreatePrimary under the owner hierarchy: the handle.
    pub(crate) fn create_primary(&mut self, template: &[u8]) -> Result<u32> {
        let size = u16::try_from(template.len())?.to_be_bytes();
        // An empty sensitive area; no outsideInfo, no creationPCR.
        let parameters = [&[0, 4, 0, 0, 0, 0], &size[..], template, &[0; 6]].concat();
        handle(&self.authorized(CREATE_PRIMARY, &[OWNER], &parameters)?)
    }

    /// TPM2_EvictControl: keeps an object at a persistent handle.
    pub(crate) fn keep(&mut self, object: u32, at: u32) -> Result<()> {
        self.authorized(EVICT_CONTROL, &[OWNER, object], &at.to_be_bytes())
            .map(drop)
    }

    /// TPM2_HMAC by SHA-256, of 32 bytes.
    pub(crate) fn hmac(&mut self, key: u32, digest: &[u8; 32]) -> Result<[u8; 32]> {
        let parameters = [&[0, 32], &digest[..], &[0, 0x0B]].concat();
        let answer = self.authorized(HMAC, &[key], &parameters)?;
        // After the parameters' size, and its own.
        let hmac = answer.get(6..38).ok_or("no HMAC")?;
        Ok(hmac.try_into()?)
    }

    pub(crate) fn save_context(&mut self, handle: u32) -> Result<Vec<u8>> {
        self.send(1, CONTEXT_SAVE, &handle.to_be_bytes())
    }

    pub(crate) fn load_context(&mut self, context: &[u8]) -> Result<u32> {
        handle(&self.send(1, CONTEXT_LOAD, context)?)
    }

    pub(crate) fn flush(&mut self, handle: u32) -> Result<()> {
        let handle = handle.to_be_bytes();
        self.send(1, FLUSH_CONTEXT, &handle).map(drop)
    }
}

fn handle(answer: &[u8]) -> Result<u32> {
    let (handle, _) = answer.split_first_chunk().ok_or("no handle")?;
    Ok(u32::from_be_bytes(*handle))
}
