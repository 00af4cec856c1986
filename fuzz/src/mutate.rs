//! Inputs made of other inputs.

/// Longer inputs are cut: what is slow there is slow on shorter ones, too.
const BYTES_MAX: usize = 1 << 16;

/// What readers of these formats look for.
const WORDS: &[&str] = &[
    "\n",
    "\r\n",
    "\n\n",
    "\r",
    "data: ",
    "data:",
    "event: ",
    "event: error\n",
    "id: 1\n",
    ": ping\n\n",
    "[DONE]",
    "\u{feff}",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "\"\"",
    "0",
    "-1",
    "-0",
    "1e999",
    "1e-999",
    "18446744073709551616",
    "9223372036854775808",
    "4294967296",
    "2147483648",
    "0.1",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\u006d",
    "\u{0}",
    "é",
    "😀",
    "\u{2028}",
    "\u{202e}",
    "\u{ff11}",
    "\"model\":",
    "\"mod\\u0065l\":\"x\",",
    "\"model\":\"y\",",
    "\"stream\":true,",
    "\"stream\":null,",
    "\"n\":2,",
    "\"max_tokens\":5,",
    "\"max_completion_tokens\":9,",
    "\"max_output_tokens\":9,",
    "\"stream_options\":{},",
    "\"type\":",
    "\"role\":",
    "\"content\":",
    "\"text\":",
    "\"index\":",
    "\"id\":",
    "\"delta\":",
    "\"choices\":",
    "\"usage\":",
    "\"error\":",
    "\"message\":",
    "\"tool_calls\":",
    "\"function\":",
    "\"name\":",
    "\"arguments\":",
    "\"finish_reason\":",
    "\"stop\"",
    "\"tool_calls\"",
    "\"content_block\":",
    "\"input_json_delta\"",
    "\"thinking_delta\"",
    "\"signature_delta\"",
    "\"tool_use\"",
    "\"partial_json\":",
    "\"message_stop\"",
    "\"response\":",
    "\"output_index\":",
    "\"item\":",
    "\"item_id\":",
    "\"output\":",
    "\"status\":",
    "\"candidates\":",
    "\"parts\":",
    "\"functionCall\":",
    "\"args\":",
    "\"finishReason\":",
    "\"usageMetadata\":",
    "\"done\":true",
    "\"done_reason\":",
    "\"image_url\"",
    "\"input_text\"",
    "\"tool_result\"",
    "\"tool_use_id\":",
    "\"call_id\":",
    "\"reasoning\"",
    "\"encrypted_content\":",
    "agentry:[",
    "data:image/png;base64,",
    "Bearer ",
    "eyJ",
    ".",
    "=",
    "\"alg\":",
    "\"kid\":",
    "4111 1111 1111 1111",
    "a@b.example",
    "DE89 3704 0044 0532 0130 00",
    "sk-",
    "AKIA",
    "-----BEGIN",
    "+49 30 ",
    "127.0.0.1",
    "[server]\n",
    "[models.",
    "[[keys]]\n",
    " = ",
    "\"\"\"",
    "env:KEY",
    "[providers.a]\n",
    "kind = \"openai\"\n",
    "targets = [\"",
    "retries = ",
    "ttl = \"1h\"\n",
    "99999999999999999999",
    "1e400s",
];

/// A small generator with a good period; inputs need not be secret.
pub struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, seeds }
    }

    /// One of `kept` or of the seeds, changed in a few places.
    pub fn next(&mut self, kept: &[Vec<u8>]) -> Vec<u8> {
        // What is hand-made stays in the game however many ways are found.
        let pool =
            if self.below(4) == 0 && !self.seeds.is_empty() { &self.seeds.clone() } else { kept };
        let mut input = self.one_of(pool);
        for _ in 0..=self.below(5) {
            self.change(&mut input, pool);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        match self.below(12) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.random() as u8;
                }
            }
            2..5 => {
                let word = WORDS[self.below(WORDS.len())].as_bytes();
                input.splice(at..at, word.iter().copied());
            }
            5 => {
                let word = WORDS[self.below(WORDS.len())].as_bytes();
                let end = (at + word.len()).min(input.len());
                input.splice(at..end, word.iter().copied());
            }
            6 => input.truncate(at),
            7 => {
                let end = (at + 1 + self.below(40)).min(input.len());
                input.drain(at.min(end)..end);
            }
            8 => {
                let end = (at + 1 + self.below(200)).min(input.len());
                let copy = input[at.min(end)..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            9 => {
                let other = self.one_of(pool);
                let from = self.below(other.len() + 1);
                let to = (from + self.below(400)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
            10 => self.nest(input, at),
            _ => self.swap_strings(input),
        }
    }

    /// The same many times over: deep, or long.
    fn nest(&mut self, input: &mut Vec<u8>, at: usize) {
        const NESTS: [(&str, &str); 6] =
            [("[", "]"), ("{\"a\":", "}"), ("\"", ""), ("data: x\n", ""), ("a.", ""), ("1", "")];
        let (open, close) = NESTS[self.below(NESTS.len())];
        let times = 1 << self.below(12);
        let text =
            [open.repeat(times), close.repeat(if self.below(3) == 0 { 0 } else { times })].concat();
        input.splice(at..at, text.into_bytes());
    }

    /// Puts the words between two pairs of quotes in each other's place: it often stays what it was, and means another thing.
    fn swap_strings(&mut self, input: &mut Vec<u8>) {
        let quotes: Vec<usize> =
            (0..).zip(input.iter()).filter(|(_, byte)| **byte == b'"').map(|(at, _)| at).collect();
        if quotes.len() < 4 {
            return;
        }
        let mut pairs = [self.below(quotes.len() / 2), self.below(quotes.len() / 2)];
        pairs.sort_unstable();
        let [one, other] = pairs.map(|pair| quotes[pair * 2] + 1..quotes[pair * 2 + 1]);
        if one != other {
            let (first, second) = (input[one.clone()].to_vec(), input[other.clone()].to_vec());
            input.splice(other, first);
            input.splice(one, second);
        }
    }

    fn one_of(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        if pool.is_empty() { Vec::new() } else { pool[self.below(pool.len())].clone() }
    }

    fn below(&mut self, end: usize) -> usize {
        (self.random() % end.max(1) as u64) as usize
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
