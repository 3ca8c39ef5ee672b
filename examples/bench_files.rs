//! Does one thing with many files, and prints how long it took: `bench_files ROOT WHAT < PATHS`.
//!
//! The root is entered first, as the process of a container enters its own.
//!
//! Paths are relative, one a line, taken in a fixed random order. What is printed: operations,
//! bytes, seconds, and seconds of this process's processor time.
#![allow(clippy::print_stdout, reason = "this is its output")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek};
use std::os::unix::fs::{FileExt, chroot};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What was done.
#[derive(Default)]
struct Done {
    operations: u64,
    bytes: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let entered = args.next().ok_or("bench_files ROOT WHAT < PATHS")?;
    let what = args.next().ok_or("bench_files ROOT WHAT < PATHS")?;
    let root = Path::new("/");
    let paths: io::Result<Vec<PathBuf>> =
        io::stdin().lock().lines().map(|line| Ok(root.join(line?))).collect();
    let paths = shuffled(paths?);
    let mut schedstat = File::open("/proc/self/schedstat")?;
    chroot(&entered)?;
    std::env::set_current_dir(root)?;
    // Looking for the largest files is no part of reading them.
    let files = if matches!(what.as_str(), "read-4k" | "sequential") {
        largest(&paths, 20)?
    } else {
        Vec::new()
    };
    let cpu = processor_seconds(&mut schedstat)?;
    let start = Instant::now();
    let mut done = Done::default();
    match what.as_str() {
        "stat" => stat(&paths, &mut done)?,
        "walk" => walk(root, false, &mut done)?,
        "walk+stat" => walk(root, true, &mut done)?,
        "open+close" => open(&paths, &mut done)?,
        "open+read" => read_whole(&paths, &mut done)?,
        "read-4k" => read_random(&files, &mut done)?,
        "sequential" => read_sequential(files, &mut done)?,
        other => return Err(format!("{other}: not known").into()),
    }
    let took = start.elapsed().as_secs_f64();
    let cpu = processor_seconds(&mut schedstat)? - cpu;
    println!("{} {} {took:.6} {cpu:.6}", done.operations, done.bytes);
    Ok(())
}

/// The same order in every run.
fn shuffled(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..paths.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (last as u64 + 1)).unwrap_or(0);
        paths.swap(last, other);
    }
    paths
}

/// User and system time of this process, by `proc_pid_schedstat`: nanoseconds on a processor.
fn processor_seconds(schedstat: &mut File) -> Result<f64, Box<dyn Error>> {
    let mut text = String::new();
    schedstat.rewind()?;
    schedstat.read_to_string(&mut text)?;
    let nanos: u64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(std::time::Duration::from_nanos(nanos).as_secs_f64())
}

fn stat(paths: &[PathBuf], done: &mut Done) -> io::Result<()> {
    for path in paths {
        path.symlink_metadata()?;
        done.operations += 1;
    }
    Ok(())
}

fn walk(dir: &Path, with_stat: bool, done: &mut Done) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        done.operations += 1;
        if with_stat {
            entry.metadata()?;
        }
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), with_stat, done)?;
        }
    }
    Ok(())
}

fn open(paths: &[PathBuf], done: &mut Done) -> io::Result<()> {
    for path in paths {
        File::open(path)?;
        done.operations += 1;
    }
    Ok(())
}

fn read_whole(paths: &[PathBuf], done: &mut Done) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    for path in paths {
        let mut file = File::open(path)?;
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            done.bytes += n as u64;
        }
        done.operations += 1;
    }
    Ok(())
}

/// Reads 4 KiB at random places of the files.
fn read_random(files: &[(File, u64)], done: &mut Done) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..200_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let (file, size) = &files[usize::try_from(state % 1009).unwrap_or(0) % files.len()];
        let blocks = (size / 4096).max(1);
        done.bytes += file.read_at(&mut buffer, (state >> 16) % blocks * 4096)? as u64;
        done.operations += 1;
    }
    Ok(())
}

fn read_sequential(files: Vec<(File, u64)>, done: &mut Done) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    for (mut file, _) in files {
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            done.bytes += n as u64;
            done.operations += 1;
        }
    }
    Ok(())
}

/// The largest of the files, opened, with their sizes.
fn largest(paths: &[PathBuf], count: usize) -> io::Result<Vec<(File, u64)>> {
    let mut sizes = Vec::new();
    for path in paths {
        sizes.push((path.symlink_metadata()?.len(), path));
    }
    sizes.sort_by(|a, b| b.cmp(a));
    sizes.into_iter().take(count).map(|(size, path)| Ok((File::open(path)?, size))).collect()
}
