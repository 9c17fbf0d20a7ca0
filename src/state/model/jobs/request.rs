//! What a job was asked to do.

use std::sync::Arc;

use crate::ids::JobId;
use crate::state::limits;
use crate::state::shared::{Interner, Labels, Text, text};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{ActorType, Compensation, JobPriority, JobRequest};

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The topic, `job.` included.
    pub topic: Text,
    /// The tenant, by the plane's own order of places.
    pub tenant: Text,
    /// For whom.
    pub principal: Text,
    /// Who asks.
    pub actor: Text,
    /// A person or a program.
    pub actor_type: ActorType,
    /// How urgent it is.
    pub priority: JobPriority,
    /// Where its payload is.
    pub context_ptr: Text,
    /// The workflow it is a step of.
    pub workflow_id: Text,
    /// Which step, from 0; means nothing without a workflow.
    pub step_index: i32,
    /// The job that asked for it.
    pub parent: Option<JobId>,
    /// The memory it may read.
    pub memory_id: Text,
    /// What it is able to do.
    pub capability: Text,
    /// The pack it comes from.
    pub pack_id: Text,
    /// Two requests with one key are one.
    pub idempotency_key: Text,
    /// What makes it risky.
    pub risk_tags: Arc<[Arc<str>]>,
    /// What its pool must have.
    pub requires: Arc<[Arc<str>]>,
    /// Its labels.
    pub labels: Labels,
    /// Milliseconds from submission to its deadline; 0 is none.
    pub deadline_ms: i64,
    /// When its time is up, where the plane tells it as an instant.
    pub deadline_at: Option<Timestamp>,
    /// Tokens in all; 0 is no limit.
    pub max_total_tokens: i64,
    /// The job that would undo it. `None` is "not known" unless [`Request::complete`].
    pub undo: Option<Arc<Undo>>,
    /// Who sent the request.
    pub sender: Text,
    /// When it was sent, by the sender's clock.
    pub sent_at: Option<Timestamp>,
    /// Whether the whole request was seen, so that what is missing is missing.
    pub complete: bool,
}

/// The job that would undo another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// What to run.
    pub topic: Arc<str>,
    /// What to run it on.
    pub context_ptr: Text,
    /// Runs once for this key.
    pub idempotency_key: Text,
}

impl Request {
    /// The facts of a request on the bus.
    pub(super) fn from_packet(
        request: &JobRequest,
        sender: Text,
        sent_at: Option<Timestamp>,
        interner: &mut Interner,
    ) -> Self {
        let meta = request.meta.as_ref();
        let list = |texts: &[String], interner: &mut Interner| -> Arc<[Arc<str>]> {
            texts.iter().filter_map(|it| interner.text(it)).collect()
        };
        Self {
            topic: interner.text(bounded(&request.topic)),
            tenant: request.tenant().and_then(|tenant| interner.text(tenant)),
            principal: interner.text(&request.principal_id),
            actor: meta.and_then(|meta| interner.text(&meta.actor_id)),
            actor_type: meta.map(|meta| meta.actor_type).unwrap_or_default(),
            priority: request.priority,
            context_ptr: text(bounded(&request.context_ptr)),
            workflow_id: interner.text(&request.workflow_id),
            step_index: request.step_index,
            parent: (!request.parent_job_id.is_empty()).then(|| request.parent_job_id.clone()),
            memory_id: interner.text(&request.memory_id),
            capability: meta.and_then(|meta| interner.text(&meta.capability)),
            pack_id: meta.and_then(|meta| interner.text(&meta.pack_id)),
            idempotency_key: meta.and_then(|meta| text(bounded(&meta.idempotency_key))),
            risk_tags: meta.map_or_else(Arc::default, |meta| list(&meta.risk_tags, interner)),
            requires: meta.map_or_else(Arc::default, |meta| list(&meta.requires, interner)),
            labels: labels(request.labels.iter(), interner),
            deadline_ms: request
                .budget
                .as_ref()
                .map_or(0, |budget| budget.deadline_ms),
            deadline_at: None,
            max_total_tokens: request
                .budget
                .as_ref()
                .map_or(0, |budget| budget.max_total_tokens),
            undo: request
                .compensation
                .as_deref()
                .map(|undo| Arc::new(Undo::from(undo))),
            sender,
            sent_at,
            complete: true,
        }
    }

    /// The facts of a request that was read from where the plane keeps it.
    pub fn read(request: &JobRequest) -> Self {
        Self::from_packet(request, None, None, &mut Interner::default())
    }

    /// When its time is up: the plane's word, else the sender's stamp of the
    /// request, or `born` without one, plus its budget. `None` without a deadline.
    pub fn deadline(&self, born: Timestamp) -> Option<Timestamp> {
        let budget = || {
            let budget = u64::try_from(self.deadline_ms).ok().filter(|ms| *ms > 0)?;
            let from = self.sent_at.unwrap_or(born);
            Some(from.plus(Elapsed::from_millis(budget)))
        };
        self.deadline_at.or_else(budget)
    }

    /// Fills what is not known yet from `other`; says whether that changed anything.
    pub(in crate::state::model) fn fill(&mut self, other: &Self) -> bool {
        let mut changed = false;
        let mut fill = |known: &mut Text, news: &Text| {
            if known.is_none() && news.is_some() {
                known.clone_from(news);
                changed = true;
            }
        };
        fill(&mut self.topic, &other.topic);
        fill(&mut self.tenant, &other.tenant);
        fill(&mut self.principal, &other.principal);
        fill(&mut self.actor, &other.actor);
        fill(&mut self.context_ptr, &other.context_ptr);
        fill(&mut self.workflow_id, &other.workflow_id);
        fill(&mut self.memory_id, &other.memory_id);
        fill(&mut self.capability, &other.capability);
        fill(&mut self.pack_id, &other.pack_id);
        fill(&mut self.idempotency_key, &other.idempotency_key);
        fill(&mut self.sender, &other.sender);
        macro_rules! fill_empty {
            ($($field:ident: $empty:expr),+) => {$(
                if self.$field == $empty && other.$field != $empty {
                    self.$field = other.$field.clone();
                    changed = true;
                }
            )+};
        }
        fill_empty!(
            actor_type: ActorType::Unspecified,
            priority: JobPriority::Unspecified,
            step_index: 0,
            parent: None,
            risk_tags: Arc::default(),
            requires: Arc::default(),
            labels: Arc::default(),
            deadline_ms: 0,
            max_total_tokens: 0,
            undo: None,
            sent_at: None,
            deadline_at: None,
            complete: false
        );
        changed
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(key, _)| &**key == name)
            .map(|(_, value)| &**value)
    }
}

impl From<&Compensation> for Undo {
    fn from(undo: &Compensation) -> Self {
        Self {
            topic: Arc::from(undo.topic.as_str()),
            context_ptr: text(bounded(&undo.context_ptr)),
            idempotency_key: undo
                .meta
                .as_ref()
                .and_then(|meta| text(bounded(&meta.idempotency_key))),
        }
    }
}

/// Labels of a request or a heartbeat, at most [`limits::LABELS`].
pub(crate) fn labels<'a>(
    labels: impl Iterator<Item = (&'a String, &'a String)>,
    interner: &mut Interner,
) -> Labels {
    let labels = labels
        .take(limits::LABELS)
        .map(|(key, value)| {
            let key = interner.text(bounded(key)).unwrap_or_default();
            let value = interner.text(bounded(value)).unwrap_or_default();
            (key, value)
        })
        .collect();
    interner.labels(labels)
}

/// `text`, cut to [`limits::TEXT`] bytes at a character.
pub(crate) fn bounded(text: &str) -> &str {
    if text.len() <= limits::TEXT {
        return text;
    }
    let mut end = limits::TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
