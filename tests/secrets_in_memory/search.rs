//! Searches the memory of its own process for secrets without leaving copies. Needles are kept with
//! every bit inverted, and memory is inverted before it is compared.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Bytes of a needle that make a hit. The allocator overwrites parts of a freed block, and a
/// clamped scalar differs in its first and last byte, so a search for whole needles would miss
/// many.
const FRAGMENT: usize = 8;

/// The place of a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Heap = 0,
    /// Variables of the program and its libraries.
    Static = 1,
    Stack = 2,
}

/// Names of the places, for reports.
pub const PLACES: [&str; 3] = ["heap", "static", "stack"];

struct Region {
    start: usize,
    end: usize,
    place: Place,
}

/// Everything that a search needs is allocated beforehand, since an allocation during the search
/// could overwrite a secret in freed memory.
pub struct Search {
    names: Vec<String>,
    /// Inverted fragments, sorted, with the indices of their needles.
    fragments: Vec<(u64, usize)>,
    /// True for the first two bytes of each fragment.
    likely: Vec<bool>,
    memory: File,
    maps: File,
    text: Vec<u8>,
    regions: Vec<Region>,
    buffer: Vec<u8>,
    hits: Vec<[usize; PLACES.len()]>,
}

impl Search {
    /// `needles` are names and inverted bytes, at least [`FRAGMENT`] of them.
    pub fn new(needles: &[(String, Vec<u8>)]) -> Self {
        let mut fragments: Vec<(u64, usize)> = Vec::new();
        for (number, (name, inverted)) in needles.iter().enumerate() {
            assert!(inverted.len() >= FRAGMENT, "{name} is too short");
            let chunks = inverted.chunks_exact(FRAGMENT);
            fragments.extend(chunks.map(|chunk| (word(chunk), number)));
        }
        fragments.sort_unstable();
        let mut likely = vec![false; 1 << 16];
        for (value, _) in &fragments {
            likely[(value & 0xFFFF) as usize] = true;
        }
        Self {
            names: needles.iter().map(|(name, _)| name.clone()).collect(),
            fragments,
            likely,
            memory: File::open("/proc/self/mem").unwrap(),
            maps: File::open("/proc/self/maps").unwrap(),
            text: Vec::with_capacity(1 << 20),
            regions: Vec::with_capacity(10_000),
            buffer: vec![0; 1 << 18],
            hits: vec![[0; PLACES.len()]; needles.len()],
        }
    }

    /// Searches and prints the hits under the name of `phase`.
    pub fn report(&mut self, phase: &str) {
        let bytes = self.run();
        println!("searched\t{phase}\t{bytes}");
        for (name, hits) in self.names.iter().zip(&self.hits) {
            for (place, count) in PLACES.iter().zip(hits) {
                if *count > 0 {
                    println!("found\t{phase}\t{name}\t{place}\t{count}");
                }
            }
        }
    }

    fn run(&mut self) -> usize {
        self.list_regions();
        self.hits.fill([0; PLACES.len()]);
        let mut bytes = 0;
        for at in 0..self.regions.len() {
            let Region { start, end, place } = self.regions[at];
            let mut from = start;
            while from + FRAGMENT <= end {
                let len = (end - from).min(self.buffer.len());
                // Regions that cannot be read hold no data of this program.
                let Ok(read) = self.memory.read_at(&mut self.buffer[..len], from as u64) else {
                    break;
                };
                if read < FRAGMENT {
                    break;
                }
                self.compare(read, place);
                bytes += read;
                from += read - (FRAGMENT - 1);
            }
        }
        self.buffer.fill(0);
        bytes
    }

    fn compare(&mut self, len: usize, place: Place) {
        for window in self.buffer[..len].windows(FRAGMENT) {
            let inverted = !word(window);
            if !self.likely[(inverted & 0xFFFF) as usize] {
                continue;
            }
            let first = self
                .fragments
                .partition_point(|&(value, _)| value < inverted);
            for &(value, number) in &self.fragments[first..] {
                if value != inverted {
                    break;
                }
                self.hits[number][place as usize] += 1;
            }
        }
    }

    /// Lists all writable memory except the search's own buffer.
    fn list_regions(&mut self) {
        self.text.clear();
        self.maps.seek(SeekFrom::Start(0)).unwrap();
        self.maps.read_to_end(&mut self.text).unwrap();
        let own = self.buffer.as_ptr().addr();
        let own = own..own + self.buffer.len();
        // The kernel may merge the stack's region with its neighbours. The thread began closely
        // above this variable, and its deepest call so far was far less than a thread's two
        // megabytes below.
        let here = std::ptr::from_ref(&own).addr();
        let stack = here.saturating_sub(2 << 20)..here + (64 << 10);
        self.regions.clear();
        for line in self.text.split(|&byte| byte == b'\n') {
            let line = std::str::from_utf8(line).unwrap();
            let mut fields = line.split_ascii_whitespace();
            let (Some(range), Some(permissions)) = (fields.next(), fields.next()) else {
                continue;
            };
            if !permissions.starts_with("rw") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let parse = |text| usize::from_str_radix(text, 16).unwrap();
            let place = match fields.nth(3) {
                Some("[stack]") => Place::Stack,
                Some(path) if path.starts_with('/') => Place::Static,
                _ => Place::Heap,
            };
            let mut region = Region {
                start: parse(start),
                end: parse(end),
                place,
            };
            let mut cuts = [own.start, own.end, stack.start, stack.end];
            cuts.sort_unstable();
            for cut in cuts.into_iter().chain([region.end]) {
                if cut <= region.start || cut > region.end {
                    continue;
                }
                let part = region.start..cut;
                region.start = cut;
                if own.contains(&part.start) {
                    continue;
                }
                let place = if stack.contains(&part.start) {
                    Place::Stack
                } else {
                    region.place
                };
                self.regions.push(Region {
                    start: part.start,
                    end: part.end,
                    place,
                });
            }
        }
    }
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().unwrap())
}
