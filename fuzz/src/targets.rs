//! The targets, by what they read.

pub(crate) mod config;
pub(crate) mod credential;
pub(crate) mod errors;
pub(crate) mod guards;
pub(crate) mod head;
pub(crate) mod http1;
pub(crate) mod requests;
pub(crate) mod streams;
pub(crate) mod taps;

/// The same bytes in pieces. Where they are cut depends on the bytes alone.
pub(crate) fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let mut seed = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |seed, byte| {
        (seed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rest = data;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let wanted = match seed >> 60 {
            0..8 => 1 + (seed >> 33) as usize % 7,
            8..14 => 1 + (seed >> 33) as usize % 90,
            _ => 1 + (seed >> 33) as usize % 4_000,
        };
        let (piece, tail) = rest.split_at(wanted.min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// Cuts text where characters end.
pub(crate) fn text_pieces(text: &str) -> Vec<&str> {
    let mut from = 0;
    let mut at = 0;
    let mut cut = Vec::new();
    for piece in pieces(text.as_bytes()) {
        at += piece.len();
        let end = text.floor_char_boundary(at);
        cut.extend(text.get(from..end).filter(|piece| !piece.is_empty()));
        from = end;
    }
    cut
}
