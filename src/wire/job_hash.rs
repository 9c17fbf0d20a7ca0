//! The job hash: what a decision is bound to.
//!
//! Control planes pin it when policy asks for approval and compare it when a
//! person says yes. It covers the request without what the decision itself adds
//! to it. The bytes are those of a deterministic protobuf writer: fields by
//! number, map entries by key, and, unlike prost, both halves of every map entry
//! even when they are empty. Fields from CAP 2.14 on (identity, dispatch and
//! context_ref, also inside the compensation) are not covered: the planes that
//! compute this hash do not know them.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::wire::packet::{
    Budget, Compensation, ContextHints, JobMetadata, JobRequest, WireEnum as _,
};

/// SHA-256 over a request, in lower-case hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobHash(String);

impl JobHash {
    /// 64 lower-case hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for JobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hash of a request as control planes compute it.
///
/// Labels and environment that a plane adds while it decides do not change it:
/// labels named `approval_…` in any case, `cordum.bus_msg_id`,
/// `policy.attachment_id`, and the environment's `CORDUM_EFFECTIVE_CONFIG`.
pub fn job_hash(request: &JobRequest) -> JobHash {
    JobHash(sha256_hex(&canonical_bytes(request)))
}

/// SHA-256 in lower-case hex, as payload digests are written.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ok = write!(hex, "{byte:02x}");
            hex
        })
}

fn canonical_bytes(it: &JobRequest) -> Vec<u8> {
    let labels = it.labels.iter().filter(|(key, _)| !leaves_out(key));
    let env = it
        .env
        .iter()
        .filter(|(key, _)| key.as_str() != "CORDUM_EFFECTIVE_CONFIG");
    let mut w = Writer::default();
    w.text(1, it.job_id.as_str());
    w.text(2, &it.topic);
    w.int(3, it.priority.number().into());
    w.text(4, &it.context_ptr);
    w.text(5, &it.adapter_id);
    w.map(6, env);
    w.text(7, it.parent_job_id.as_str());
    w.text(8, &it.workflow_id);
    w.int(9, it.step_index.into());
    w.text(10, &it.memory_id);
    w.message(11, it.context_hints.as_ref().map(hints));
    w.message(12, it.budget.as_ref().map(budget));
    w.text(13, &it.tenant_id);
    w.text(14, &it.principal_id);
    w.map(15, labels);
    w.message(16, it.meta.as_ref().map(metadata));
    w.message(17, it.compensation.as_deref().map(compensation));
    w.0
}

/// Whether the hash leaves a label out, because planes add it while they decide.
pub fn leaves_out(label: &str) -> bool {
    label.to_lowercase().starts_with("approval_")
        || label == "cordum.bus_msg_id"
        || label == "policy.attachment_id"
}

fn hints(it: &ContextHints) -> Writer {
    let mut w = Writer::default();
    w.int(1, it.max_input_tokens.into());
    w.int(2, it.allow_summarization.into());
    w.int(3, it.allow_retrieval.into());
    w.texts(4, &it.tags);
    w
}

fn budget(it: &Budget) -> Writer {
    let mut w = Writer::default();
    w.int(1, it.max_input_tokens);
    w.int(2, it.max_output_tokens);
    w.int(3, it.max_total_tokens);
    w.int(4, it.deadline_ms);
    w
}

fn metadata(it: &JobMetadata) -> Writer {
    let mut w = Writer::default();
    w.text(1, &it.tenant_id);
    w.text(2, &it.actor_id);
    w.int(3, it.actor_type.number().into());
    w.text(4, &it.idempotency_key);
    w.text(5, &it.capability);
    w.texts(6, &it.risk_tags);
    w.texts(7, &it.requires);
    w.text(8, &it.pack_id);
    w.map(9, &it.labels);
    w
}

fn compensation(it: &Compensation) -> Writer {
    let mut w = Writer::default();
    w.text(1, &it.topic);
    w.text(2, &it.context_ptr);
    w.int(3, it.priority.number().into());
    w.text(4, &it.adapter_id);
    w.map(5, &it.env);
    w.text(6, &it.memory_id);
    w.message(7, it.context_hints.as_ref().map(hints));
    w.message(8, it.budget.as_ref().map(budget));
    w.text(9, &it.tenant_id);
    w.text(10, &it.principal_id);
    w.map(11, &it.labels);
    w.message(12, it.meta.as_ref().map(metadata));
    w
}

/// Writes protobuf fields in the order it is called; defaults are left out.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, value: u64) {
        prost::encoding::encode_varint(value, &mut self.0);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number << 3 | 2));
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, texts: &[String]) {
        for text in texts {
            self.bytes(number, text.as_bytes());
        }
    }

    fn int(&mut self, number: u32, value: i64) {
        if value != 0 {
            self.varint(u64::from(number << 3));
            // Negative numbers of any width travel as 64 bits, two's complement.
            self.varint(value.cast_unsigned());
        }
    }

    fn message(&mut self, number: u32, inner: Option<Self>) {
        if let Some(inner) = inner {
            self.bytes(number, &inner.0);
        }
    }

    fn map<'a>(
        &mut self,
        number: u32,
        entries: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) {
        for (key, value) in entries {
            let mut entry = Self::default();
            entry.bytes(1, key.as_bytes());
            entry.bytes(2, value.as_bytes());
            self.bytes(number, &entry.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;

    use super::*;
    use crate::ids::JobId;
    use crate::wire::convert;
    use crate::wire::packet::{ActorType, IdentityBinding, JobPriority, ResourceRef};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
        entries.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    fn published() -> JobRequest {
        JobRequest {
            job_id: JobId::from("job-1"),
            topic: "job.demo.echo".to_owned(),
            priority: JobPriority::Interactive,
            context_ptr: "redis://ctx:job-1".to_owned(),
            env: map([("tenant_id", "default")]),
            budget: Some(Budget {
                deadline_ms: 60_000,
                ..Budget::default()
            }),
            tenant_id: "default".to_owned(),
            principal_id: "alice".to_owned(),
            labels: map([("app", "a"), ("zone", "b")]),
            meta: Some(JobMetadata {
                tenant_id: "default".to_owned(),
                actor_type: ActorType::Human,
                capability: "demo.echo".to_owned(),
                risk_tags: vec!["write".to_owned()],
                ..JobMetadata::default()
            }),
            ..JobRequest::default()
        }
    }

    const PUBLISHED: &str = "dcfacd65f7dd07eb5bac5447d27beb65af3ae02215d45024dec65f50dfdebefe";

    #[test]
    fn the_published_vector_has_its_bytes_and_its_hash() {
        assert_eq!(
            hex(&canonical_bytes(&published())),
            "0a056a6f622d31120d6a6f622e64656d6f2e6563686f1801221172656469733a2f2f6374783a6a6f622d31\
             32140a0974656e616e745f6964120764656661756c74620420e0d4036a0764656661756c74720561\
             6c6963657a080a036170701201617a090a047a6f6e6512016282011d0a0764656661756c74180\
             12a0964656d6f2e6563686f32057772697465"
        );
        assert_eq!(job_hash(&published()).as_str(), PUBLISHED);
    }

    #[test]
    fn what_deciding_adds_does_not_change_the_hash() {
        let mut request = published();
        request.labels.extend(map([
            ("approval_granted", "true"),
            ("Approval_Note", "x"),
            ("cordum.bus_msg_id", "approval:1"),
            ("policy.attachment_id", "7"),
        ]));
        request.env.extend(map([("CORDUM_EFFECTIVE_CONFIG", "{}")]));
        assert_eq!(job_hash(&request).as_str(), PUBLISHED);
    }

    #[test]
    fn fields_newer_than_the_planes_that_hash_are_not_covered() {
        let mut request = published();
        request.identity = Some(IdentityBinding::default());
        request.context_ref = Some(ResourceRef::default());
        assert_eq!(job_hash(&request).as_str(), PUBLISHED);
        request.compensation = Some(Box::new(Compensation {
            topic: "job.undo".to_owned(),
            ..Compensation::default()
        }));
        let with_undo = job_hash(&request);
        if let Some(undo) = &mut request.compensation {
            undo.identity = Some(IdentityBinding::default());
        }
        assert_eq!(job_hash(&request), with_undo);
    }

    #[test]
    fn everything_else_changes_it() {
        let change = |change: fn(&mut JobRequest)| {
            let mut request = published();
            change(&mut request);
            job_hash(&request).to_string()
        };
        let hashes = [
            PUBLISHED.to_owned(),
            change(|it| it.context_ptr.push('x')),
            change(|it| it.step_index = -1),
            change(|it| it.meta.as_mut().expect("meta").labels = map([("approval_x", "1")])),
            change(|it| it.labels = map([("app", "a")])),
            change(|it| it.env.clear()),
            change(|it| it.compensation = Some(Box::default())),
        ];
        let different: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), hashes.len());
    }

    #[test]
    fn an_empty_half_of_a_map_entry_is_written_as_other_languages_write_it() {
        let request = JobRequest {
            job_id: JobId::from("j"),
            labels: map([("", "x"), ("a", "")]),
            ..JobRequest::default()
        };
        // Made with the Python protobuf runtime, deterministic.
        assert_eq!(
            hex(&canonical_bytes(&request)),
            "0a016a7a050a001201787a050a01611200"
        );
    }

    #[test]
    fn without_empty_map_values_the_bytes_are_those_of_prost() {
        let mut request = published();
        request.step_index = -3;
        request.priority = JobPriority::Unknown(-7);
        request.context_hints = Some(ContextHints {
            max_input_tokens: 8_000,
            allow_retrieval: true,
            tags: vec!["x".to_owned(), String::new()],
            ..ContextHints::default()
        });
        request.compensation = Some(Box::new(Compensation {
            topic: "job.undo".to_owned(),
            env: map([("k", "v")]),
            labels: map([("l", "m")]),
            meta: Some(JobMetadata::default()),
            budget: Some(Budget {
                max_total_tokens: i64::MAX,
                ..Budget::default()
            }),
            ..Compensation::default()
        }));
        assert_eq!(
            hex(&canonical_bytes(&request)),
            hex(&convert::job_request_to(&request).encode_to_vec())
        );
    }
}
