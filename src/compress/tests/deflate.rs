//! A deflate encoder that does as it is told: blocks of any size, matches of any length and
//! distance (RFC 1951). Real encoders avoid what is most worth testing: distances near 32,768,
//! matches that run over the start of a block, blocks at any bit, blocks without output.

use proptest::prelude::*;

use super::*;

const LENGTH_BASE: [usize; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
const DISTANCE_BASE: [usize; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];

/// A deflate stream in the making, and what it decodes to.
#[derive(Debug, Default)]
pub(super) struct Deflate {
    packed: Vec<u8>,
    used_bits: u32,
    pub(super) data: Vec<u8>,
}

impl Deflate {
    fn bit(&mut self, bit: usize) {
        if self.used_bits.is_multiple_of(8) {
            self.packed.push(0);
        }
        *self.packed.last_mut().unwrap() |= u8::try_from(bit & 1).unwrap() << (self.used_bits % 8);
        self.used_bits += 1;
    }

    /// Numbers go lowest bit first.
    fn number(&mut self, value: usize, bits: usize) {
        (0..bits).for_each(|i| self.bit(value >> i));
    }

    /// Huffman codes go highest bit first.
    fn code(&mut self, value: usize, bits: usize) {
        (0..bits).rev().for_each(|i| self.bit(value >> i));
    }

    /// A symbol of the fixed code (section 3.2.6).
    fn symbol(&mut self, symbol: usize) {
        match symbol {
            0..=143 => self.code(0x30 + symbol, 8),
            144..=255 => self.code(0x190 + symbol - 144, 9),
            256..=279 => self.code(symbol - 256, 7),
            _ => self.code(0xc0 + symbol - 280, 8),
        }
    }

    pub(super) fn start_block(&mut self, last: bool) {
        self.number(usize::from(last), 1);
        self.number(1, 2);
    }

    pub(super) fn end_block(&mut self) {
        self.symbol(256);
    }

    pub(super) fn literal(&mut self, byte: u8) {
        self.symbol(usize::from(byte));
        self.data.push(byte);
    }

    pub(super) fn copy(&mut self, length: usize, distance: usize) {
        assert!((3..=258).contains(&length) && distance <= self.data.len().min(32_768));
        let code = LENGTH_BASE.partition_point(|base| *base <= length) - 1;
        self.symbol(257 + code);
        let extra = if (8..28).contains(&code) { code / 4 - 1 } else { 0 };
        self.number(length - LENGTH_BASE[code], extra);
        let code = DISTANCE_BASE.partition_point(|base| *base <= distance) - 1;
        self.code(code, 5);
        self.number(distance - DISTANCE_BASE[code], (code / 2).saturating_sub(1));
        for _ in 0..length {
            self.data.push(self.data[self.data.len() - distance]);
        }
    }

    pub(super) fn stored_block(&mut self, bytes: &[u8], last: bool) {
        self.number(usize::from(last), 1);
        self.number(0, 2);
        self.used_bits = self.used_bits.next_multiple_of(8);
        let len = u16::try_from(bytes.len()).unwrap();
        self.packed.extend(len.to_le_bytes());
        self.packed.extend((!len).to_le_bytes());
        self.packed.extend(bytes);
        self.used_bits = u32::try_from(self.packed.len() * 8).unwrap();
        self.data.extend(bytes);
    }

    /// The stream as a gzip member.
    pub(super) fn member(&self) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(&self.data);
        let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        out.extend(&self.packed);
        out.extend(crc.sum().to_le_bytes());
        out.extend(crc.amount().to_le_bytes());
        out
    }

    /// A random stream of `blocks` blocks.
    fn random(seed: u64, blocks: usize) -> Self {
        let mut random = Random::new(seed);
        let mut out = Self::default();
        for block in 0..blocks {
            let last = block + 1 == blocks;
            if random.below(8) == 0 {
                let bytes: Vec<u8> = (0..random.below(3000)).map(|_| random.byte()).collect();
                out.stored_block(&bytes, last);
                continue;
            }
            out.start_block(last);
            let most = 1 << random.below(11);
            let tokens = random.below(most);
            for _ in 0..tokens {
                out.random_token(&mut random);
            }
            out.end_block();
        }
        out
    }

    fn random_token(&mut self, random: &mut Random) {
        let far = self.data.len().min(32_768);
        let longest = [8, 8, 8, 256][random.below(4)];
        let length = 3 + random.below(longest);
        match random.below(8) {
            // Few different bytes, so that places are hard to tell apart by what they hold.
            0..4 => self.literal(b"aab\xff"[random.below(4)]),
            _ if far == 0 => self.literal(random.byte()),
            4 => self.copy(length, far),
            5 => self.copy(length, far - random.below(far.min(300))),
            6 => self.copy(length, 1 + random.below(far.min(300))),
            _ => self.copy(length, 1 + random.below(far)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_deflate_stream_reads_the_same_from_every_point(seed: u64, blocks in 1..120_usize) {
        let stream = Deflate::random(seed, blocks);
        check_blob(&stream.member(), &stream.data, SPAN_SIZE_MIN);
    }
}

#[test]
fn matches_at_the_largest_distance_reach_the_window() {
    let mut stream = Deflate::default();
    let mut random = Random::new(7);
    stream.start_block(false);
    (0..40_000).for_each(|_| stream.literal(random.byte()));
    stream.end_block();
    stream.start_block(true);
    (0..2_000).for_each(|_| stream.copy(20, 32_768));
    stream.end_block();
    let table = check_blob(&stream.member(), &stream.data, SPAN_SIZE_MIN).table;
    assert_eq!(table.points.len(), 2);
    assert!(table.windows_size > 32_000, "all of the window is noise that is referred to");
}

#[test]
fn a_match_over_the_start_of_a_block_needs_one_byte_of_window() {
    let mut stream = Deflate::default();
    let mut random = Random::new(8);
    stream.start_block(false);
    (0..40_000).for_each(|_| stream.literal(random.byte()));
    stream.end_block();
    stream.start_block(true);
    stream.copy(258, 1);
    stream.end_block();
    let table = check_blob(&stream.member(), &stream.data, SPAN_SIZE_MIN).table;
    assert_eq!(table.points.len(), 2);
    assert!(table.windows_size < 64);
}

#[test]
fn a_block_that_refers_to_nothing_before_it_has_no_window() {
    let mut stream = Deflate::default();
    let mut random = Random::new(9);
    for last in [false, false, true] {
        stream.start_block(last);
        (0..40_000).for_each(|_| stream.literal(random.byte()));
        stream.end_block();
    }
    let table = check_blob(&stream.member(), &stream.data, SPAN_SIZE_MIN).table;
    assert_eq!(table.points.len(), 3);
    assert!(table.windows_size == 0);
}

#[test]
fn a_stream_of_one_block_has_one_point_and_many_spans() {
    let mut stream = Deflate::default();
    stream.start_block(true);
    (0..1000).for_each(|i| stream.literal(u8::try_from(i % 251).unwrap()));
    (0..2000).for_each(|i| stream.copy(258, 1 + i % 1000));
    stream.end_block();
    let table = check_blob(&stream.member(), &stream.data, SPAN_SIZE_MIN).table;
    assert_eq!(table.points.len(), 1);
    assert!(table.spans.len() > 5);
    assert_eq!(table.longest_run(), table.size);
}

#[test]
fn blocks_without_output_between_spans_do_no_harm() {
    let mut stream = Deflate::default();
    let data = mixed(300_000, 3);
    for chunk in data.chunks(20_000) {
        stream.stored_block(chunk, false);
        for _ in 0..100 {
            stream.stored_block(&[], false);
            stream.start_block(false);
            stream.end_block();
        }
    }
    stream.stored_block(&[], true);
    check_blob(&stream.member(), &data, SPAN_SIZE_MIN);
}

#[test]
fn a_long_stretch_of_input_without_output_is_not_held_in_memory_and_loses_nothing() {
    let mut stream = Deflate::default();
    let mut random = Random::new(4);
    stream.start_block(false);
    (0..40_000).for_each(|_| stream.literal(random.byte()));
    stream.end_block();
    (0..200_000).for_each(|_| stream.stored_block(&[], false));
    stream.start_block(true);
    (0..2_000).for_each(|_| stream.copy(20, 32_000));
    stream.end_block();
    check_blob(&stream.member(), &stream.data, SPAN_SIZE_MIN);
}
