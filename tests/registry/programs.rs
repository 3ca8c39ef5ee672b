//! What programs are started with is fetched before it is asked for.

use std::ops::Range;

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
    let size = chain.tree.node(ino).unwrap().size;
    is_part_here(chain, path, 0..size)
}

/// Whether all of that part of a file is here, which is one extent.
fn is_part_here(chain: &Chain, path: &str, part: Range<u64>) -> bool {
    let ino = chain.tree.resolve(path.as_bytes(), true).unwrap().ino;
    let layer = chain.layers[0].cached.as_ref().unwrap();
    let start = chain.tree.extents(ino, 0).unwrap().next().unwrap().unwrap().layer_offset;
    let place = |at: u64| layer.table().find(start + at).unwrap();
    (place(part.start)..=place(part.end - 1)).all(|span| layer.is_here(span))
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

/// Where the code is in what [`elf`] makes, in bytes.
const CODE: Range<u64> = 1 << 20..2 << 20;

/// A file of 3 MiB that asks for these libraries; a program has an interpreter.
fn elf(is_program: bool, libraries: &[&str]) -> Vec<u8> {
    const NAMES: u64 = 0x400;
    const DYNAMIC: u64 = 0x800;
    const INTERPRETER: u64 = 0xc00;
    let mut file = text(3 << 20);
    file[..0x1000].fill(0);
    let mut put = |at: u64, bytes: &[u8]| {
        let at = usize::try_from(at).unwrap();
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let mut segments = vec![(1, 4, 0..0x1000), (1, 5, CODE), (2, 6, DYNAMIC..DYNAMIC + 0x100)];
    if is_program {
        put(INTERPRETER, b"/lib/none\0");
        segments.push((3, 4, INTERPRETER..INTERPRETER + 10));
    }
    put(0, b"\x7fELF\x02\x01\x01");
    put(32, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &u16::try_from(segments.len()).unwrap().to_le_bytes());
    for (number, (kind, flags, place)) in (0..).zip(segments) {
        let at = 64 + 56 * number;
        put(at, &u32::to_le_bytes(kind));
        put(at + 4, &u32::to_le_bytes(flags));
        put(at + 8, &place.start.to_le_bytes());
        put(at + 16, &place.start.to_le_bytes());
        put(at + 32, &(place.end - place.start).to_le_bytes());
    }
    let mut names = vec![0];
    let mut entries = vec![(5, NAMES), (10, 0x100)];
    for library in libraries {
        entries.push((1, names.len() as u64));
        names.extend([library.as_bytes(), b"\0"].concat());
    }
    put(NAMES, &names);
    for (number, (tag, value)) in (0..).zip(entries) {
        put(DYNAMIC + 16 * number, &u64::to_le_bytes(tag));
        put(DYNAMIC + 16 * number + 8, &value.to_le_bytes());
    }
    file
}

#[test]
fn code_comes_of_programs_and_of_libraries_that_they_name() {
    let world = World::of(&[
        ("bin/prog", elf(true, &["libnear.so"])),
        ("lib/libnear.so", elf(false, &["libfar.so"])),
        ("lib/libfar.so", elf(false, &[])),
        ("gap", text(1 << 20)),
        ("bin/last", elf(true, &["liblast.so"])),
        ("lib/liblast.so", text(1000)),
    ]);
    let (_store, chain) = world.cold();
    chain.start(Prefetch::Trace);
    let expect = |program: &str| {
        chain.expect_programs(&[program.to_owned()], &["PATH=/bin".to_owned()]);
    };
    expect("prog");
    for path in ["bin/prog", "lib/libnear.so"] {
        wait_for("the code", || is_part_here(&chain, path, CODE));
    }
    let end = (3 << 20) - 1000..3 << 20;
    wait_for("the last library", || is_part_here(&chain, "lib/libfar.so", end.clone()));
    // One after the other: when this is done, all is known of the library before it.
    expect("last");
    wait_for("another program", || is_part_here(&chain, "bin/last", CODE));
    assert!(!is_part_here(&chain, "lib/libfar.so", CODE), "the code of a library's library came");
}
