//! What is behind the pointer of a job.

use std::sync::Arc;

use crate::state::model::Model;
use crate::state::model::approvals::{Content, Payload};
use crate::state::model::jobs::Job;
use crate::text;
use crate::view::Prose;

/// What is behind a pointer, or why it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadView {
    /// The job carries none.
    None,
    /// It is not known whether it carries one.
    Unknown,
    /// It was not read yet.
    Unread(Arc<str>),
    /// It was read.
    Read(Arc<Payload>),
}

impl PayloadView {
    /// The size, in words; `None` while it is not known.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Read(payload) => payload.size,
            Self::None | Self::Unknown | Self::Unread(_) => None,
        }
    }

    /// What there is instead of text to show; `None` for text.
    pub fn instead(&self) -> Option<Prose> {
        let says = Prose::new();
        Some(match self {
            Self::None => says.own("This job carries no payload."),
            Self::Unknown => says.own("unknown: its request has not been seen"),
            Self::Unread(pointer) => says.own("Not read yet: ").outside(pointer.clone()),
            Self::Read(payload) => match &payload.content {
                Content::Text { .. } => return None,
                Content::Binary(bytes) => says.own(format!(
                    "Binary, {} bytes, shown as hex to its end.",
                    text::thousands(bytes.len() as u64)
                )),
                Content::TooLong { readable } => says.own(format!(
                    "Only {} of {} bytes can be read. What cannot be read cannot be approved; R works.",
                    text::thousands(*readable),
                    payload
                        .size
                        .map_or_else(|| "unknown".to_owned(), text::thousands),
                )),
                Content::Missing => says.own(
                    "The payload is gone (contexts live 24 h). What cannot be read cannot be approved; R works.",
                ),
                Content::Unreadable(why) => says
                    .own("It could not be read: ")
                    .outside(why.clone())
                    .own(". What cannot be read cannot be approved; R works."),
            },
        })
    }
}

/// The payload of a job, as far as it is known.
pub fn payload(model: &Model, job: &Job) -> PayloadView {
    let Some(request) = &job.request else {
        return PayloadView::Unknown;
    };
    match &request.context_ptr {
        Some(pointer) => match model.approvals.payload(&job.id, pointer) {
            Some(payload) => PayloadView::Read(Arc::clone(payload)),
            None => PayloadView::Unread(Arc::clone(pointer)),
        },
        None if request.complete => PayloadView::None,
        None => PayloadView::Unknown,
    }
}
