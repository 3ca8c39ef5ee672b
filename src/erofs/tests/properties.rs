//! Random trees: every image is accepted by `fsck.erofs` and is the tree when it is mounted.

use proptest::prelude::*;

use super::made::{Made, folder};
use crate::erofs::DataPath;
use crate::tree::tests::chain::merged;
use crate::tree::tests::properties::chains;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_image_of_any_tree_is_accepted_and_is_the_tree(layers in chains()) {
        let tree = merged(&layers);
        let dir = folder();
        let made = Made::new(&tree, dir.path());
        made.check();
        made.compare_mounted(DataPath::Cached);
    }
}
