// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether a process runs what the kernel calls its executable.
//!
//! prctl(PR_SET_MM_MAP) exchanges the link `/proc/<pid>/exe`, but not while the old
//! executable is mapped. So who has done it has nothing of the other file mapped where
//! the kernel once put the program, unless it has taken that trouble, too.

use std::io::{self, BufRead, BufReader, Read};

use rustix::fs::{AtFlags, major, minor, statat};
use rustix::io::Errno;

use super::auxv::Auxv;
use super::{Asker, AskerError, Version, errno};

/// A mapping may be split or joined between two looks at it.
const LOOKS: usize = 3;

/// As many bytes are read of "maps". An asker can make it longer, by tens of thousands
/// of mappings of files with long names; then what it says is not known.
const MOST_READ: u64 = 32 * 1024 * 1024;

/// As many are kept of a line: all but the name.
const LINE: u64 = 128;

impl Asker {
    /// Whether the file is mapped where its program headers or its entry point were
    /// when the program was started.
    ///
    /// One of both is enough: some programs replace their code by other pages, and
    /// leave the headers; and who forges can have both.
    pub(super) fn has_mapped(&self, file: &Version, auxv: Auxv) -> Result<bool, AskerError> {
        for _ in 0..LOOKS {
            let maps = BufReader::new(self.open("maps")?);
            let mappings = mappings(maps, auxv).map_err(|error| self.error(errno(&error)))?;
            if mappings.iter().any(|mapping| self.is_of(mapping, file)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_of(&self, mapping: &Mapping, file: &Version) -> bool {
        let link = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
        match statat(&self.directory, link, AtFlags::empty()) {
            Ok(stat) => (stat.st_dev, stat.st_ino) == (file.device, file.inode),
            // Root alone may follow it. The numbers in "maps" are those of stat(2) but in
            // overlays and btrfs.
            Err(Errno::PERM | Errno::ACCESS) => {
                let device = (major(file.device), minor(file.device));
                (mapping.device, mapping.inode) == (device, file.inode)
            }
            Err(_) => false,
        }
    }
}

/// A line of `/proc/<tid>/maps`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    start: u64,
    end: u64,
    device: (u32, u32),
    inode: u64,
}

impl Mapping {
    /// `START-END MODE OFFSET MAJOR:MINOR INODE NAME`, all but the inode in hex.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line
            .split(|byte| *byte == b' ')
            .map(|word| std::str::from_utf8(word).ok());
        let (start, end) = words.next()??.split_once('-')?;
        let (major, minor) = words.nth(2)??.split_once(':')?;
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            device: (
                u32::from_str_radix(major, 16).ok()?,
                u32::from_str_radix(minor, 16).ok()?,
            ),
            inode: words.next()??.parse().ok()?,
        })
    }
}

/// The mappings that the addresses are in. They are listed in the order of addresses.
pub(super) fn mappings(maps: impl BufRead, auxv: Auxv) -> io::Result<Vec<Mapping>> {
    let Some(last) = auxv.addresses().max() else {
        return Ok(Vec::new());
    };
    let mut maps = maps.take(MOST_READ);
    let mut found = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        Read::take(&mut maps, LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return match maps.limit() {
                0 => Err(Errno::FBIG.into()),
                _ => Ok(found),
            };
        }
        if !line.ends_with(b"\n") {
            maps.skip_until(b'\n')?;
        }
        let Some(mapping) = Mapping::parse(&line) else {
            continue;
        };
        if mapping.start > last {
            return Ok(found);
        }
        let range = mapping.start..mapping.end;
        if auxv.addresses().any(|address| range.contains(&address)) {
            found.push(mapping);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let maps = b"00400000-00401000 r--p 00000000 fe:01 7                  /a b\nx\n\
            7f0000000000-7f0000002000 r-xp 00000000 00:00 0 \n";
        let first = (0x40_0000, 0x40_1000, (0xfe, 1), 7);
        let second = (0x7f00_0000_0000, 0x7f00_0000_2000, (0, 0), 0);
        let long = format!(
            "00200000-00201000 r--p 00000000 fe:01 9    /{}\n",
            "x".repeat(100_000)
        );
        let maps = [long.as_bytes(), maps].concat();
        for (address, expected) in [
            (0x20_0000, Some((0x20_0000, 0x20_1000, (0xfe, 1), 9))),
            (0x40_0000, Some(first)),
            (0x40_0fff, Some(first)),
            (0x40_1000, None),
            (0x7f00_0000_1000, Some(second)),
            (1, None),
        ] {
            let found = mappings(&maps[..], Auxv::beginning_at(address)).unwrap();
            let found = found.first();
            let found = found.map(|m| (m.start, m.end, m.device, m.inode));
            assert_eq!(found, expected, "{address:x}");
        }
    }

    #[test]
    fn a_list_without_end_is_not_read_to_it() {
        let endless = BufReader::new(Endless(b"00200000-00201000 r--p 0 fe:01 9 /x\n"));
        let error = mappings(endless, Auxv::beginning_at(0x40_0000)).unwrap_err();
        assert_eq!(errno(&error), Errno::FBIG);
    }

    /// The same again and again.
    struct Endless(&'static [u8]);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            Ok(length)
        }
    }
}
