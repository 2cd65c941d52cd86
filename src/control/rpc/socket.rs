//! The socket's place in the file system.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

const BACKLOG: i32 = 64;

/// A listening control socket; its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

/// Why the control socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A server answers on it.
    #[error(
        "the control socket {} belongs to a running server; stop it or choose another with \
         --control", .0.display()
    )]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{} exists and is no socket; choose another with --control", .0.display())]
    NoSocket(PathBuf),
    /// The kernel takes at most 107 bytes.
    #[error(
        "the control socket's path {} is longer than 107 bytes; choose a shorter one with \
         --control", .0.display()
    )]
    TooLong(PathBuf),
    /// Others could put a socket of theirs in its place.
    #[error(
        "the control socket {} would stand in a directory that everyone may write to (mode {mode:04o}), \
         so others could put a socket of theirs in its place; expected a directory of its owner, or one \
         with the sticky bit: chmod o-w {}", path.display(), directory.display()
    )]
    OpenDirectory {
        /// The socket.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
        /// The directory's permissions.
        mode: u32,
    },
    /// Others may use it: the file system keeps no permissions.
    #[error(
        "the control socket {} has mode {mode:04o} although 0600 was asked for; choose one on a file \
         system that keeps permissions with --control", path.display()
    )]
    OpenSocket {
        /// The socket.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The operating system refused.
    #[error("the control socket {} can't be made: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Listens at `path`, for this user alone. A socket that a dead server left there is removed. That
    /// others can neither use it nor put theirs in its place is checked, not hoped.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        let address = SockAddr::unix(path).map_err(|_| SocketError::TooLong(path.to_owned()))?;
        check_directory(path)?;
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        // Linux gives the file the mode of the socket, so there is no moment with a wider one.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
        socket.bind(&address).map_err(failed)?;
        let bound = Self {
            listener: UnixListener::from(socket),
            path: path.to_owned(),
        };
        let mode = std::fs::symlink_metadata(path).map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(SocketError::OpenSocket { path, mode });
        }
        rustix::net::listen(&bound.listener, BACKLOG).map_err(|error| failed(error.into()))?;
        Ok(bound)
    }

    /// Listens beside `path`, where another process listens, until [`ControlSocket::take_place`].
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn bind_beside(path: &Path) -> Result<Self, SocketError> {
        // Not longer than the names that there are.
        Self::bind(&path.with_file_name(format!(".{}", std::process::id())))
    }

    /// Takes the place of whatever listens at `path`, at once: whoever connects finds one or the other.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn take_place(&mut self, path: &Path) -> Result<(), SocketError> {
        let failed = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        std::fs::rename(&self.path, path).map_err(failed)?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Left behind it does no harm: the next start removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Who may write to a directory may take a file out of it and put another in its place, unless the
/// sticky bit keeps files to their owners.
fn check_directory(path: &Path) -> Result<(), SocketError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let metadata = std::fs::metadata(directory).map_err(|source| SocketError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(SocketError::OpenDirectory {
            path: path.to_owned(),
            directory: directory.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}
