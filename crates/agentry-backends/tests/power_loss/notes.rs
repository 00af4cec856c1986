//! What was overwritten and not synced, and taking it back.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const SECTOR: u64 = 512;

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Note {
    kind: u8,
    path: PathBuf,
    at: u64,
    count: u64,
    size: u64,
    old: Vec<u8>,
}

/// Which syncs are believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Honest,
    /// It says that it has synced, and has not.
    Lying,
}

/// Takes back some of what was not synced, sector by sector; answers how many sectors.
pub(crate) fn take_back(notes: &Path, disk: Disk, random: &mut Random) -> usize {
    let bytes = std::fs::read(notes).unwrap_or_default();
    let mut pending: HashMap<PathBuf, Vec<Note>> = HashMap::new();
    let mut rest = bytes.as_slice();
    while let Some((note, left)) = parse(rest) {
        rest = left;
        match (note.kind, disk) {
            (b'S', Disk::Honest) => drop(pending.remove(&note.path)),
            (b'S', Disk::Lying) => {}
            _ => pending.entry(note.path.clone()).or_default().push(note),
        }
    }
    // Of some files nothing arrives, of others half of it.
    pending.values().map(|notes| undo(notes, disk, random)).sum()
}

fn parse(bytes: &[u8]) -> Option<(Note, &[u8])> {
    let (head, rest) = bytes.split_at_checked(33)?;
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
    let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
    let (path, rest) = rest.split_at_checked(word(1))?;
    let (old, rest) = rest.split_at_checked(word(29))?;
    let path = PathBuf::from(std::str::from_utf8(path).unwrap());
    let (at, count, size) = (long(5), long(13), long(21));
    Some((Note { kind: head[0], path, at, count, size, old: old.to_vec() }, rest))
}

fn undo(notes: &[Note], disk: Disk, random: &mut Random) -> usize {
    let all = disk == Disk::Lying || random.below(3) == 0;
    let mut taken = 0;
    for Note { kind, path, at, count, size, old } in notes.iter().rev() {
        // A journal that was removed since.
        let Ok(file) = OpenOptions::new().write(true).open(path) else { return taken };
        if *kind == b'T' {
            if all || random.below(2) == 0 {
                file.set_len(*size).unwrap();
                file.write_all_at(old, *at).unwrap();
                taken += 1;
            }
            continue;
        }
        let mut start = *at;
        while start < at + count {
            let end = ((start / SECTOR + 1) * SECTOR).min(at + count);
            if all || random.below(2) == 0 {
                let mut before = vec![0; (end - start) as usize];
                let known = old.get((start - at) as usize..).unwrap_or_default();
                let known = &known[..known.len().min(before.len())];
                before[..known.len()].copy_from_slice(known);
                file.write_all_at(&before, start).unwrap();
                taken += 1;
            }
            start = end;
        }
        if at + count > *size && (all || random.below(2) == 0) {
            file.set_len(*size).unwrap();
        }
    }
    taken
}
