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
    let here = (release_code as fn() -> io::Result<usize>) as usize;
    let mut released = 0;
    for mapping in mappings::image(&smaps, &program, here) {
        if !mapping.can_be_read_again() {
            continue;
        }
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
    // SAFETY: The range is a part of the image that this very function runs from: it is mapped for as long as the process
    // lives, so it cannot have become anything else since it was read of. `can_be_read_again` holds: nobody may write to it,
    // and no page of it is the process's own, in memory or swapped out. What remains are pages of the file, which the kernel
    // itself drops and reads again whenever it wants memory. So whoever touches one next reads what would be there anyway.
    unsafe { madvise(start, mapping.length, Advice::LinuxDontNeed) }.map_err(io::Error::from)
}
