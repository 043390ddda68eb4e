// SPDX-License-Identifier: Apache-2.0 OR MIT
use std::os::unix::fs::symlink;

use super::*;

/// An entry: its tag, its type, how many values, and the values.
pub(super) type Entry = (u32, u32, u32, Vec<u8>);

pub(super) fn header(entries: &[Entry]) -> Vec<u8> {
    let mut index = Vec::new();
    let mut data = Vec::new();
    for (tag, kind, count, values) in entries {
        // Integers are where RPM has them: at a multiple of their size.
        data.resize(data.len().next_multiple_of(4), 0);
        let offset = u32::try_from(data.len()).unwrap();
        for word in [*tag, *kind, offset, *count] {
            index.extend(word.to_be_bytes());
        }
        data.extend(values);
    }
    let words = [entries.len(), data.len()].map(|n| u32::try_from(n).unwrap().to_be_bytes());
    [words.as_flattened(), &index, &data].concat()
}

pub(super) fn strings(tag: u32, kind: u32, values: &[&str]) -> Entry {
    let data = values.iter().flat_map(|value| value.bytes().chain([0]));
    (tag, kind, count(values), data.collect())
}

pub(super) fn integers(tag: u32, values: &[u32]) -> Entry {
    let data = values.iter().flat_map(|value| value.to_be_bytes());
    (tag, 4, count(values), data.collect())
}

fn count<T>(values: &[T]) -> u32 {
    u32::try_from(values.len()).unwrap()
}

/// A package with `/usr/bin/a`, `/opt/run` and `/usr/bin/b`, in that order.
pub(super) fn package(name: &str) -> Vec<Entry> {
    vec![
        strings(1000, 6, &[name]),
        integers(1116, &[1, 0, 1]),
        strings(1117, 8, &["a", "run", "b"]),
        strings(1118, 8, &["/opt/", "/usr/bin/"]),
    ]
}

pub(super) fn states(states: [u8; 3]) -> Entry {
    (1029, 1, 3, states.to_vec())
}

/// A directory with a database that has these packages, and what is in its index: the
/// number of a package from 1 on, the last part of a name, and the file's number.
fn database(packages: &[Vec<u8>], index: &[(i64, &[u8], i64)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let database = Connection::open(directory.path().join(FILE)).unwrap();
    // As RPM makes them.
    database
        .execute_batch(
            "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);
             CREATE TABLE 'Basenames' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL,
                 idx INTEGER NOT NULL);
             CREATE INDEX 'Basenames_key_idx' ON 'Basenames'(key ASC);",
        )
        .unwrap();
    for header in packages {
        let insert = "INSERT INTO Packages (blob) VALUES (?1)";
        database.execute(insert, [header]).unwrap();
    }
    for (package, name, file) in index {
        let insert = "INSERT INTO Basenames VALUES (?1, ?2, ?3)";
        let values: [&dyn ToSql; 3] = [&Text(name), package, file];
        database.execute(insert, values).unwrap();
    }
    directory
}

fn one() -> tempfile::TempDir {
    let header = header(&package("one"));
    database(&[header], &[(1, b"a", 0), (1, b"run", 1), (1, b"b", 2)])
}

fn owners_of(directory: &Path, names: &[&str]) -> Result<Vec<String>, String> {
    let names: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let owners = owners_in(directory, &names).map_err(|trouble| trouble.to_string())?;
    let text = |name: Vec<u8>| String::from_utf8(name).unwrap();
    Ok(owners.into_iter().map(text).collect())
}

#[test]
fn whose_it_is() {
    let mut other = package("other");
    other[3] = strings(1118, 8, &["/srv/", "/bin/"]);
    let directory = database(
        &[
            header(&package("one")),
            header(&other),
            header(&package("one")),
        ],
        &[
            (1, b"a", 0),
            (1, b"run", 1),
            (2, b"a", 0),
            (2, b"run", 1),
            (3, b"a", 0),
        ],
    );
    let of = |names: &[&str]| owners_of(directory.path(), names).unwrap();
    assert_eq!(of(&["/usr/bin/a"]), ["one", "one"]);
    assert_eq!(of(&["/usr/bin/a", "/bin/a"]), ["one", "other", "one"]);
    assert_eq!(of(&["/opt/run"]), ["one"]);
    assert_eq!(of(&["/srv/run"]), ["other"]);
    // The same last part elsewhere, and one that the index does not have.
    assert_eq!(of(&["/usr/local/bin/a"]), [""; 0]);
    assert_eq!(of(&["/usr/bin/A"]), [""; 0]);
    assert_eq!(of(&["/usr/bin/b"]), [""; 0]);
}

#[test]
fn names_that_are_no_text() {
    let mut raw = package("raw");
    raw[2] = (1117, 8, 3, b"a\0\xff'%\0b\0".to_vec());
    let directory = database(&[header(&raw)], &[(1, b"\xff'%", 1)]);
    let owners = owners_in(directory.path(), &[b"/opt/\xff'%".to_vec()]).unwrap();
    assert_eq!(owners, [b"raw"]);
    // Nor need the way to the database be one.
    let link = directory.path().join("a?b#c%20 d");
    symlink(directory.path(), &link).unwrap();
    assert_eq!(owners_of(&link, &["/usr/bin/a"]), Ok(vec![]));
}

#[test]
fn what_is_not_there_any_more() {
    // Replaced, not installed, on a network share, of the wrong colour, missing.
    for state in [1, 2, 3, 4, 255] {
        let mut entries = package("one");
        entries.push(states([0, 0, state]));
        let directory = database(&[header(&entries)], &[(1, b"a", 0), (1, b"b", 2)]);
        assert_eq!(
            owners_of(directory.path(), &["/usr/bin/a"]).unwrap(),
            ["one"]
        );
        assert_eq!(
            owners_of(directory.path(), &["/usr/bin/b"]).unwrap(),
            [""; 0]
        );
    }
}

#[test]
fn a_log_that_is_not_empty() {
    let directory = one();
    for log in LOGS {
        let log = directory.path().join(log);
        fs::write(&log, "").unwrap();
        assert_eq!(
            owners_of(directory.path(), &["/usr/bin/b"]).unwrap(),
            ["one"]
        );
        fs::write(&log, "x").unwrap();
        let error = owners_of(directory.path(), &["/usr/bin/b"]).unwrap_err();
        assert!(
            error.contains("RPM is at work, or was interrupted"),
            "{error}"
        );
        fs::remove_file(&log).unwrap();
    }
}

/// As RPM leaves it, and while RPM has it open.
#[test]
fn a_database_with_a_write_ahead_log() {
    let directory = one();
    let writer = Connection::open(directory.path().join(FILE)).unwrap();
    let mode: String = writer
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    writer
        .execute("DELETE FROM Basenames WHERE key = 'a'", [])
        .unwrap();
    owners_of(directory.path(), &["/usr/bin/b"]).unwrap_err();
    let truncate = "PRAGMA wal_checkpoint = TRUNCATE";
    writer.query_row(truncate, [], |_| Ok(())).unwrap();
    assert_eq!(
        owners_of(directory.path(), &["/usr/bin/b"]).unwrap(),
        ["one"]
    );
    assert_eq!(
        owners_of(directory.path(), &["/usr/bin/a"]).unwrap(),
        [""; 0]
    );
}

#[test]
fn what_is_written_meanwhile() {
    let directory = one();
    let file = directory.path().join(FILE);
    let before = state(directory.path()).unwrap();
    assert!(before == state(directory.path()).unwrap());
    fs::copy(&file, directory.path().join("new")).unwrap();
    fs::rename(directory.path().join("new"), &file).unwrap();
    assert!(before != state(directory.path()).unwrap());
}

#[test]
fn databases_that_can_t_be_read() {
    for content in ["", "x", "SQLite format 3\0"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), content).unwrap();
        owners_of(directory.path(), &["/usr/bin/a"]).unwrap_err();
    }
    // Each as far as it goes, and with other bytes in it.
    let whole = fs::read(one().path().join(FILE)).unwrap();
    for place in (0..whole.len()).step_by(97) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), &whole[..place]).unwrap();
        let _ = owners_of(directory.path(), &["/usr/bin/a"]);
        let mut changed = whole.clone();
        changed[place] ^= 0xff;
        fs::write(directory.path().join(FILE), changed).unwrap();
        let _ = owners_of(directory.path(), &["/usr/bin/a"]);
    }
    // An index that leads to no header, to none that is one, and to none of its files.
    for (header, file) in [
        (None, 0),
        (Some(b"no header".to_vec()), 0),
        (Some(header(&package("one"))), 3),
        (Some(header(&package("one"))), -1),
        (Some(header(&package("one"))), i64::MAX),
    ] {
        let packages: Vec<_> = header.into_iter().collect();
        let directory = database(&packages, &[(1, b"a", file)]);
        let error = owners_of(directory.path(), &["/usr/bin/a"]).unwrap_err();
        assert_eq!(error, "a package's header is malformed");
    }
}

#[test]
fn where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let [a, b, none] = ["a", "b", "none"].map(|name| root.join(name));
    fs::create_dir(&a).unwrap();
    symlink("a", &b).unwrap();
    let once = vec![a.clone()];
    assert_eq!(databases(&[&a, &b]), Ok(once.clone()));
    assert_eq!(databases(&[&b, &none]), Ok(once));
    assert_eq!(databases(&[&none]), Ok(vec![]));
    symlink("loop", root.join("loop")).unwrap();
    databases(&[&root.join("loop")]).unwrap_err();
    // No database, or one that is not read.
    let names = [b"/usr/bin/a".to_vec()];
    assert_eq!(owners(&a, &names), Ok(None));
    assert_eq!(owners(&none, &names), Ok(None));
    for (other, format) in OTHERS {
        let file = a.join(other);
        fs::write(&file, "").unwrap();
        let error = owners(&a, &names).unwrap_err();
        assert!(error.contains(format), "{error}");
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_database_that_others_can_write_to() {
    let directory = one();
    let file = directory.path().join(FILE);
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&file, permissions).unwrap();
    // Whoever runs this, as somebody else than root owns it if not.
    let error = owners(directory.path(), &[b"/usr/bin/a".to_vec()]).unwrap_err();
    assert!(!error.contains("malformed"), "{error}");
}
