//! Measures the index pass of blobs: `bench_index BLOB...`, built with `--release`.
//!
//! For each blob, the median of a few rounds, each round measuring one after the other:
//! - `bare`: inflating the file with zlib-rs and nothing else (gzip only), the faster of two output
//!   buffer sizes;
//! - `scan`: one pass that gives both digests, access points, windows and span digests;
//! - `ratio`: the rate of the scan as a part of the bare one of the same round, because the processor
//!   is not equally fast for long; the median of the rounds, and the extremes;
//! - `cpu`: processor time of the bare inflater, and of the two threads of the scan. On a machine
//!   that does other things at the same time, the longer of them against the bare one tells more
//!   than `ratio`;
//! - `index`: span table and windows as a part of the uncompressed size;
//! - `cold`: decoding and checking single spans, mean and longest.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stratafs::compress::{BlobSpans, Codec, SPAN_SIZE, Scan, ScanOptions, SpanSource, scan, sniff};
use stratafs::digest::Algorithm;
use stratafs::io::{FileReader, ReadAt};
use stratafs::sys::inflate::{At, Inflater, Stop, Wrapper};

type Error = Box<dyn std::error::Error>;

const ROUNDS: usize = 21;
const READ_SIZE: usize = 64 << 10;
const OUTPUT_SIZES: [usize; 2] = [256 << 10, 1 << 20];

fn main() -> Result<(), Error> {
    for path in std::env::args_os().skip(1) {
        measure(Path::new(&path))?;
    }
    Ok(())
}

fn measure(path: &Path) -> Result<(), Error> {
    let blob = FileReader::open(path)?;
    let mut start = [0; 4];
    let n = blob.read_at(&mut start, 0)?;
    let gzip = sniff(&start[..n]) == Codec::Gzip;
    let (mut bare, mut full, mut ratios, mut index) = (Vec::new(), Vec::new(), Vec::new(), None);
    let (mut bare_cpu, mut decode_cpu, mut hash_cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if gzip {
            let cpu = thread_cpu()?;
            let first = time(|| inflate(&blob, OUTPUT_SIZES[0]))?.0;
            let between = thread_cpu()?;
            let second = time(|| inflate(&blob, OUTPUT_SIZES[1]))?.0;
            bare.push(first.min(second));
            bare_cpu.push((between - cpu).min(thread_cpu()? - between));
        }
        let (all, own) = (process_cpu()?, thread_cpu()?);
        let (took, scanned) = time(|| index_pass(&blob))?;
        let (all, own) = (process_cpu()? - all, thread_cpu()? - own);
        decode_cpu.push(all.saturating_sub(own));
        hash_cpu.push(own);
        full.push(took);
        ratios.extend(bare.last().map(|bare| bare.as_secs_f64() / took.as_secs_f64()));
        index = Some(scanned);
    }
    let Some(index) = index else { return Ok(()) };
    let table = &index.table;
    println!("{}: {:?}, {} -> {} bytes", path.display(), table.codec, table.blob_size, table.size);
    let full = median(&mut full);
    let rate = |t: Duration| table.size as f64 / 1e6 / t.as_secs_f64();
    println!("  scan   {:7.1} MB/s", rate(full));
    if gzip {
        let bare = median(&mut bare);
        println!("  bare   {:7.1} MB/s", rate(bare));
        ratios.sort_unstable_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        println!("  ratio  {:7.3} ({least:.3} to {most:.3})", ratios[ratios.len() / 2]);
    }
    if gzip {
        print!("  cpu    {:7.3} s bare, ", median(&mut bare_cpu).as_secs_f64());
    } else {
        print!("  cpu    ");
    }
    let (decode, hash) = (median(&mut decode_cpu), median(&mut hash_cpu));
    println!("{:.3} s decoding, {:.3} s hashing", decode.as_secs_f64(), hash.as_secs_f64());
    let encoded = table.encode().len() + index.windows.len();
    println!("  index  {:7.3} %", encoded as f64 * 100.0 / table.size as f64);
    println!(
        "  spans  {:7}, {} points, longest run {}",
        table.spans.len(),
        table.points.len(),
        table.longest_run()
    );
    cold(index, blob)
}

/// Reads every 16th span alone.
fn cold(index: Scan, blob: FileReader) -> Result<(), Error> {
    let spans = BlobSpans::new(index.table, Arc::new(index.windows), blob);
    let (mut sum, mut worst, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    for span in (0..u32::try_from(spans.table().spans.len())?).step_by(16) {
        let (took, ()) = time(|| Ok(spans.read_span(span, &mut |_, _| ())?))?;
        sum += took;
        worst = worst.max(took);
        count += 1;
    }
    if count > 0 {
        println!("  cold   {:7.3} ms mean, {:.3} ms longest", millis(sum / count), millis(worst));
    }
    Ok(())
}

fn index_pass(blob: &FileReader) -> Result<Scan, Error> {
    let options = ScanOptions {
        span_size: SPAN_SIZE,
        limit: u64::MAX,
        blob_algorithm: Algorithm::Sha256,
        diff_algorithm: Algorithm::Sha256,
    };
    Ok(scan::<Infallible>(blob, &options, &mut |_| (), &mut |_| Ok(()))?)
}

/// Inflates all members of `blob` and does nothing else.
fn inflate(blob: &FileReader, output_size: usize) -> Result<(), Error> {
    let mut inflater = Inflater::new(Wrapper::Gzip)?;
    let (mut input, mut output) = (vec![0; READ_SIZE], vec![0; output_size]);
    let (mut offset, mut have, mut taken) = (0, 0, 0);
    loop {
        if taken == have {
            have = blob.read_at(&mut input, offset)?;
            taken = 0;
            offset += have as u64;
        }
        let step = inflater.inflate(&input[taken..have], &mut output, Stop::Never)?;
        taken += step.consumed;
        if step.at == At::End {
            if taken == have && offset == blob.size() {
                return Ok(());
            }
            inflater.reset(Wrapper::Gzip)?;
        } else if have == 0 && step.produced == 0 {
            return Err("the blob is cut off".into());
        }
    }
}

fn time<T>(f: impl FnOnce() -> Result<T, Error>) -> Result<(Duration, T), Error> {
    let start = Instant::now();
    let value = f()?;
    Ok((start.elapsed(), value))
}

/// Processor time of this thread (proc_pid_schedstat(5): its first number, in nanoseconds).
fn thread_cpu() -> Result<Duration, Error> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_ascii_whitespace().next().ok_or("schedstat is empty")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// Processor time of all threads, those that have ended among them (proc_pid_stat(5): utime and
/// stime, in hundredths of a second).
fn process_cpu() -> Result<Duration, Error> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = text.rsplit_once(')').ok_or("stat has no name")?;
    let ticks = after_name.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(t: Duration) -> f64 {
    t.as_secs_f64() * 1e3
}
