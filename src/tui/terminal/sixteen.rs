//! The sixteen named colors as terminals of sixteen colors know them.
//!
//! crossterm writes a named color as a place in the palette of 256, `38;5;9`, which
//! a terminal without that palette does not understand: some ignore it, some take
//! the 5 for blinking. Here it becomes `91`.

use std::io::{self, Write};

/// No sequence that crossterm writes is longer; what is, is passed on as it is.
const LONGEST: usize = 64;

/// Writes to `inner`, with named colors rewritten if the terminal has no others.
pub(super) struct Sixteen<W> {
    inner: W,
    rewrites: bool,
    /// The beginning of a sequence whose end has not been written yet.
    begun: Vec<u8>,
}

impl<W: Write> Sixteen<W> {
    pub(super) fn new(inner: W, rewrites: bool) -> Self {
        Self {
            inner,
            rewrites,
            begun: Vec::new(),
        }
    }
}

impl<W: Write> Write for Sixteen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.rewrites {
            return self.inner.write(bytes);
        }
        self.begun.extend_from_slice(bytes);
        let (done, rest) = rewrite(&self.begun);
        self.begun = rest;
        self.inner.write_all(&done)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let begun = std::mem::take(&mut self.begun);
        self.inner.write_all(&begun)?;
        self.inner.flush()
    }
}

/// `bytes` with their named colors rewritten, and what may be the beginning of a
/// sequence that goes on in the bytes to come.
fn rewrite(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut done = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|byte| *byte == 0x1b) {
        let (plain, sequence) = rest.split_at(start);
        done.extend_from_slice(plain);
        let body = sequence.get(2..).unwrap_or_default();
        let is_sequence = sequence.get(1).is_none_or(|byte| *byte == b'[');
        let end = body
            .iter()
            .position(|byte| !(byte.is_ascii_digit() || *byte == b';'));
        match end {
            Some(end) if is_sequence && body[end] == b'm' => {
                done.extend_from_slice(b"\x1b[");
                done.extend_from_slice(named(&body[..end]).as_bytes());
                rest = &body[end..];
            }
            None if is_sequence && sequence.len() < LONGEST => {
                return (done, sequence.to_vec());
            }
            _ => {
                done.push(0x1b);
                rest = &sequence[1..];
            }
        }
    }
    done.extend_from_slice(rest);
    (done, Vec::new())
}

/// The numbers of one sequence, each `38;5;n` and `48;5;n` below 16 as its own number.
fn named(numbers: &[u8]) -> String {
    let text = String::from_utf8_lossy(numbers);
    let numbers: Vec<&str> = text.split(';').collect();
    let mut out: Vec<String> = Vec::with_capacity(numbers.len());
    let mut at = 0;
    while let Some(number) = numbers.get(at) {
        let base = match (*number, numbers.get(at + 1)) {
            ("38", Some(&"5")) => Some(30),
            ("48", Some(&"5")) => Some(40),
            _ => None,
        };
        let index = numbers.get(at + 2).and_then(|it| it.parse::<u16>().ok());
        match (base, index) {
            (Some(base), Some(index @ 0..8)) => {
                out.push((base + index).to_string());
                at += 3;
            }
            (Some(base), Some(index @ 8..16)) => {
                out.push((base + 60 + index - 8).to_string());
                at += 3;
            }
            _ => {
                out.push((*number).to_owned());
                at += 1;
            }
        }
    }
    out.join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `chunks` one by one; what came out.
    fn written(chunks: &[&str], rewrites: bool) -> String {
        let mut out = Sixteen::new(Vec::new(), rewrites);
        for chunk in chunks {
            out.write_all(chunk.as_bytes()).expect("a vector");
        }
        out.flush().expect("a vector");
        String::from_utf8(out.inner).expect("text")
    }

    #[track_caller]
    fn check(bytes: &str, expected: &str) {
        assert_eq!(written(&[bytes], true), expected);
        // Wherever a chunk ends.
        for at in (0..=bytes.len()).filter(|at| bytes.is_char_boundary(*at)) {
            let (a, b) = bytes.split_at(at);
            assert_eq!(written(&[a, b], true), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn named_colors_get_the_numbers_that_sixteen_colors_have() {
        check("\x1b[38;5;1mred\x1b[0m", "\x1b[31mred\x1b[0m");
        check("\x1b[38;5;9;48;5;0mx", "\x1b[91;40mx");
        check("\x1b[1;48;5;15m\x1b[39m", "\x1b[1;107m\x1b[39m");
        check("\x1b[38;5;7m\x1b[48;5;8m", "\x1b[37m\x1b[100m");
    }

    #[test]
    fn everything_else_passes_as_it_is() {
        for bytes in [
            "plain ▌ text",
            "\x1b[?1049h\x1b[2J\x1b[12;40H",
            "\x1b[38;5;210m\x1b[38;2;1;2;3m",
            "\x1b]52;c;aGk=\x07",
            "\x1b[",
            "\x1b",
            "\x1b[;m\x1b[m",
        ] {
            check(bytes, bytes);
        }
        let long = format!("\x1b[{}", "1;".repeat(60));
        check(&long, &long);
    }

    #[test]
    fn a_terminal_of_more_colors_gets_what_was_written() {
        let bytes = "\x1b[38;5;1mred";
        assert_eq!(written(&[bytes], false), bytes);
    }
}
