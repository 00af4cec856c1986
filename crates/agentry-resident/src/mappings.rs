//! What the kernel says of a process's memory (`/proc/PID/smaps`).

use std::path::Path;

/// A range of addresses with one purpose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping<'a> {
    pub(crate) start: usize,
    pub(crate) length: usize,
    /// From the beginning of the file.
    offset: u64,
    /// Bytes in memory.
    pub(crate) resident: usize,
    /// Of these, bytes that are no file's: they were changed.
    anonymous: usize,
    /// Bytes that were changed, too, and are elsewhere: they are neither resident nor anonymous.
    swapped: usize,
    /// Locked into memory: the kernel refuses to drop it.
    locked: usize,
    private: bool,
    writable: bool,
    file: &'a str,
}

impl<'a> Mapping<'a> {
    /// Whether all of it, dropped, would be there again unchanged.
    pub(crate) fn can_be_read_again(&self) -> bool {
        let unchanged = self.anonymous == 0 && self.swapped == 0;
        self.private && !self.writable && unchanged && self.locked == 0 && self.resident > 0
    }

    /// Whether the same loading of the same file made it, right behind `before`.
    fn follows(&self, before: &Self) -> bool {
        let is_next = before.start.checked_add(before.length) == Some(self.start);
        is_next && self.file == before.file && self.offset > before.offset
    }

    /// `55fb0c4b2000-55fb0e447000 r-xp 009c3000 00:1b 97499    /usr/bin/agentry`
    fn begin(line: &'a str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) =
            (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let (rights, rest) = rest.split_once(' ')?;
        let (offset, _) = rest.split_once(' ')?;
        // Blanks stand before it, and may stand in it.
        let file = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
        Some(Self {
            start,
            length: end.checked_sub(start)?,
            offset: u64::from_str_radix(offset, 16).ok()?,
            // What is not told is not taken for nothing.
            resident: 0,
            anonymous: usize::MAX,
            swapped: usize::MAX,
            locked: usize::MAX,
            private: rights.ends_with('p'),
            writable: rights.contains('w'),
            file,
        })
    }

    /// `Rss:                1252 kB`
    fn note(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let Some(kilobytes) = value.trim().strip_suffix(" kB") else { return };
        let place = match name {
            "Rss" => &mut self.resident,
            "Anonymous" => &mut self.anonymous,
            "Swap" => &mut self.swapped,
            "Locked" => &mut self.locked,
            _ => return,
        };
        // Nor is what cannot be read.
        let bytes =
            kilobytes.trim().parse().ok().and_then(|number: usize| number.checked_mul(1024));
        *place = bytes.unwrap_or(usize::MAX);
    }
}

/// All that `smaps` tells of.
fn of(smaps: &str) -> impl Iterator<Item = Mapping<'_>> {
    let mut lines = smaps.lines().peekable();
    std::iter::from_fn(move || {
        let mut mapping = lines.by_ref().find_map(Mapping::begin)?;
        while let Some(line) = lines.next_if(|line| Mapping::begin(line).is_none()) {
            mapping.note(line);
        }
        Some(mapping)
    })
}

/// Those that `program` runs from: the ones that lie in a row with the code at `here`. Others of the same file may be nobody's a
/// moment later, such as those in which a trace of the stack looks for names.
pub(crate) fn image<'a>(smaps: &'a str, program: &Path, here: usize) -> Vec<Mapping<'a>> {
    let mut row: Vec<Mapping<'a>> = Vec::new();
    let has = |row: &[Mapping<'_>]| {
        row.iter()
            .any(|mapping| here.checked_sub(mapping.start).is_some_and(|at| at < mapping.length))
    };
    for mapping in of(smaps) {
        if row.last().is_some_and(|last| mapping.follows(last)) {
            row.push(mapping);
            continue;
        }
        if has(&row) {
            break;
        }
        row.clear();
        if Path::new(mapping.file) == program {
            row.push(mapping);
        }
    }
    if has(&row) { row } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str =
        "55fb0c4b2000-55fb0c4b4000 r-xp 009c3000 00:1b 97499    /opt/an agent/agentry";
    const CLEAN: &str = "Rss: 8 kB\nAnonymous: 0 kB\nSwap: 0 kB\nLocked: 0 kB\n";

    /// Whether a mapping with this head and these figures may be dropped.
    fn check(head: &str, figures: &str, expected: bool) {
        let smaps =
            format!("{head}\nSize: 8 kB\n{figures}VmFlags: rd ex mr mw me sd\n{CODE}\nRss: 4 kB\n");
        let found: Vec<Mapping<'_>> = of(&smaps).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found.first().map(Mapping::can_be_read_again), Some(expected), "{found:?}");
        assert_eq!(found.last().map(|last| (last.length, last.resident)), Some((8192, 4096)));
    }

    #[test]
    fn only_what_a_file_still_says_is_dropped() {
        check(CODE, CLEAN, true);
        check("7f00-8f00 r--p 00000000 00:1b 97499 /opt/an agent/agentry", CLEAN, true);
        // Relocated by the loader, then protected.
        check(CODE, &CLEAN.replace("Anonymous: 0", "Anonymous: 4"), false);
        // The same, and all of it was swapped out since.
        check(CODE, &CLEAN.replace("Swap: 0", "Swap: 4"), false);
        check(CODE, &CLEAN.replace("Locked: 0", "Locked: 8"), false);
        check(CODE, &CLEAN.replace("Anonymous: 0", "Anonymous: what"), false);
        check(CODE, &CLEAN.replace("Anonymous: 0", "Anonymous: 99999999999999999"), false);
        for untold in ["Anonymous: 0 kB\n", "Swap: 0 kB\n", "Locked: 0 kB\n", "Rss: 8 kB\n"] {
            check(CODE, &CLEAN.replace(untold, ""), false);
        }
        check(CODE, &CLEAN.replace("Rss: 8", "Rss: 0"), false);
        check("7f00-8f00 rw-p 00000000 00:1b 97499 /opt/an agent/agentry", CLEAN, false);
        check("7f00-8f00 r--s 00000000 00:1b 97499 /opt/an agent/agentry", CLEAN, false);
    }

    #[test]
    fn only_what_runs_is_dropped_not_whatever_is_mapped_of_the_file() {
        let check = |here: usize, expected: &[usize]| {
            let smaps = "\
                1000-3000 r--p 00000000 00:1b 97499 /opt/agentry\n\
                3000-4000 r--p 00000000 00:1b 97499 /opt/agentry\n\
                4000-6000 r-xp 00001000 00:1b 97499 /opt/agentry\n\
                6000-7000 rw-p 00003000 00:1b 97499 /opt/agentry\n\
                7000-8000 rw-p 00000000 00:00 0 [heap]\n\
                8000-9000 r-xp 00000000 00:1b 97500 /lib/libc.so.6\n\
                9000-b000 r--p 00000000 00:1b 97499 /opt/agentry\n";
            let found = image(smaps, Path::new("/opt/agentry"), here);
            let starts: Vec<usize> = found.iter().map(|mapping| mapping.start).collect();
            assert_eq!(starts, expected, "{here:x}");
        };
        check(0x4000, &[0x3000, 0x4000, 0x6000]);
        check(0x5fff, &[0x3000, 0x4000, 0x6000]);
        check(0x7000, &[]);
        check(0x8000, &[]);
        check(0xfff, &[]);
        check(0xb000, &[]);
    }

    #[test]
    fn this_very_program_is_found() {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let program = std::fs::read_link("/proc/self/exe").unwrap();
        let found = image(&smaps, &program, (crate::release_code as fn() -> _) as usize);
        assert!(found.iter().any(Mapping::can_be_read_again), "{found:?}");
    }
}
