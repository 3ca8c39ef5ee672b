//! What kind of error an error is: containerd's kinds, and their table to errno.
//!
//! Every module has its own error enum that names the object and the cause, and says its
//! [`Kind`] through [`Classify`]. Nothing here knows those enums.

/// The kinds of error that containerd tells apart (its `errdefs` package).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The object does not exist.
    NotFound,
    /// The object exists already.
    AlreadyExists,
    /// The caller gave something that can never be right.
    InvalidArgument,
    /// The object is not in the state that the call needs.
    FailedPrecondition,
    /// Another caller was faster; trying again may help.
    Aborted,
    /// A source is out of reach for now.
    Unavailable,
    /// A deadline passed.
    DeadlineExceeded,
    /// The caller gave up.
    Canceled,
    /// Credentials are missing or refused.
    Unauthenticated,
    /// The operation is not permitted.
    PermissionDenied,
    /// Disk, memory or a named bound is exhausted.
    ResourceExhausted,
    /// Bytes do not match their digest, or a format is broken.
    DataLoss,
    /// A range is outside of the object.
    OutOfRange,
    /// This is not offered.
    NotImplemented,
    /// A fault of the program or the machine.
    Internal,
}

impl Kind {
    /// The errno that a filesystem call answers for this kind.
    pub fn errno(self) -> i32 {
        match self {
            Kind::NotFound => libc::ENOENT,
            Kind::AlreadyExists => libc::EEXIST,
            Kind::InvalidArgument | Kind::OutOfRange => libc::EINVAL,
            Kind::FailedPrecondition => libc::EBUSY,
            Kind::Aborted => libc::EAGAIN,
            Kind::Unauthenticated | Kind::PermissionDenied => libc::EACCES,
            Kind::ResourceExhausted => libc::ENOSPC,
            Kind::NotImplemented => libc::ENOSYS,
            Kind::Canceled => libc::EINTR,
            Kind::Unavailable | Kind::DeadlineExceeded | Kind::DataLoss | Kind::Internal => {
                libc::EIO
            }
        }
    }

    /// The kind of an error of the operating system.
    pub fn of_io(e: &std::io::Error) -> Self {
        use std::io::ErrorKind as E;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "std's enum is open; the rest is a fault of the machine"
        )]
        match e.kind() {
            E::NotFound => Kind::NotFound,
            E::AlreadyExists => Kind::AlreadyExists,
            E::PermissionDenied => Kind::PermissionDenied,
            E::InvalidInput | E::NotADirectory | E::IsADirectory => Kind::InvalidArgument,
            E::InvalidData | E::UnexpectedEof => Kind::DataLoss,
            E::StorageFull | E::QuotaExceeded | E::OutOfMemory => Kind::ResourceExhausted,
            E::TimedOut => Kind::DeadlineExceeded,
            E::Unsupported => Kind::NotImplemented,
            E::Interrupted => Kind::Canceled,
            E::ConnectionRefused
            | E::ConnectionReset
            | E::ConnectionAborted
            | E::NotConnected
            | E::HostUnreachable
            | E::NetworkUnreachable => Kind::Unavailable,
            E::ResourceBusy | E::DirectoryNotEmpty => Kind::FailedPrecondition,
            _ => Kind::Internal,
        }
    }
}

/// An error that knows its kind.
pub trait Classify: std::error::Error {
    /// The kind of this error.
    fn kind(&self) -> Kind;
}

impl Classify for std::convert::Infallible {
    fn kind(&self) -> Kind {
        match *self {}
    }
}
