// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where clients connect.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{geteuid, umask};

/// A socket's file, and the directory that has been made for it, for as long as
/// somebody listens.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    directory: Option<PathBuf>,
    /// Device and inode of the file that is ours.
    file: Option<(u64, u64)>,
}

impl Socket {
    /// Listens there, or in a new directory of this user's in the one for temporary
    /// files.
    ///
    /// # Errors
    ///
    /// What the system says: EADDRINUSE if there is a file, unless it is what an
    /// agent that was killed has left.
    pub(super) fn bind(path: Option<&Path>) -> io::Result<(UnixListener, Self)> {
        let mut socket = Self {
            path: PathBuf::new(),
            directory: None,
            file: None,
        };
        if let Some(path) = path {
            if is_abandoned(path) {
                fs::remove_file(path)?;
            }
            let listener = bind(path)?;
            // The working directory may change.
            socket.path = std::path::absolute(path)?;
            socket.file = identity(&socket.path);
            return Ok((listener, socket));
        }
        let directory = tempfile::Builder::new()
            .prefix("tdk-ssh-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        socket.path = std::path::absolute(directory.path())?.join("agent.sock");
        socket.directory = Some(directory.keep());
        let listener = bind(&socket.path)?;
        socket.file = identity(&socket.path);
        Ok((listener, socket))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may be gone already, and another agent's be there.
        if self.file.is_some() && self.file == identity(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// The file is its owner's alone from the start.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let mask = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(mask);
    listener
}

/// Whether this is a socket at which nobody listens any more.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && connect(path) == Err(Errno::CONNREFUSED)
}

/// Without waiting for a listener that is busy.
fn connect(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

/// Root and this user may; the file's mode keeps others out as well, but not if
/// somebody changes it.
pub(super) fn may_connect(stream: &UnixStream) -> bool {
    socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == geteuid())
}
