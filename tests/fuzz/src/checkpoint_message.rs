//! Any bytes as the messages of a checkpoint: refused, or what was read is written back and read
//! again as the same.

use stratafs::checkpoint::{Any, Spec, process_name, process_tree};

/// Decodes `data` as each of them.
pub fn run(data: &[u8]) {
    if let Ok(any) = Any::parse(data) {
        assert_eq!(Any::parse(&any.encode()).as_ref(), Ok(&any));
    }
    if let Ok(spec) = Spec::decode(data) {
        assert!(!spec.args().is_empty());
        let json = spec.to_json().to_string();
        assert_eq!(Spec::decode(json.as_bytes()).map(|again| again.args()), Ok(spec.args()));
        let (adapted, left_out) = spec.adapt(&|_| false);
        assert_eq!(adapted.to_json()["root"]["path"], "rootfs");
        assert_eq!(adapted.args(), spec.args());
        // What was left out once is not there to be left out again.
        let (again, nothing) = adapted.adapt(&|_| false);
        assert!(nothing.is_empty(), "{left_out:?} then {nothing:?}");
        assert_eq!(again, adapted);
    }
    // Few bytes make few processes.
    if let Ok(processes) = process_tree(data) {
        assert!(processes.len() <= data.len());
    }
    let _ = process_name(data);
}
