//! Any bytes as a program: what it asks for lies where numbers can say.

use stratafs::chain::programs::{DYNAMIC_MAX, Elf, NAME_MAX, NEEDED_MAX};

/// Looks at `data` as a file that is as long.
pub fn run(data: &[u8]) {
    let Some(elf) = Elf::parse(data) else { return };
    assert!(elf.interpreter.iter().all(|place| place.end - place.start <= NAME_MAX));
    let Some(place) = elf.dynamic.clone() else { return };
    assert!(place.end - place.start <= DYNAMIC_MAX);
    let part = |at: u64| usize::try_from(at).map_or(data.len(), |at| at.min(data.len()));
    let needs = elf.needs(&data[part(place.start)..part(place.end)]);
    assert!(needs.libraries.len() <= NEEDED_MAX);
    for place in needs.libraries.iter().chain(&needs.folders) {
        assert!(place.start < place.end && place.end - place.start <= NAME_MAX);
    }
}
