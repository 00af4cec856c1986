//! What the kernel says of a process's memory (`/proc/PID/smaps`).

use std::path::Path;

/// A range of addresses with one purpose.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mapping<'a> {
    pub(crate) start: usize,
    pub(crate) length: usize,
    /// Bytes in memory.
    pub(crate) resident: usize,
    /// Of these, bytes that are no file's: they were changed.
    anonymous: usize,
    /// Locked into memory: the kernel refuses to drop it.
    locked: usize,
    private: bool,
    writable: bool,
    file: &'a str,
}

impl<'a> Mapping<'a> {
    /// Whether it is a part of `program`, and all of it, dropped, would be there again unchanged.
    pub(crate) fn can_be_read_again(&self, program: &Path) -> bool {
        let unchanged = self.private && !self.writable && self.anonymous == 0;
        Path::new(self.file) == program && unchanged && self.locked == 0 && self.resident > 0
    }

    /// `55fb0c4b2000-55fb0e447000 r-xp 009c3000 00:1b 97499    /usr/bin/agentry`
    fn begin(line: &'a str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) =
            (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let (rights, rest) = rest.split_once(' ')?;
        // Blanks stand before it, and may stand in it.
        let file = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
        Some(Self {
            start,
            length: end.checked_sub(start)?,
            private: rights.ends_with('p'),
            writable: rights.contains('w'),
            file,
            ..Self::default()
        })
    }

    /// `Rss:                1252 kB`
    fn note(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let Some(kilobytes) = value.trim().strip_suffix(" kB") else { return };
        let place = match name {
            "Rss" => &mut self.resident,
            "Anonymous" => &mut self.anonymous,
            "Locked" => &mut self.locked,
            _ => return,
        };
        // What cannot be read is not taken for nothing.
        *place = kilobytes.trim().parse::<usize>().map_or(usize::MAX, |number| number * 1024);
    }
}

/// All that `smaps` tells of.
pub(crate) fn of(smaps: &str) -> impl Iterator<Item = Mapping<'_>> {
    let mut lines = smaps.lines().peekable();
    std::iter::from_fn(move || {
        let mut mapping = lines.by_ref().find_map(Mapping::begin)?;
        while let Some(line) = lines.next_if(|line| Mapping::begin(line).is_none()) {
            mapping.note(line);
        }
        Some(mapping)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str =
        "55fb0c4b2000-55fb0c4b4000 r-xp 009c3000 00:1b 97499    /opt/an agent/agentry";

    /// Whether a mapping with this head and these figures may be dropped.
    fn check(head: &str, figures: &str, expected: bool) {
        let smaps =
            format!("{head}\nSize: 8 kB\n{figures}VmFlags: rd ex mr mw me sd\n{CODE}\nRss: 4 kB\n");
        let found: Vec<Mapping<'_>> = of(&smaps).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        let program = Path::new("/opt/an agent/agentry");
        let dropped = found.first().map(|first| first.can_be_read_again(program));
        assert_eq!(dropped, Some(expected), "{found:?}");
        assert_eq!(found.last().map(|last| (last.length, last.resident)), Some((8192, 4096)));
    }

    #[test]
    fn only_what_a_file_still_says_is_dropped() {
        let clean = "Rss: 8 kB\nAnonymous: 0 kB\nLocked: 0 kB\n";
        check(CODE, clean, true);
        check("7f00-8f00 r--p 00000000 00:1b 97499 /opt/an agent/agentry", clean, true);
        check("7f00-8f00 r-xp 00000000 00:1b 97499 /lib/libc.so.6", clean, false);
        // Relocated by the loader, then protected.
        check(CODE, "Rss: 8 kB\nAnonymous: 4 kB\nLocked: 0 kB\n", false);
        check(CODE, "Rss: 8 kB\nAnonymous: 0 kB\nLocked: 8 kB\n", false);
        check(CODE, "Rss: 8 kB\nAnonymous: what kB\n", false);
        check(CODE, "Rss: 0 kB\nAnonymous: 0 kB\n", false);
        check("7f00-8f00 rw-p 00000000 00:1b 97499 /opt/an agent/agentry", clean, false);
        check("7f00-8f00 r--s 00000000 00:1b 97499 /opt/an agent/agentry", clean, false);
        check("7f00-8f00 r-xp 00000000 00:00 0 [vdso]", clean, false);
        check("7f00-8f00 r--p 00000000 00:00 0", clean, false);
    }
}
