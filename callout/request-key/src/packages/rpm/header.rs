// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A package's header, as it is in RPM's database: the number of entries, the size of
//! the data, the entries, which say what is where in the data, and the data. All
//! numbers are big-endian.

use std::fmt;

const NAME: u32 = 1000;
const FILE_STATES: u32 = 1029;
const FILE_FLAGS: u32 = 1037;
const DIRECTORY_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIRECTORY_NAMES: u32 = 1118;

/// RPM's types of data.
const CHARACTERS: u32 = 1;
const INTEGERS: u32 = 4;
const STRING: u32 = 6;
const STRINGS: u32 = 8;

/// The state of a file that has been installed, and not been replaced or left out.
const NORMAL: u8 = 0;
/// The flag of a file that the package knows of and does not have.
const GHOST: u32 = 1 << 6;

/// It is no header.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a package's header is malformed")
    }
}

/// The package's name if its file of that number is called so, and was installed by it.
pub(crate) fn is_of(
    header: &[u8],
    file: i64,
    names: &[Vec<u8>],
) -> Result<Option<Vec<u8>>, Malformed> {
    let header = Header::read(header).ok_or(Malformed)?;
    let file = usize::try_from(file).map_err(|_| Malformed)?;
    let path = header.path(file).ok_or(Malformed)?;
    if !names.contains(&path) || !header.has(file)? {
        return Ok(None);
    }
    header.name().map(Some).ok_or(Malformed)
}

struct Header<'a> {
    entries: &'a [[u8; 16]],
    data: &'a [u8],
}

/// What an entry is about.
struct Values<'a> {
    kind: u32,
    count: usize,
    /// The first of them, and what is behind them all.
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (count, bytes) = bytes.split_first_chunk()?;
        let (size, bytes) = bytes.split_first_chunk()?;
        let entries = size_of(*count)?.checked_mul(16)?;
        let (entries, data) = bytes.split_at_checked(entries)?;
        let (entries, []) = entries.as_chunks() else {
            return None;
        };
        (data.len() == size_of(*size)?).then_some(Self { entries, data })
    }

    /// The values of a tag; nothing if there are none. What was added when the package
    /// was installed is behind what it came with, and is what counts.
    fn find(&self, tag: u32) -> Option<Result<Values<'a>, Malformed>> {
        let words = |entry: &[u8; 16]| {
            let (words, _) = entry.as_chunks();
            [words[0], words[1], words[2], words[3]].map(u32::from_be_bytes)
        };
        let mut entries = self.entries.iter().rev().map(words);
        let [_, kind, offset, count] = entries.find(|entry| entry[0] == tag)?;
        let values = || {
            Some(Values {
                kind,
                count: usize::try_from(count).ok()?,
                data: self.data.get(usize::try_from(offset).ok()?..)?,
            })
        };
        Some(values().ok_or(Malformed))
    }

    fn values(&self, tag: u32) -> Option<Values<'a>> {
        self.find(tag)?.ok()
    }

    fn name(&self) -> Option<Vec<u8>> {
        let name = self.values(NAME)?.strings(STRING)?.next()?;
        (!name.is_empty()).then(|| name.to_vec())
    }

    /// What a file is called.
    fn path(&self, file: usize) -> Option<Vec<u8>> {
        let base = self.values(BASE_NAMES)?.strings(STRINGS)?.nth(file)?;
        let directory = self.values(DIRECTORY_INDEXES)?.integer(file)?;
        let directory = usize::try_from(directory).ok()?;
        let mut directories = self.values(DIRECTORY_NAMES)?.strings(STRINGS)?;
        Some([directories.nth(directory)?, base].concat())
    }

    /// Whether a file has come with the package and is there.
    fn has(&self, file: usize) -> Result<bool, Malformed> {
        let state = match self.find(FILE_STATES) {
            Some(states) => states?.character(file).ok_or(Malformed)?,
            None => NORMAL,
        };
        let flags = match self.find(FILE_FLAGS) {
            Some(flags) => flags?.integer(file).ok_or(Malformed)?,
            None => 0,
        };
        Ok(state == NORMAL && flags & GHOST == 0)
    }
}

impl<'a> Values<'a> {
    /// If they are of this type, each up to the NUL behind it.
    fn strings(&self, kind: u32) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let mut data = self.data;
        let next = move || {
            let end = data.iter().position(|byte| *byte == 0)?;
            let string = &data[..end];
            data = &data[end + 1..];
            Some(string)
        };
        (self.kind == kind).then(|| std::iter::from_fn(next).take(self.count))
    }

    fn integer(&self, index: usize) -> Option<u32> {
        if self.kind != INTEGERS || index >= self.count {
            return None;
        }
        let (integers, _) = self.data.as_chunks();
        integers.get(index).copied().map(u32::from_be_bytes)
    }

    fn character(&self, index: usize) -> Option<u8> {
        if self.kind != CHARACTERS || index >= self.count {
            return None;
        }
        self.data.get(index).copied()
    }
}

fn size_of(number: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(number)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Entry, header, integers, package, states, strings};
    use super::*;

    fn asked(entries: &[Entry], file: i64) -> Result<Option<Vec<u8>>, Malformed> {
        let names = ["/usr/bin/a", "/opt/run", "/usr/bin/b"].map(|name| name.as_bytes().to_vec());
        is_of(&header(entries), file, &names)
    }

    /// A package with one of its entries instead of the one that it has, if any.
    fn with(entry: Entry) -> Vec<Entry> {
        let mut entries = package("x");
        entries.retain(|(tag, ..)| *tag != entry.0);
        entries.push(entry);
        entries
    }

    #[test]
    fn files_of_a_package() {
        let x = || Ok(Some(b"x".to_vec()));
        for file in 0..3 {
            assert_eq!(asked(&package("x"), file), x());
            assert_eq!(asked(&with(states([0, 0, 0])), file), x());
        }
        assert_eq!(is_of(&header(&package("x")), 0, &[]), Ok(None));
        let names = [b"/usr/bin/b".to_vec()];
        assert_eq!(is_of(&header(&package("x")), 0, &names), Ok(None));
        assert_eq!(asked(&with(states([0, 1, 0])), 1), Ok(None));
        // Of its flags, only that it does not have the file.
        assert_eq!(
            asked(&with(integers(FILE_FLAGS, &[0, GHOST, 17])), 1),
            Ok(None)
        );
        assert_eq!(asked(&with(integers(FILE_FLAGS, &[0, GHOST, 17])), 2), x());
    }

    #[test]
    fn what_was_added_counts() {
        let mut entries = package("x");
        entries.insert(0, states([1, 1, 1]));
        assert_eq!(asked(&entries, 0), Ok(None));
        entries.push(states([0, 1, 1]));
        assert_eq!(asked(&entries, 0), Ok(Some(b"x".to_vec())));
    }

    #[test]
    fn entries_that_are_not_what_they_should_be() {
        let strings = |tag, kind, values: &[&str]| with(strings(tag, kind, values));
        for (what, entries) in [
            ("no name", package("x")[1..].to_vec()),
            ("an empty name", strings(NAME, STRING, &[""])),
            ("a name that is a list", strings(NAME, STRINGS, &["x"])),
            (
                "a name without an end",
                with((NAME, STRING, 1, b"x".to_vec())),
            ),
            ("no name at all", with((NAME, STRING, 0, b"x\0".to_vec()))),
            ("fewer files", strings(BASE_NAMES, STRINGS, &["a", "run"])),
            (
                "fewer than there are",
                with((BASE_NAMES, STRINGS, 2, b"a\0run\0b\0".to_vec())),
            ),
            ("no files", with((BASE_NAMES, STRINGS, 3, Vec::new()))),
            (
                "files that are one string",
                strings(BASE_NAMES, STRING, &["a", "run", "b"]),
            ),
            (
                "fewer directories",
                strings(DIRECTORY_NAMES, STRINGS, &["/opt/"]),
            ),
            ("fewer indexes", with(integers(DIRECTORY_INDEXES, &[1, 0]))),
            (
                "an index of none",
                with(integers(DIRECTORY_INDEXES, &[1, 0, 2])),
            ),
            (
                "the highest index",
                with(integers(DIRECTORY_INDEXES, &[1, 0, u32::MAX])),
            ),
            (
                "indexes of another type",
                with((DIRECTORY_INDEXES, 3, 3, vec![0; 12])),
            ),
            (
                "indexes without an end",
                with((DIRECTORY_INDEXES, 4, 3, vec![0; 11])),
            ),
            (
                "fewer states",
                with((FILE_STATES, CHARACTERS, 2, vec![0; 3])),
            ),
            (
                "states without an end",
                with((FILE_STATES, CHARACTERS, 3, vec![0; 2])),
            ),
            (
                "states of another type",
                with((FILE_STATES, STRING, 3, vec![0; 3])),
            ),
            ("fewer flags", with(integers(FILE_FLAGS, &[0, 0]))),
            (
                "flags of another type",
                with((FILE_FLAGS, 3, 3, vec![0; 12])),
            ),
        ] {
            assert_eq!(asked(&entries, 2), Err(Malformed), "{what}");
        }
    }

    #[test]
    fn headers_that_are_none() {
        let whole = header(&package("x"));
        let names = [b"/usr/bin/b".to_vec()];
        is_of(&whole, 2, &names).unwrap();
        for end in 0..whole.len() {
            assert_eq!(is_of(&whole[..end], 2, &names), Err(Malformed), "{end}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(is_of(&longer, 2, &names), Err(Malformed));
        // Numbers of entries, sizes, offsets and counts that can't be.
        for place in (0..8 + 16 * 4).step_by(4) {
            for number in [0, 1, 0x0fff_ffff, 0x1000_0000, 0x7fff_ffff, u32::MAX] {
                let mut header = whole.clone();
                header[place..place + 4].copy_from_slice(&number.to_be_bytes());
                let _ = is_of(&header, 2, &names);
                if place < 8 {
                    assert_eq!(is_of(&header, 2, &names), Err(Malformed), "{number}");
                }
            }
        }
    }
}
