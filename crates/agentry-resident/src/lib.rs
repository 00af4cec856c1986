//! Gives back the pages of program code that only the start has needed.
//!
//! Around every page of code that is touched, the kernel maps what else of its neighbourhood is in the page cache. A start
//! runs a little of everything once, so it leaves half of a large binary mapped for good, nearly all of it never to be run
//! again. Dropped, what is needed comes back from the page cache with the next touch: some hundred faults of a microsecond.

use std::io;

#[cfg(target_os = "linux")]
mod mappings;

/// Drops what is mapped of the program's file. Says how many bytes were resident of it.
///
/// # Errors
/// When the kernel does not tell what is mapped, or keeps it.
#[cfg(target_os = "linux")]
pub fn release_code() -> io::Result<usize> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    let mut released = 0;
    for mapping in mappings::of(&smaps).filter(|mapping| mapping.can_be_read_again(&program)) {
        drop_pages(&mapping)?;
        released += mapping.resident;
    }
    Ok(released)
}

/// Elsewhere nothing is known of what is mapped, and nothing is dropped.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn release_code() -> io::Result<usize> {
    Ok(0)
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the kernel has no other door to this, and no library a safe one")]
fn drop_pages(mapping: &mappings::Mapping) -> io::Result<()> {
    use rustix::mm::{Advice, madvise};

    let start = std::ptr::with_exposed_provenance_mut(mapping.start);
    // SAFETY: `can_be_read_again` holds. The range is a part of the program's own image, so nobody has unmapped it since it
    // was read of. Nobody may write to it, and none of its pages differs from the file, which the kernel lets nobody write to
    // while it runs. So whoever touches it next reads the same bytes as before.
    unsafe { madvise(start, mapping.length, Advice::LinuxDontNeed) }.map_err(io::Error::from)
}
