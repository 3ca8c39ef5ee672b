//! Any bytes as the part of an artifact with the indexes or traces of layers: refused, or read and
//! written again to the same.

use stratafs::compress::StartTrace;
use stratafs::layer::{Bundle, LayerIndex};

/// Decodes `data`, and the parts that it holds.
pub fn run(data: &[u8]) {
    let Ok(bundle) = Bundle::decode(data) else { return };
    assert_eq!(Bundle::decode(&bundle.encode()).as_ref(), Ok(&bundle));
    for (digest, part) in &bundle.parts {
        assert!(bundle.part(digest).is_some());
        let _ = LayerIndex::decode(part).is_ok();
        let _ = StartTrace::decode(part).is_ok();
    }
}
