//! The smallest things that are drawn, found one at a time, and their widths.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The smallest thing that is drawn or cut whole: a character with its marks, or an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// What to draw.
    pub text: &'a str,
    /// Its width in cells.
    pub width: usize,
    /// Whether it is part of an escape.
    pub escaped: bool,
}

/// The width of `text` in cells, as the terminal counts them.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The units of a text, found one at a time: this runs for every cell of every frame.
pub(super) struct Units<'a> {
    text: &'a str,
    escapes: &'a [Range<usize>],
    at: usize,
    /// Where the cluster ends that is being taken apart.
    apart: usize,
}

impl<'a> Units<'a> {
    pub(super) fn of(text: &'a str, escapes: &'a [Range<usize>]) -> Self {
        Self {
            text,
            escapes,
            at: 0,
            apart: 0,
        }
    }

    /// The end of the unit that begins here, in text without escapes that ends at `end`.
    fn end(&mut self, end: usize) -> usize {
        let rest = &self.text[self.at..end];
        // An ASCII character that another one follows, or none, stands for itself.
        if let [b' '..=b'~'] | [b' '..=b'~', 0..=0x7F, ..] = rest.as_bytes() {
            return self.at + 1;
        }
        let cluster = if self.at < self.apart {
            &self.text[self.at..self.apart]
        } else {
            rest.graphemes(true).next().unwrap_or(rest)
        };
        if self.at >= self.apart && width(cluster) <= 2 {
            return self.at + cluster.len();
        }
        // Some scripts chain clusters without end; such a one is taken apart.
        self.apart = self.at + cluster.len();
        let mut inner = cluster.char_indices().skip(1);
        let next = inner.find(|(_, c)| c.width() != Some(0));
        self.at + next.map_or(cluster.len(), |(at, _)| at)
    }
}

impl<'a> Iterator for Units<'a> {
    type Item = Unit<'a>;

    fn next(&mut self) -> Option<Unit<'a>> {
        let (end, escaped) = match self.escapes.split_first() {
            Some((escape, later)) if escape.start == self.at => {
                self.escapes = later;
                (escape.end, true)
            }
            first => {
                let end = first.map_or(self.text.len(), |(escape, _)| escape.start);
                if self.at >= end {
                    return None;
                }
                (self.end(end), false)
            }
        };
        let text = &self.text[self.at..end];
        self.at = end;
        Some(Unit {
            text,
            width: if text.len() == 1 { 1 } else { width(text) },
            escaped,
        })
    }
}

/// A unit as it is, or taken apart if it is wider than `limit`.
pub(super) fn split_to(unit: Unit<'_>, limit: usize) -> Vec<Unit<'_>> {
    if unit.width <= limit {
        return vec![unit];
    }
    Units::of(unit.text, &[])
        .map(|part| Unit {
            escaped: unit.escaped,
            ..part
        })
        .collect()
}
