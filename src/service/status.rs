//! The table of error kinds and gRPC codes: containerd's `errgrpc`.

use tonic::{Code, Status};

use crate::error::{Classify, Kind};

/// The code that containerd's clients turn back into `kind`.
pub(super) fn code(kind: Kind) -> Code {
    match kind {
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::Aborted => Code::Aborted,
        Kind::Unavailable => Code::Unavailable,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::Canceled => Code::Cancelled,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::DataLoss => Code::DataLoss,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::NotImplemented => Code::Unimplemented,
        Kind::Internal => Code::Internal,
    }
}

/// The kind of an answer of containerd's.
pub(super) fn kind(code: Code) -> Kind {
    match code {
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::InvalidArgument => Kind::InvalidArgument,
        Code::FailedPrecondition => Kind::FailedPrecondition,
        Code::Aborted => Kind::Aborted,
        Code::Unavailable => Kind::Unavailable,
        Code::DeadlineExceeded => Kind::DeadlineExceeded,
        Code::Cancelled => Kind::Canceled,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::PermissionDenied => Kind::PermissionDenied,
        Code::ResourceExhausted => Kind::ResourceExhausted,
        Code::DataLoss => Kind::DataLoss,
        Code::OutOfRange => Kind::OutOfRange,
        Code::Unimplemented => Kind::NotImplemented,
        Code::Ok | Code::Unknown | Code::Internal => Kind::Internal,
    }
}

/// `error` as an answer, with those of its causes that its own text does not hold already.
pub(super) fn status(error: &dyn Classify) -> Status {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let next = e.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = e.source();
    }
    Status::new(code(error.kind()), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_code() {
        for kind in [
            Kind::NotFound,
            Kind::AlreadyExists,
            Kind::InvalidArgument,
            Kind::FailedPrecondition,
            Kind::Aborted,
            Kind::Unavailable,
            Kind::DeadlineExceeded,
            Kind::Canceled,
            Kind::Unauthenticated,
            Kind::PermissionDenied,
            Kind::ResourceExhausted,
            Kind::DataLoss,
            Kind::OutOfRange,
            Kind::NotImplemented,
            Kind::Internal,
        ] {
            assert_eq!(super::kind(code(kind)), kind);
        }
    }
}
