// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest's first file system, made of what is installed on this machine. It is
//! also the only one, unless the guest's system is on a disk.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::kernel::Modules;
use super::{GuestError, Kernel, System};

/// Where keyutils looks for the callout, and what the callout is installed as.
const CALLOUT: &str = "/usr/sbin/key.tpm2_derived";
/// The line of request-key's configuration that names it, as it is shipped.
const RULE: &str = include_str!("../../../callout/etc/tpm2-derived.conf");

/// What the reports to the host go over, where it is not built in.
const TRANSPORT: [&str; 2] = ["virtio_pci", "virtio_console"];
/// What disks go over.
const DISKS: &str = "virtio_blk";

/// The units that make Debian run the script, all of one boot only.
const UNITS: [(&str, &str); 4] = [
    ("tdk.target", include_str!("units/tdk.target")),
    (
        "tdk-script.service",
        include_str!("units/tdk-script.service"),
    ),
    ("emergency.service", include_str!("units/emergency.service")),
    (
        "systemd-udev-trigger.service",
        include_str!("units/systemd-udev-trigger.service"),
    ),
];
/// Units that take time and do nothing for anybody here.
const MASKED: [&str; 21] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "e2scrub_reap.service",
    "getty.target",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-journal-flush.service",
    "systemd-logind.service",
    "systemd-modules-load.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "systemd-user-sessions.service",
    "timers.target",
];
/// Programs that look for units to be made, of which there are none here.
const NO_GENERATORS: [&str; 10] = [
    "systemd-debug-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-veritysetup-generator",
];

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
    pub(crate) system: System,
    pub(crate) script: Option<String>,
    pub(crate) callout: Option<PathBuf>,
    pub(crate) modules: Vec<String>,
    /// Whether there is a disk.
    pub(crate) disks: bool,
    pub(crate) files: Vec<GuestFile>,
    pub(crate) texts: Vec<(String, String)>,
}

impl Content {
    /// The archive for a kernel.
    pub(crate) fn archive(&self, kernel: &Kernel) -> Result<Vec<u8>, GuestError> {
        let mut archive = Archive::default();
        add_first_process(&mut archive)?;
        let modules = kernel.modules()?;
        let mut transport = TRANSPORT.to_vec();
        if self.disks {
            transport.push(DISKS);
        }
        add_modules(&mut archive, &modules, &transport, &self.modules)?;
        let place = match self.system {
            System::Initramfs => {
                add_basics(&mut archive)?;
                Place::HERE
            }
            System::Debian => {
                add_switch(&mut archive);
                Place::ON_DISK
            }
        };
        if let Some(callout) = &self.callout {
            place.add_program(&mut archive, callout, CALLOUT, 0o755)?;
            let rule = "/etc/request-key.d/tpm2-derived.conf";
            archive.file(&place.of(rule), 0o644, RULE);
        }
        for GuestFile { host, guest, mode } in &self.files {
            place.add_program(&mut archive, host, guest, *mode)?;
        }
        for (path, text) in &self.texts {
            archive.file(&place.of(path), 0o644, text.as_str());
        }
        if let Some(script) = &self.script {
            archive.file("/tdk/script", 0o755, script.as_str());
        }
        Ok(archive.to_bytes())
    }
}

/// What any guest begins with: a shell with its tools, and the way on.
fn add_first_process(archive: &mut Archive) -> Result<(), GuestError> {
    for directory in ["proc", "sys", "run", "mnt", "usr/bin", "usr/sbin", "sbin"] {
        archive.directory(directory, 0o755);
    }
    archive.directory("tmp", 0o777);
    archive.directory("root", 0o700);
    // The kernel opens it for the first process, before there is any /dev.
    archive.device("dev/console", 0o600, 5, 1);
    archive.file("init", 0o755, include_str!("init.sh"));
    archive.file("tdk/report.sh", 0o644, include_str!("report.sh"));
    let busybox = find("busybox", "busybox-static")?;
    Place::HERE.add_program(archive, &busybox, "/bin/busybox", 0o755)
}

/// The way on to a disk with Debian.
fn add_switch(archive: &mut Archive) {
    archive.file("tdk/switch.sh", 0o644, include_str!("switch.sh"));
    for (name, unit) in UNITS {
        archive.file(&format!("tdk/units/{name}"), 0o644, unit);
    }
    for name in MASKED {
        archive.link(&format!("tdk/units/{name}"), "/dev/null");
    }
    for name in NO_GENERATORS {
        archive.link(&format!("tdk/generators/{name}"), "/dev/null");
    }
}

/// What else a guest needs that has only this: users, and keyutils.
fn add_basics(archive: &mut Archive) -> Result<(), GuestError> {
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
        ("keyctl", "keyutils", "/usr/bin/keyctl"),
        ("request-key", "keyutils", "/sbin/request-key"),
    ] {
        Place::HERE.add_program(archive, &find(program, package)?, path, 0o755)?;
    }
    // request-key's configuration names keyctl here.
    archive.link("bin/keyctl", "/usr/bin/keyctl");
    let rules = Path::new("/etc/request-key.conf");
    add_file(archive, rules, "etc/request-key.conf", 0o644)?;
    archive.directory("etc/request-key.d", 0o755);
    Ok(())
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
    transport: &[&str],
    wanted: &[String],
) -> Result<(), GuestError> {
    let mut loaded = Vec::new();
    for name in transport.iter().filter(|name| modules.has(name)) {
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
    if guest.split('/').any(|name| name == "..") {
        return Err(GuestError::BadFile {
            path: guest.into(),
            reason: "name it by its whole path in the guest".into(),
        });
    }
    let content = fs::read(host).map_err(GuestError::path("reading", host))?;
    archive.file(guest, mode, content.as_slice());
    Ok(content)
}

/// Where in the archive the guest's files are.
#[derive(Debug, Clone, Copy)]
struct Place {
    files: &'static str,
    libraries: &'static str,
}

impl Place {
    /// The archive is the file system.
    const HERE: Self = Self {
        files: "",
        libraries: "",
    };
    /// `switch.sh` puts them onto the disk, libraries only if it lacks them.
    const ON_DISK: Self = Self {
        files: "tdk/root",
        libraries: "tdk/libraries",
    };

    fn of(self, path: &str) -> String {
        format!("{}/{}", self.files, path.trim_start_matches('/'))
    }

    /// A file, with the shared libraries it needs if it is a program.
    fn add_program(
        self,
        archive: &mut Archive,
        host: &Path,
        guest: &str,
        mode: u32,
    ) -> Result<(), GuestError> {
        let content = add_file(archive, host, &self.of(guest), mode)?;
        if !content.starts_with(b"\x7fELF") {
            return Ok(());
        }
        for library in libraries(host)? {
            let path = format!("{}{}", self.libraries, library.display());
            if !archive.has(&path) {
                add_file(archive, &library, &path, 0o755)?;
            }
        }
        Ok(())
    }
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
