//! What programs are started with is fetched before it is asked for.

use stratafs::chain::{Chain, Prefetch};
use stratafs::fs::{Filesystem, NodeId};

use super::lazy::{World, text, wait_for};

/// A program that asks for `libz.so.1` and `libc.so.6`, in `$ORIGIN/../lib` and `/opt/lib`, and for the
/// interpreter `/lib64/ld-linux-x86-64.so.2`.
const PROGRAM: &[u8] = include_bytes!("../fuzz/seeds/elf/program");
const PARTS: [&str; 4] =
    ["bin/prog", "lib/libz.so.1", "opt/lib/libc.so.6", "lib64/ld-linux-x86-64.so.2"];

const GAPS: [&str; 5] = ["gap1", "gap2", "gap3", "gap4", "gap5"];

/// An image with that program and what it asks for, far from each other.
fn world() -> World {
    let gap = || text(1 << 20);
    World::of(&[
        ("gap1", gap()),
        ("bin/prog", [PROGRAM, &text(3000)].concat()),
        ("gap2", gap()),
        ("lib/libz.so.1", text(5000)),
        ("gap3", gap()),
        ("opt/lib/libc.so.6", text(5000)),
        ("gap4", gap()),
        ("lib64/ld-linux-x86-64.so.2", text(5000)),
        // More than is ever guessed.
        ("gap5", text(6 << 20)),
    ])
}

fn is_here(chain: &Chain, path: &str) -> bool {
    let ino = chain.tree.resolve(path.as_bytes(), true).unwrap().ino;
    let layer = chain.layers[0].cached.as_ref().unwrap();
    let mut extents = chain.tree.extents(ino, 0).unwrap().map(Result::unwrap);
    extents.all(|extent| {
        let (start, len) = (extent.layer_offset, extent.len);
        let [first, last] = [start, start + len - 1].map(|at| layer.table().find(at).unwrap());
        (first..=last).all(|span| layer.is_here(span))
    })
}

fn wait_for_all(chain: &Chain) {
    wait_for("a program", || PARTS.iter().all(|path| is_here(chain, path)));
    assert!(GAPS.iter().any(|path| !is_here(chain, path)), "all was fetched");
}

#[test]
fn a_command_brings_what_its_programs_ask_for() {
    let world = world();
    let (_store, chain) = world.cold();
    chain.start(Prefetch::Trace);
    let command = ["sh", "-c", "test -e /x || exec prog --with; $NOTHING"].map(str::to_owned);
    chain.expect_programs(&command, &["PATH=/none:/bin".to_owned()]);
    wait_for_all(&chain);
}

#[test]
fn a_program_that_is_read_brings_what_it_asks_for() {
    let world = world();
    let (_store, chain) = world.cold();
    chain.start(Prefetch::Trace);
    let filesystem = Filesystem::of_tree(chain.mounted_tree());
    let ino = chain.tree.resolve(b"bin/prog", true).unwrap().ino;
    let mut head = [0; 16];
    filesystem.read(NodeId::new(0, ino), 0, &mut head).unwrap();
    assert_eq!(head, PROGRAM[..16]);
    wait_for_all(&chain);
}

#[test]
fn nothing_is_looked_into_where_nothing_is_to_be_fetched_ahead() {
    let world = world();
    let (_store, chain) = world.cold();
    chain.start(Prefetch::None);
    chain.expect_programs(&["prog".to_owned()], &["PATH=/bin".to_owned()]);
    assert!(chain.mounted_tree().starts.is_none());
}
