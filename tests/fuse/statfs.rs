use nix::sys::statvfs::statvfs;

use super::Mount;
use crate::fixture::Layer;

#[test]
fn figures_are_those_of_the_tree() {
    let layer = Layer::new().file("a", 0o644, &[1; 10_000]).file("d/b", 0o644, &[2; 1]);
    let mount = Mount::of(layer);
    let stat = statvfs(&mount.path("d")).unwrap();
    assert_eq!(stat.block_size() * stat.blocks(), 12_288);
    assert_eq!((stat.files(), stat.files_free(), stat.blocks_free()), (4, 0, 0));
    assert_eq!(stat.name_max(), 255);
}

#[test]
fn an_empty_tree_has_a_capacity_too() {
    let mount = Mount::of(Layer::new());
    let stat = statvfs(&mount.path("")).unwrap();
    assert!(stat.blocks() > 0 && stat.files() > 0 && stat.block_size() > 0);
}
