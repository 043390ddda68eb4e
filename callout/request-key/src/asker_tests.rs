// SPDX-License-Identifier: Apache-2.0 OR MIT
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use sha2::{Digest, Sha256};
use tpm_derived_keys::policy::Doubt;

use super::*;

/// A copy of sleep(1) that runs.
struct Sleeper {
    child: Child,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

/// Written by another process: a descriptor of ours that is open for writing
/// could be inherited by a child that another test is just starting, and then
/// the copy can't be executed ("Text file busy").
fn copy_of_sleep(path: &Path) {
    let copied = Command::new("cp").arg("/bin/sleep").arg(path).status();
    assert!(copied.unwrap().success());
}

impl Sleeper {
    fn named(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(directory.path()).unwrap().join(name);
        copy_of_sleep(&path);
        let child = Command::new(&path).arg("600").spawn().unwrap();
        // spawn() returns once exec can't fail any more: before the program is mapped.
        let stat = format!("/proc/{}/stat", child.id());
        while !fs::read_to_string(&stat).unwrap().contains(") S ") {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Self {
            child,
            path,
            _directory: directory,
        }
    }

    fn asker(&self) -> Checked {
        let uid = rustix::process::geteuid().as_raw();
        Asker::of_thread(self.child.id())
            .unwrap()
            .check(uid)
            .unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn me() -> Asker {
    Asker::of_thread(std::process::id()).unwrap()
}

#[test]
fn path_and_checksum_of_a_program() {
    let sleeper = Sleeper::named("sleeper");
    let path = sleeper.path.as_os_str().as_encoded_bytes();
    assert_eq!(
        sleeper.asker().subject(Kind::Path).unwrap(),
        Subject::path(path).unwrap()
    );
    let digest = Sha256::digest(fs::read("/bin/sleep").unwrap()).into();
    assert_eq!(
        sleeper.asker().subject(Kind::Csum).unwrap(),
        Subject::Csum(digest)
    );
    assert_eq!(sleeper.asker().subject(Kind::Id).unwrap(), Subject::Id);
}

#[test]
fn an_honest_program_is_not_doubted() {
    let asker = Sleeper::named("sleeper").asker();
    assert_eq!(*asker.doubts(), Doubts::default());
    assert_eq!(
        *me().check(asker.uid()).unwrap().doubts(),
        Doubts::default()
    );
}

#[test]
fn a_program_where_others_can_write() {
    let sleeper = Sleeper::named("sleeper");
    let directory = sleeper.path.parent().unwrap();
    fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).unwrap();
    let asker = sleeper.asker();
    let mut expected = Doubts::default();
    let directory = directory.display();
    expected.add(
        Doubt::WritablePath,
        format_args!(
            "others can put another program where the asker's executable is: others than root \
             can write {directory} (mode 0777)"
        ),
    );
    assert_eq!(*asker.doubts(), expected);
}

#[test]
fn a_program_that_was_removed() {
    let sleeper = Sleeper::named("sleeper");
    fs::remove_file(&sleeper.path).unwrap();
    for kind in [Kind::Path, Kind::Csum] {
        let error = sleeper.asker().subject(kind).unwrap_err();
        assert!(matches!(error, AskerError::Deleted), "{error}");
    }
}

#[test]
fn a_program_that_was_replaced() {
    let sleeper = Sleeper::named("sleeper");
    let new = sleeper.path.with_extension("new");
    copy_of_sleep(&new);
    fs::rename(&new, &sleeper.path).unwrap();
    for kind in [Kind::Path, Kind::Csum] {
        let error = sleeper.asker().subject(kind).unwrap_err();
        assert!(matches!(error, AskerError::Deleted), "{error}");
    }
}

#[test]
fn a_program_called_deleted() {
    let sleeper = Sleeper::named("x (deleted)");
    let error = sleeper.asker().subject(Kind::Path).unwrap_err();
    assert!(matches!(error, AskerError::Deleted), "{error}");
}

#[test]
fn a_program_that_was_moved_has_its_new_name() {
    let sleeper = Sleeper::named("sleeper");
    let moved = sleeper.path.with_file_name("moved");
    fs::rename(&sleeper.path, &moved).unwrap();
    assert_eq!(
        sleeper.asker().subject(Kind::Path).unwrap(),
        Subject::path(moved.as_os_str().as_encoded_bytes()).unwrap()
    );
}

#[test]
fn a_program_with_another_in_its_place() {
    // A hard link keeps the file alive; the name it runs under is another's.
    let sleeper = Sleeper::named("sleeper");
    fs::hard_link(&sleeper.path, sleeper.path.with_file_name("kept")).unwrap();
    fs::remove_file(&sleeper.path).unwrap();
    copy_of_sleep(&sleeper.path);
    let error = sleeper.asker().subject(Kind::Path).unwrap_err();
    assert!(matches!(error, AskerError::Deleted), "{error}");
}

#[test]
fn nobody_there() {
    let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
    let asker = Asker::of_thread(child.id()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let error = asker.executable().unwrap_err();
    assert!(
        matches!(error, AskerError::Gone(_) | AskerError::NoExecutable),
        "{error}"
    );
    let uid = rustix::process::geteuid().as_raw();
    assert!(matches!(asker.check(uid), Err(AskerError::Gone(_))));
    let error = Asker::of_thread(u32::MAX).unwrap_err();
    assert!(matches!(error, AskerError::Gone(_)), "{error}");
}

#[test]
fn the_uid_has_to_be_the_threads() {
    let uid = rustix::process::geteuid().as_raw();
    me().check(uid).unwrap();
    let error = me().check(uid + 1).unwrap_err();
    assert!(matches!(error, AskerError::Uid { .. }), "{error}");
}

#[test]
fn a_cgroup_or_none_that_tells() {
    let uid = rustix::process::geteuid().as_raw();
    let told = me().check(uid).unwrap().subject(Kind::Cgroup);
    let content = fs::read("/proc/self/cgroup").unwrap();
    match (cgroup::v2_path(&content), told) {
        (None, Err(AskerError::NoCgroup)) | (Some(b"/"), Err(AskerError::RootCgroup)) => {}
        (Some(path), Ok(told)) => assert_eq!(told, Subject::cgroup(path).unwrap()),
        (path, told) => panic!("{path:?}: {told:?}"),
    }
}

#[test]
fn an_executable_without_verity() {
    let error = Sleeper::named("x")
        .asker()
        .subject(Kind::Verity)
        .unwrap_err();
    assert!(matches!(error, AskerError::NoVerity(_)), "{error}");
    assert_eq!(error.errno(), crate::failure::Errno::Refused);
}

#[test]
fn a_program_that_is_too_large_to_hash() {
    let sleeper = Sleeper::named("large");
    // A sparse file of the same program.
    let large = sleeper.path.with_file_name("sparse");
    copy_of_sleep(&large);
    let truncated = Command::new("truncate")
        .args(["-s", "2G"])
        .arg(&large)
        .status();
    assert!(truncated.unwrap().success());
    let mut child = Command::new(&large).arg("600").spawn().unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let asker = Asker::of_thread(child.id()).unwrap().check(uid).unwrap();
    let error = asker.subject(Kind::Csum).unwrap_err();
    assert!(matches!(error, AskerError::TooLarge(_)), "{error}");
    asker.subject(Kind::Path).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_name_that_is_no_text() {
    // Programs cut their threads' names at 15 bytes, in the middle of letters.
    let script = "import ctypes, time
ctypes.CDLL(None).prctl(15, b'thread-caf\\xc3')
print('ready', flush=True)
time.sleep(600)";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let result = Asker::of_thread(child.id()).unwrap().check(uid);
    child.kill().unwrap();
    child.wait().unwrap();
    result.unwrap();
}

#[test]
fn fields_of_a_status() {
    let status = "Name:\tUid: 7\nTracerPid:\t12\nUid:\t1000\t1001\t1002\t1003\n";
    assert_eq!(field(status, "Uid:", 3), Some(1003));
    assert_eq!(field(status, "TracerPid:", 0), Some(12));
    assert_eq!(field(status, "Gid:", 3), None);
    assert_eq!(field("Uid:\t1\n", "Uid:", 3), None);
}
