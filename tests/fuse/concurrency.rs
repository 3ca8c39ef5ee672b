use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Mount;
use crate::fixture::{self, Layer, noise};
use crate::readers::Slow;

#[test]
fn many_threads_read_walk_and_stat_at_once() {
    let content = noise(2_000_000);
    let mut layer = Layer::new().file("big", 0o644, &content);
    for n in 0..300 {
        let path = format!("d{}/f{n}", n % 7);
        layer = layer.file(&path, 0o644, &content[n..n * 20]);
    }
    let slow = |data| -> Arc<dyn stratafs::io::ReadAt> {
        Arc::new(Slow { data, delay: Duration::from_micros(200) })
    };
    let mount = Mount::of_tree(fixture::with_readers(vec![layer], slow));
    let root = &mount.path("");
    let content = &content;
    thread::scope(|scope| {
        for t in 0..8_usize {
            scope.spawn(move || {
                let big = File::open(root.join("big")).unwrap();
                for n in (t..300).step_by(3) {
                    let path = root.join(format!("d{}/f{n}", n % 7));
                    assert_eq!(std::fs::read(&path).unwrap(), &content[n..(n * 20).max(n)]);
                    let mut buf = [0; 3000];
                    let offset = (n * 6_007 + t * 40_009) % 1_990_000;
                    big.read_exact_at(&mut buf, offset as u64).unwrap();
                    assert_eq!(buf, content[offset..offset + 3000]);
                }
                let names: usize =
                    (0..7).map(|d| root.join(format!("d{d}")).read_dir().unwrap().count()).sum();
                assert_eq!(names, 300);
            });
        }
    });
    assert_eq!(mount.mounted().stats().faults.get(), 0);
}
