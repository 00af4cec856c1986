//! Server-sent events, decoded as their bytes arrive.

/// One event: its name, empty when it has none, and its data lines joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    pub event: Vec<u8>,
    pub data: Vec<u8>,
}

/// An event is longer than the decoder will hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {bytes_max} bytes")]
pub struct TooLong {
    pub bytes_max: usize,
}

/// Holds at most one unfinished event, of at most `bytes_max`.
#[derive(Debug)]
pub struct Decoder {
    bytes_max: usize,
    line: Vec<u8>,
    frame: Frame,
    has_data: bool,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    /// Only the very first line may begin with a byte order mark.
    is_first_line: bool,
}

impl Decoder {
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            frame: Frame::default(),
            has_data: false,
            after_return: false,
            is_first_line: true,
        }
    }

    /// Takes the next bytes, however they were cut, and adds the events that they complete to `frames`.
    pub fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), TooLong> {
        let mut rest = bytes;
        while let Some((&first, tail)) = rest.split_first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = tail;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (piece, terminated) = rest.split_at(end.unwrap_or(rest.len()));
            if self.held() + piece.len() > self.bytes_max {
                return Err(TooLong { bytes_max: self.bytes_max });
            }
            self.line.extend_from_slice(piece);
            let Some((terminator, tail)) = terminated.split_first() else {
                break;
            };
            self.after_return = *terminator == b'\r';
            self.end_line(frames);
            rest = tail;
        }
        Ok(())
    }

    /// The bytes have ended; an event that lacks only its blank line counts.
    pub fn finish(&mut self, frames: &mut Vec<Frame>) {
        if !self.line.is_empty() {
            self.end_line(frames);
        }
        self.end_frame(frames);
    }

    fn held(&self) -> usize {
        self.line.len() + self.frame.data.len() + self.frame.event.len()
    }

    fn end_line(&mut self, frames: &mut Vec<Frame>) {
        let line = std::mem::take(&mut self.line);
        let is_first = std::mem::take(&mut self.is_first_line);
        let text = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if is_first => rest,
            _ => line.as_slice(),
        };
        if text.is_empty() {
            self.end_frame(frames);
        } else {
            self.field(text);
        }
        // Keeps its memory for the next line.
        self.line = line;
        self.line.clear();
    }

    fn field(&mut self, line: &[u8]) {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.has_data {
                    self.frame.data.push(b'\n');
                }
                self.has_data = true;
                self.frame.data.extend_from_slice(value);
            }
            b"event" => self.frame.event = value.to_vec(),
            // Comments (no name), `id`, `retry`, and what is not invented yet.
            _ => {}
        }
    }

    fn end_frame(&mut self, frames: &mut Vec<Frame>) {
        let frame = std::mem::take(&mut self.frame);
        if std::mem::take(&mut self.has_data) {
            frames.push(frame);
        }
    }
}

#[cfg(test)]
mod tests;
