// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What went over the connections, for tcpdump and Wireshark.
//!
//! A file as pcap-savefile(5) has it, of the link type LINKTYPE_IPV4 (228): each
//! packet begins with an IPv4 header. What is in it looks like a software TPM that
//! listens on 127.0.0.1, TCP ports 2321 (commands) and 2322 (control), whatever the
//! proxy listens on: Wireshark knows the first as TPM 2.0. Each command and each
//! answer is one packet. (The headers of such a file are twelve numbers; the crates
//! that write them bring a second generation of what others here depend on.)

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use etherparse::PacketBuilder;

/// LINKTYPE_IPV4.
const LINK_TYPE: u32 = 228;

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

/// The first port that programs have here.
const PROGRAMS: u16 = 49_152;

/// Whose port at the TPM.
#[derive(Clone, Copy, Debug)]
pub(super) enum Port {
    Data,
    Control,
}

impl Port {
    fn number(self) -> u16 {
        match self {
            Self::Data => 2321,
            Self::Control => 2322,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    ToTpm,
    FromTpm,
}

/// A file that grows.
#[derive(Debug)]
pub(super) struct Pcap {
    file: BufWriter<File>,
    /// How many bytes have gone to the TPM and come from there, for each connection.
    sent: HashMap<u32, (u32, u32)>,
}

impl Pcap {
    /// Makes the file, for its owner only: with a plain bus there are keys in it.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let mut file = BufWriter::new(file);
        // Microseconds, version 2.4, two fields of zeros, the longest packet.
        file.write_all(&0xA1B2_C3D4_u32.to_ne_bytes())?;
        file.write_all(&2_u16.to_ne_bytes())?;
        file.write_all(&4_u16.to_ne_bytes())?;
        for number in [0, 0, 65_535, LINK_TYPE] {
            file.write_all(&number.to_ne_bytes())?;
        }
        file.flush()?;
        Ok(Self {
            file,
            sent: HashMap::new(),
        })
    }

    pub(super) fn packet(
        &mut self,
        connection: u32,
        port: Port,
        direction: Direction,
        bytes: &[u8],
    ) -> io::Result<()> {
        let program = u16::try_from(connection % u32::from(u16::MAX - PROGRAMS)).unwrap_or(0);
        let program = PROGRAMS + program;
        let (to, from) = self.sent.entry(connection).or_default();
        let (source, destination, sequence, acknowledged) = match direction {
            Direction::ToTpm => (program, port.number(), to, *from),
            Direction::FromTpm => (port.number(), program, from, *to),
        };
        let packet = PacketBuilder::ipv4(LOCALHOST, LOCALHOST, 64)
            .tcp(source, destination, *sequence, u16::MAX)
            .ack(acknowledged)
            .psh();
        let mut whole = Vec::with_capacity(packet.size(bytes.len()));
        packet.write(&mut whole, bytes).map_err(io::Error::other)?;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        *sequence = sequence.wrapping_add(length);

        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let length = u32::try_from(whole.len()).unwrap_or(u32::MAX);
        for number in [seconds, now.subsec_micros(), length, length] {
            self.file.write_all(&number.to_ne_bytes())?;
        }
        self.file.write_all(&whole)?;
        // Whole packets only, whenever somebody looks.
        self.file.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn packets() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pcap");
        let mut pcap = Pcap::create(&path).expect("a file");
        let command = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x45, 0, 0];
        pcap.packet(1, Port::Data, Direction::ToTpm, &command)
            .expect("written");
        pcap.packet(1, Port::Data, Direction::FromTpm, &command[..10])
            .expect("written");
        pcap.packet(1, Port::Data, Direction::ToTpm, &command)
            .expect("written");
        let mode = std::fs::metadata(&path).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).expect("a file");
        let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4"));
        assert_eq!(number(0), 0xA1B2_C3D4);
        assert_eq!(number(20), 228);
        // IPv4 and TCP without options, and a command of 12 bytes.
        assert_eq!((number(32), number(36)), (52, 52));
        let (ip, tcp) = bytes[40..].split_at(20);
        assert_eq!(ip[0], 0x45);
        assert_eq!(tcp[..4], [0xC0, 1, 9, 17], "ports 49153 and 2321");
        assert_eq!(tcp[20..32], command);
        // The third packet goes on where the first ended, and knows of the second.
        let third = 24 + (16 + 52) + (16 + 50) + 16 + 20;
        assert_eq!(bytes[third + 4..third + 12], [0, 0, 0, 12, 0, 0, 0, 10]);
    }
}
