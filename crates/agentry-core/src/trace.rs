//! Where a call stands in a distributed trace, as the `traceparent` header of W3C's Trace Context writes it.

use std::fmt;

/// One span of one trace. Who is asked by it becomes its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace {
    /// Never zero.
    pub id: u128,
    /// Never zero.
    pub span: u64,
    /// Nothing when the trace begins with this span.
    pub parent: Option<u64>,
    /// Whether whoever began the trace wants it written down.
    pub is_sampled: bool,
}

/// `00-` trace `-` span `-` flags.
const LENGTH: usize = 55;

impl Trace {
    /// Reads the header of a caller: the span is the caller's own. Nothing when it is not written as it must be.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let (known, rest) = header.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let version = hex(parts.next()?, 2)?;
        let id = hex(parts.next()?, 32)?;
        let span = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        // Later versions may say more; the first says nothing else.
        let is_whole = rest.is_empty() || (version > 0 && rest.starts_with('-'));
        if version == 0xff || !is_whole || parts.next().is_some() || id == 0 || span == 0 {
            return None;
        }
        let span = u64::try_from(span).ok()?;
        Some(Self { id, span, parent: None, is_sampled: flags & 1 == 1 })
    }

    /// A trace that begins here. Zero, which names nothing, is read as one.
    #[must_use]
    pub fn root(id: u128, span: u64, is_sampled: bool) -> Self {
        Self { id: id.max(1), span: span.max(1), parent: None, is_sampled }
    }

    /// A span below this one.
    #[must_use]
    pub fn child(self, span: u64) -> Self {
        Self { span: span.max(1), parent: Some(self.span), ..self }
    }
}

/// Which of the traces that begin here are written down. The same trace gets the same answer everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Of the lower half of an id.
    below: u64,
}

impl Sampling {
    pub const ALL: Self = Self { below: u64::MAX };

    /// A part of all: 0.1 for one in ten.
    #[must_use]
    pub fn ratio(ratio: f64) -> Self {
        // A product out of range is cut off where it should be.
        Self { below: (ratio * u64::MAX as f64) as u64 }
    }

    #[must_use]
    pub fn takes(self, id: u128) -> bool {
        self.below == u64::MAX || (id as u64) < self.below
    }
}

/// As the header says it.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, span, parent: _, is_sampled } = self;
        write!(f, "00-{id:032x}-{span:016x}-{:02x}", u8::from(*is_sampled))
    }
}

/// Lower-case digits only, as the standard wants it.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_number = text.len() == digits && text.bytes().all(is_digit);
    is_number.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_the_standard_says() {
        let check = |header: &str, expected: Option<(u128, u64, bool)>| {
            let read = Trace::parse(header);
            assert_eq!(
                read.map(|trace| (trace.id, trace.span, trace.is_sampled)),
                expected,
                "{header}"
            );
        };
        let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let span = 0x00f0_67aa_0ba9_02b7;
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some((id, span, true)));
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", Some((id, span, false)));
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", Some((id, span, true)));
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", None);
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x", None);
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None);
        check("ünicode", None);
        check("", None);
    }

    #[test]
    fn a_part_of_all_traces_is_taken() {
        let check = |ratio: f64, expected: [bool; 4]| {
            let sampling = Sampling::ratio(ratio);
            let quarter = u128::from(u64::MAX / 4);
            let taken = [1, quarter + 9, 3 * quarter, u128::MAX].map(|id| sampling.takes(id));
            assert_eq!(taken, expected, "{ratio}");
        };
        check(0.0, [false; 4]);
        check(0.5, [true, true, false, false]);
        check(1.0, [true; 4]);
        check(7.0, [true; 4]);
        check(-1.0, [false; 4]);
    }

    #[test]
    fn a_child_is_written_in_the_trace_of_its_parent() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = Trace::parse(header).unwrap();
        assert_eq!(parent.to_string(), header);
        let child = parent.child(0xff);
        assert_eq!(child.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ff-01");
        assert_eq!(child.parent, Some(parent.span));
    }
}
