// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The live kernel: requests that go all the way and back.
//!
//! Needs root. A [`Rule`] adds a file to `/etc/request-key.d` whose one line
//! catches only the key ids of that rule, so that tests run side by side, and on
//! a machine where the callout is installed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::programs;

const PREFIX: &str = "tpm2:derived:";
const DIRECT: &str = "%k %t %d %c %u %g %S";

/// A callout of one test, with its configuration.
#[derive(Debug)]
pub struct Rule {
    _file: File,
    directory: tempfile::TempDir,
    prefix: String,
}

impl Rule {
    /// Installs the callout in the direct form, with this configuration.
    pub fn direct(config: &str) -> Self {
        Self::new(config, PREFIX, &programs::callout(), "", DIRECT)
    }

    /// Installs the callout in the pipe form, with this configuration.
    pub fn pipe(config: &str) -> Self {
        Self::new(config, PREFIX, &programs::callout(), "|", "%t %d %c %u %g")
    }

    /// Installs another program as the callout in the direct form.
    pub fn with_program(program: &Path, config: &str) -> Self {
        Self::new(config, PREFIX, program, "", DIRECT)
    }

    /// Installs the callout with other arguments than it takes.
    pub fn with_arguments(arguments: &str) -> Self {
        Self::new("", PREFIX, &programs::callout(), "", arguments)
    }

    /// Installs the callout for descriptions that are not its own: the key ids
    /// of this rule alone.
    pub fn catching_strangers(config: &str) -> Self {
        Self::new(config, "", &programs::callout(), "", DIRECT)
    }

    fn new(config: &str, catches: &str, program: &Path, bar: &str, arguments: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        static CLEAN: Once = Once::new();
        CLEAN.call_once(remove_what_killed_tests_left);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("tdk-test-{}-{count}-", std::process::id());
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let config_file = directory.path().join("config.toml");
        fs::write(&config_file, config).unwrap();
        let line = format!(
            "create * {catches}{prefix}* * {bar}{} --config {} {arguments}\n",
            program.display(),
            config_file.display(),
        );
        Self {
            _file: File::create(&format!("/etc/request-key.d/{prefix}.conf"), &line),
            directory,
            prefix,
        }
    }

    /// Replaces the configuration.
    pub fn configure(&self, config: &str) {
        fs::write(self.config_file(), config).unwrap();
    }

    /// Where the configuration is.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    /// A directory that everybody can enter, removed in the end.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A key id that this rule's callout serves.
    pub fn key_id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The description for it.
    pub fn description(&self, name: impl AsRef<[u8]>) -> OsString {
        let prefix = format!("tpm2:derived:{}", self.prefix);
        OsString::from_vec([prefix.as_bytes(), name.as_ref()].concat())
    }

    /// Asks as root, from `/usr/bin/keyctl`.
    pub fn ask(&self, name: &str, info: &str) -> Answer {
        Asker::default().ask(self.description(name), info)
    }

    /// A copy of keyctl(1) in this rule's directory.
    pub fn copy_of_keyctl(&self, name: &str) -> PathBuf {
        self.copy_of(KEYCTL.as_ref(), name)
    }

    /// A copy of a program in this rule's directory, where every user can run it.
    pub fn copy_of(&self, program: &Path, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        // By another process: see why in the callout's own tests.
        let copied = Command::new("cp").arg(program).arg(&path).status().unwrap();
        assert!(copied.success());
        path
    }

    /// Fails if a key of this rule is still under construction, or a callout
    /// still runs.
    pub fn assert_nothing_left(&self) {
        let start = Instant::now();
        while self.is_anything_left() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "something of {} is left",
                self.prefix
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_anything_left(&self) -> bool {
        let keys = fs::read("/proc/keys").unwrap();
        let keys = String::from_utf8_lossy(&keys);
        keys.lines().any(|line| {
            let flags = line.split_ascii_whitespace().nth(1).unwrap_or_default();
            line.contains(&self.prefix) && flags.contains('U')
        }) || !self.callouts().is_empty()
    }

    /// The processes that serve this rule just now.
    pub fn callouts(&self) -> Vec<u32> {
        let config = self.config_file();
        processes_with_argument(config.as_os_str())
    }

    /// Waits until there is one.
    pub fn wait_for_callout(&self) -> u32 {
        let start = Instant::now();
        loop {
            if let Some(callout) = self.callouts().first() {
                return *callout;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "no callout");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A process that ends with its test, however that ends.
#[derive(Debug)]
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removes lines of test processes that have no more use for them.
fn remove_what_killed_tests_left() {
    for entry in fs::read_dir("/etc/request-key.d")
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix("tdk-test-")
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file that is there for a while, whole from the start.
#[derive(Debug)]
pub struct File(PathBuf);

impl File {
    /// Writes it, under a name that nobody reads, and gives it its own.
    pub fn create(path: &str, content: &str) -> Self {
        let path = PathBuf::from(path);
        let unfinished = path.with_extension("new");
        fs::write(&unfinished, content).expect("these tests need root and keyutils");
        fs::rename(&unfinished, &path).unwrap();
        Self(path)
    }

    /// Takes care of a file that is there.
    pub fn adopt(path: &str) -> Self {
        Self(path.into())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const KEYCTL: &str = "/usr/bin/keyctl";

fn processes_with_argument(argument: &OsStr) -> Vec<u32> {
    let wanted = argument.as_encoded_bytes();
    let is_callout = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|word| word == wanted)
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_callout)
        .collect()
}

/// A key, or the errno's name.
pub type Answer = Result<Vec<u8>, String>;

/// Somebody who asks for keys.
#[derive(Clone, Debug)]
pub struct Asker {
    /// A keyctl(1), or a copy.
    pub program: PathBuf,
    /// Which user runs it; root if nobody is named.
    pub uid: Option<u32>,
    /// The key type.
    pub key_type: &'static str,
    /// Commands to run it by, for example `unshare --user`.
    pub through: &'static [&'static str],
}

impl Default for Asker {
    fn default() -> Self {
        Self {
            program: KEYCTL.into(),
            uid: None,
            key_type: "user",
            through: &[],
        }
    }
}

impl Asker {
    /// Asks in a session keyring of its own, and reads the key.
    pub fn ask(&self, description: impl AsRef<OsStr>, info: impl AsRef<OsStr>) -> Answer {
        let script = r#"key=$("$@" @s) && exec keyctl pipe $key"#;
        let output = self
            .command(script, description.as_ref(), info.as_ref())
            .output()
            .unwrap();
        answer(&output)
    }

    /// Asks, and reports on the key instead of reading it.
    pub fn describe(&self, description: impl AsRef<OsStr>, info: impl AsRef<OsStr>) -> Answer {
        let script = r#"key=$("$@" @s) && exec keyctl rdescribe $key"#;
        let output = self
            .command(script, description.as_ref(), info.as_ref())
            .output()
            .unwrap();
        answer(&output)
    }

    /// A shell script in a session keyring of its own, with the request command
    /// (but for the keyring) as its arguments.
    pub fn command(&self, script: &str, description: &OsStr, info: &OsStr) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(uid) = self.uid {
            let uid = uid.to_string();
            command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        }
        command
            .args(["keyctl", "session", "-", "sh", "-c", script, "sh"])
            .args(self.through)
            .arg(&self.program)
            .args(["request2", self.key_type])
            .arg(description)
            .arg(info)
            .env("LC_ALL", "C");
        command
    }
}

/// What keyctl(1) said, as a key or an errno's name.
pub fn answer(output: &Output) -> Answer {
    if output.status.success() {
        return Ok(output.stdout.clone());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(errno_in(&text).unwrap_or_else(|| panic!("{output:?}")))
}

/// The name of the errno that keyctl(1) wrote as text.
pub fn errno_in(text: &str) -> Option<String> {
    [
        ("Permission denied", "EACCES"),
        ("Invalid argument", "EINVAL"),
        ("No such device", "ENODEV"),
        ("Resource temporarily unavailable", "EAGAIN"),
        ("Key was rejected by service", "EKEYREJECTED"),
        ("Required key not available", "ENOKEY"),
        ("Key has been revoked", "EKEYREVOKED"),
        ("Disk quota exceeded", "EDQUOT"),
        ("Operation not permitted", "EPERM"),
    ]
    .into_iter()
    .find(|(message, _)| text.contains(&format!("request_key: {message}")))
    .map(|(_, errno)| errno.to_owned())
}

/// The result for which keys are refused: an errno.
pub fn errno(name: &str) -> Answer {
    Err(name.into())
}
