// SPDX-License-Identifier: Apache-2.0 OR MIT
//! swtpm's control channel: swtpm_ioctls(3).

use std::fs::File;
use std::io::{self, Read, Write};

use super::record::{Record, What};
use super::stream::{Target, Targets, ask};
use crate::wire;

/// CMD_INIT without flags: the TPM is as if its power had been switched on.
const INIT: [u8; 8] = [0, 0, 0, 2, 0, 0, 0, 0];

/// More bytes than a control command or its answer has, but for blobs of state, which
/// come in pieces.
const PIECE: usize = 8192;

/// What swtpm_ioctls(3) calls the command that begins so.
pub(super) fn name(bytes: &[u8]) -> String {
    let code = bytes
        .first_chunk()
        .map_or(0, |code| u32::from_be_bytes(*code));
    let name = match code {
        1 => "CMD_GET_CAPABILITY",
        2 => "CMD_INIT",
        3 => "CMD_SHUTDOWN",
        4 => "CMD_GET_TPMESTABLISHED",
        5 => "CMD_SET_LOCALITY",
        6 => "CMD_HASH_START",
        7 => "CMD_HASH_DATA",
        8 => "CMD_HASH_END",
        9 => "CMD_CANCEL_TPM_CMD",
        10 => "CMD_STORE_VOLATILE",
        11 => "CMD_RESET_TPMESTABLISHED",
        12 => "CMD_GET_STATEBLOB",
        13 => "CMD_SET_STATEBLOB",
        14 => "CMD_STOP",
        15 => "CMD_GET_CONFIG",
        16 => "CMD_SET_DATAFD",
        17 => "CMD_SET_BUFFERSIZE",
        18 => "CMD_GET_INFO",
        _ => return format!("control {code:#x}"),
    };
    name.into()
}

/// Passes on what comes over one connection, and the answers. Where there is no TPM,
/// everything is done as asked.
pub(super) fn serve(
    client: &mut File,
    target: Option<&Target>,
    record: &Record,
    connection: u32,
) -> io::Result<()> {
    let mut tpm = target.map(Target::connect).transpose()?;
    let mut buffer = vec![0; PIECE];
    loop {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        record.add(connection, What::Control(buffer[..length].to_vec()));
        let length = if let Some(tpm) = &mut tpm {
            tpm.write_all(&buffer[..length])?;
            tpm.read(&mut buffer)?
        } else {
            buffer[..4].fill(0);
            4
        };
        if length == 0 {
            return Ok(());
        }
        record.add(connection, What::ControlAnswer(buffer[..length].to_vec()));
        client.write_all(&buffer[..length])?;
    }
}

/// Takes the power from the TPM and gives it back, without TPM2_Shutdown (TPM Reset);
/// then has it started up, as firmware does.
pub(super) fn power_cycle(targets: &Targets, startup: bool) -> io::Result<()> {
    let mut control = targets.control.connect()?;
    control.write_all(&INIT)?;
    let mut result = [0; 4];
    control.read_exact(&mut result)?;
    if result != [0; 4] {
        return Err(io::Error::other(format!("CMD_INIT: {result:02x?}")));
    }
    if startup {
        let response = ask(&targets.data, &wire::startup())?;
        if wire::response_code(&response) != Some(wire::RC_SUCCESS) {
            return Err(io::Error::other(format!("TPM2_Startup: {response:02x?}")));
        }
    }
    Ok(())
}
