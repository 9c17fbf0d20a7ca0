//! What is behind the pointer of an approval, with its digest: what a decision is bound to.

use std::sync::Arc;

use crate::ids::JobId;
use crate::state::shared::Text;
use crate::time::Timestamp;

/// What was read behind a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The job it belongs to.
    pub job: JobId,
    /// The pointer.
    pub pointer: Arc<str>,
    /// When it was read.
    pub read_at: Timestamp,
    /// How long it is, in bytes; `None` if nothing could be read.
    pub size: Option<u64>,
    /// Its SHA-256 in lower-case hex; `None` unless all of it was read.
    pub sha256: Text,
    /// What it is.
    pub content: Content,
}

/// What is behind a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text, all of it.
    Text {
        /// As it is, with control characters and secrets.
        text: Arc<str>,
        /// Lines of it.
        lines: u32,
        /// Byte ranges that look like secrets, in order, not overlapping.
        secrets: Arc<[std::ops::Range<usize>]>,
    },
    /// Bytes that are no text, all of them.
    Binary(Arc<[u8]>),
    /// Longer than what is read, or cut by the plane.
    TooLong {
        /// The bytes that can be read.
        readable: u64,
    },
    /// There is nothing behind the pointer, or no longer.
    Missing,
    /// It could not be read.
    Unreadable(Arc<str>),
}

impl Payload {
    /// Whether a decision can be bound to it: all of it was read, and it is text.
    pub fn can_be_judged(&self) -> bool {
        matches!(self.content, Content::Text { .. }) && self.sha256.is_some()
    }
}
