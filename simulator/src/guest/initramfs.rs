//! A guest's whole file system, made of what is installed on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::kernel::Modules;
use super::{GuestError, Kernel};

/// Where keyutils looks for the callout, and what the callout is installed as.
const CALLOUT: &str = "/usr/sbin/key.tpm2_derived";
/// The line of request-key's configuration that names it, as it is shipped.
const RULE: &str = include_str!("../../../callout/etc/tpm2-derived.conf");

/// What the reports to the host go over, where it is not built in.
const TRANSPORT: [&str; 2] = ["virtio_pci", "virtio_console"];

/// One file for a guest.
#[derive(Debug, Clone)]
pub(crate) struct GuestFile {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) mode: u32,
}

/// What is in a guest besides the basics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) script: Option<String>,
    pub(crate) callout: Option<PathBuf>,
    pub(crate) modules: Vec<String>,
    pub(crate) files: Vec<GuestFile>,
    pub(crate) texts: Vec<(String, String)>,
}

impl Content {
    /// The archive for a kernel.
    pub(crate) fn archive(&self, kernel: &Kernel) -> Result<Vec<u8>, GuestError> {
        let mut archive = basics()?;
        add_modules(&mut archive, &kernel.modules()?, &self.modules)?;
        if let Some(callout) = &self.callout {
            add_program(&mut archive, callout, CALLOUT, 0o755)?;
            archive.file("/etc/request-key.d/tpm2-derived.conf", 0o644, RULE);
        }
        for GuestFile { host, guest, mode } in &self.files {
            add_program(&mut archive, host, guest, *mode)?;
        }
        for (path, text) in &self.texts {
            archive.file(path, 0o644, text.as_str());
        }
        if let Some(script) = &self.script {
            archive.file("/tdk/script", 0o755, script.as_str());
        }
        Ok(archive.to_bytes())
    }
}

/// A shell with its tools, and keyutils.
fn basics() -> Result<Archive, GuestError> {
    let mut archive = Archive::default();
    for directory in ["proc", "sys", "run", "mnt", "usr/bin", "usr/sbin", "sbin"] {
        archive.directory(directory, 0o755);
    }
    archive.directory("tmp", 0o777);
    archive.directory("root", 0o700);
    // The kernel opens it for the first process, before there is any /dev.
    archive.device("dev/console", 0o600, 5, 1);
    archive.file("init", 0o755, include_str!("init.sh"));
    archive.file(
        "etc/passwd",
        0o644,
        "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\nother:x:1001:1001::/:/bin/sh\n",
    );
    archive.file(
        "etc/group",
        0o644,
        "root:x:0:\nuser:x:1000:\nother:x:1001:\n",
    );

    for (program, package, path) in [
        ("busybox", "busybox-static", "/bin/busybox"),
        ("keyctl", "keyutils", "/usr/bin/keyctl"),
        ("request-key", "keyutils", "/sbin/request-key"),
    ] {
        add_program(&mut archive, &find(program, package)?, path, 0o755)?;
    }
    // request-key's configuration names keyctl here.
    archive.link("bin/keyctl", "/usr/bin/keyctl");
    let rules = Path::new("/etc/request-key.conf");
    add_file(&mut archive, rules, "etc/request-key.conf", 0o644)?;
    archive.directory("etc/request-key.d", 0o755);
    Ok(archive)
}

/// A program of this machine, wherever it is.
pub(crate) fn find(program: &str, package: &'static str) -> Result<PathBuf, GuestError> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .ok_or_else(|| GuestError::NotInstalled {
            program: program.into(),
            package,
        })
}

fn add_modules(
    archive: &mut Archive,
    modules: &Modules,
    wanted: &[String],
) -> Result<(), GuestError> {
    let mut loaded = Vec::new();
    for name in TRANSPORT.into_iter().filter(|name| modules.has(name)) {
        modules.add(name, &mut loaded)?;
    }
    for name in wanted {
        modules.add(name, &mut loaded)?;
    }
    for (number, (name, content)) in loaded.into_iter().enumerate() {
        archive.file(
            &format!("tdk/modules/{number:03}-{name}.ko"),
            0o644,
            content,
        );
    }
    Ok(())
}

fn add_file(
    archive: &mut Archive,
    host: &Path,
    guest: &str,
    mode: u32,
) -> Result<Vec<u8>, GuestError> {
    if !guest.starts_with('/') && guest.contains("..") {
        return Err(GuestError::BadFile {
            path: guest.into(),
            reason: "name it by its whole path in the guest".into(),
        });
    }
    let content = fs::read(host).map_err(GuestError::path("reading", host))?;
    archive.file(guest, mode, content.as_slice());
    Ok(content)
}

/// A file, with the shared libraries it needs if it is a program.
fn add_program(
    archive: &mut Archive,
    host: &Path,
    guest: &str,
    mode: u32,
) -> Result<(), GuestError> {
    let content = add_file(archive, host, guest, mode)?;
    if !content.starts_with(b"\x7fELF") {
        return Ok(());
    }
    for library in libraries(host)? {
        let path = library.to_string_lossy();
        if !archive.has(&path) {
            add_file(archive, &library, &path, 0o755)?;
        }
    }
    Ok(())
}

/// The shared libraries and the loader of a program, as ldd(1) finds them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, GuestError> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .map_err(GuestError::path("running ldd on", program))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("not a dynamic executable") || said.contains("statically linked") {
        return Ok(Vec::new());
    }
    let bad = |reason: String| GuestError::BadFile {
        path: program.into(),
        reason,
    };
    if !output.status.success() {
        return Err(bad(format!("ldd failed: {}", complaint.trim())));
    }
    listed(&said).map_err(|name| bad(format!("its library {name} is not on this machine")))
}

/// The paths in ldd's output, or the name of a library that is missing.
fn listed(said: &str) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for line in said.lines() {
        let mut words = line.split_whitespace();
        let (name, second, third) = (words.next(), words.next(), words.next());
        match (name, second, third) {
            (Some(name), Some("=>"), Some("not")) => return Err(name.into()),
            (_, Some("=>"), Some(path)) | (Some(path), _, _) if path.starts_with('/') => {
                paths.push(path.into());
            }
            // The kernel's own, linux-vdso.so.1.
            _ => {}
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007f301c484000)\n\
                    \tlibkeyutils.so.1 => /lib/x86_64-linux-gnu/libkeyutils.so.1 (0x0)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f301c27d000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f301c484000)\n";
        let paths = listed(said).expect("all found");
        let paths: Vec<_> = paths.iter().map(|path| path.to_str()).collect();
        assert_eq!(
            paths,
            [
                Some("/lib/x86_64-linux-gnu/libkeyutils.so.1"),
                Some("/lib/x86_64-linux-gnu/libc.so.6"),
                Some("/lib64/ld-linux-x86-64.so.2"),
            ]
        );
        assert_eq!(listed("\tlibx.so => not found\n"), Err("libx.so".into()));
    }

    #[test]
    fn a_program_that_is_missing() {
        let error = find("tdk-nonexistent", "some-package").expect_err("none");
        assert_eq!(
            error.to_string(),
            "tdk-nonexistent is not installed: apt-get install some-package"
        );
    }
}
