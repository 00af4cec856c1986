//! Reads the mock's streams as a client gets them, and notices what is missing or damaged.

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::mock::word;

#[derive(Default)]
pub(crate) struct Reader {
    /// An event that has not ended yet.
    rest: Vec<u8>,
    words: usize,
    finished: bool,
    done: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
}

impl Reader {
    /// How many tokens were in `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<usize> {
        let before = self.words;
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        let rest = std::mem::take(&mut self.rest);
        while let Some(length) = rest.get(from..).and_then(end_of_event) {
            self.event(rest.get(from..from + length).unwrap_or_default())?;
            from += length;
        }
        self.rest = rest;
        self.rest.drain(..from);
        Ok(self.words - before)
    }

    fn event(&mut self, event: &[u8]) -> Result<()> {
        for line in event.split(|byte| *byte == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let data = data.trim_ascii();
            ensure!(!self.done, "something follows [DONE]");
            if data == b"[DONE]" {
                self.done = true;
                continue;
            }
            let chunk: Chunk = serde_json::from_slice(data).context("a damaged chunk")?;
            if let Some(error) = chunk.error {
                bail!("the stream broke off: {error}");
            }
            for Choice { delta, finish_reason } in chunk.choices {
                self.finished |= finish_reason.is_some();
                // Deltas may be merged or split on the way, but not changed.
                let mut content = delta.content.unwrap_or_default();
                while !content.is_empty() {
                    let expected = word(self.words);
                    let Some(rest) = content.strip_prefix(&expected) else {
                        bail!("expected {expected:?}, got {content:?}")
                    };
                    content = rest.to_owned();
                    self.words += 1;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self, deltas: usize) -> Result<()> {
        ensure!(self.words == deltas, "{} of {deltas} deltas arrived", self.words);
        ensure!(self.finished, "no finish_reason");
        ensure!(self.done, "no [DONE]");
        Ok(())
    }
}

fn end_of_event(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(words: std::ops::Range<usize>, end: &str) -> String {
        let chunk = |number| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
                word(number)
            )
        };
        words.map(chunk).collect::<String>() + end
    }

    fn read(text: &str, piece: usize) -> Result<()> {
        let mut reader = Reader::default();
        text.as_bytes().chunks(piece).try_for_each(|bytes| reader.push(bytes).map(drop))?;
        reader.finish(64)
    }

    #[test]
    fn only_a_whole_stream_is_whole() {
        let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let end = format!("{finish}data: [DONE]\n\n");
        for piece in [1, 7, 100_000] {
            assert!(read(&stream(0..64, &end), piece).is_ok(), "in pieces of {piece}");
        }
        let error = "data: {\"error\":{\"message\":\"no\"}}\n\n";
        for (broken, why) in [
            (stream(0..63, &end), "63 of 64"),
            (stream(1..65, &end), "expected"),
            (stream(0..64, "data: [DONE]\n\n"), "finish_reason"),
            (stream(0..64, finish), "[DONE]"),
            (stream(0..64, error), "broke off"),
            (stream(0..64, &format!("{end}{finish}")), "follows"),
            (stream(0..64, "data: {\"cho\n\n"), "damaged"),
        ] {
            assert!(read(&broken, 100_000).unwrap_err().to_string().contains(why), "{why}");
        }
    }
}
