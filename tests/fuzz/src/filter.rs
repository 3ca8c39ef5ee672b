//! Any text as a filter of snapshots: refused, or it matches a snapshot or not, and the empty
//! filter beside it matches always.

use std::time::UNIX_EPOCH;

use stratafs::snapshot::{Filter, Info, Kind, Labels};

/// Parses `data`, with invalid UTF-8 replaced.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(filter) = Filter::parse(&[&text]) else { return };
    let label = ("containerd.io/snapshot.ref".to_owned(), "sha256:5ae9".to_owned());
    let info = Info {
        kind: Kind::Committed,
        name: "a".to_owned(),
        parent: None,
        labels: Labels::from([label]),
        created: UNIX_EPOCH,
        updated: UNIX_EPOCH,
    };
    let alone = filter.matches(&info);
    let twice = Filter::parse(&[&text, &text]).expect("it was parsed before");
    assert_eq!(twice.matches(&info), alone);
    let any = Filter::parse(&[&text, ""]).expect("it was parsed before");
    assert!(any.matches(&info));
}
