//! The scenario file as it is typed, before anything in it is believed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, de};
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: String,
    #[serde(default)]
    pub(super) about: String,
    #[serde(default)]
    pub(super) pool: Vec<RawPool>,
    #[serde(default)]
    pub(super) job: BTreeMap<String, RawJob>,
    #[serde(default)]
    pub(super) payload: BTreeMap<String, Spanned<RawPayload>>,
    #[serde(default)]
    pub(super) stream: Vec<RawStream>,
    #[serde(default)]
    pub(super) once: Vec<RawOnce>,
    #[serde(default)]
    pub(super) workflow: Vec<RawWorkflow>,
    #[serde(default)]
    pub(super) alert: Vec<RawAlert>,
    #[serde(default)]
    pub(super) incident: Vec<RawIncident>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPool {
    pub(super) name: Spanned<String>,
    pub(super) workers: Spanned<u32>,
    pub(super) slots: Spanned<u32>,
    #[serde(default)]
    pub(super) regions: Vec<String>,
    #[serde(default)]
    pub(super) topics: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) capabilities: Vec<String>,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) agent: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) cpu: Option<Spanned<Ends>>,
    pub(super) memory: Option<Spanned<Ends>>,
    pub(super) gpu: Option<Spanned<Ends>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPayload {
    pub(super) file: Option<String>,
    pub(super) text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJob {
    pub(super) topic: Spanned<String>,
    #[serde(default)]
    pub(super) priority: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) tenants: Vec<String>,
    #[serde(default)]
    pub(super) principals: Vec<String>,
    #[serde(default)]
    pub(super) actor: String,
    #[serde(default)]
    pub(super) actor_type: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) sender: String,
    #[serde(default)]
    pub(super) capability: String,
    #[serde(default)]
    pub(super) risk_tags: Vec<String>,
    #[serde(default)]
    pub(super) requires: Vec<String>,
    #[serde(default)]
    pub(super) pack: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) vary: BTreeMap<String, Spanned<Vec<String>>>,
    pub(super) payload: Option<Spanned<String>>,
    pub(super) undo: Option<RawUndo>,
    pub(super) seconds: Spanned<Ends>,
    #[serde(default)]
    pub(super) steps: Vec<String>,
    #[serde(default)]
    pub(super) odds: Option<Spanned<RawOdds>>,
    pub(super) error: Option<RawCause>,
    pub(super) deadline: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUndo {
    pub(super) topic: Spanned<String>,
    pub(super) payload: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) seconds: Option<Spanned<Ends>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOdds {
    #[serde(default)]
    pub(super) failed: f64,
    #[serde(default)]
    pub(super) failed_retryable: f64,
    #[serde(default)]
    pub(super) failed_fatal: f64,
    #[serde(default)]
    pub(super) timeout: f64,
    #[serde(default)]
    pub(super) hang: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCause {
    pub(super) code: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStream {
    pub(super) job: Spanned<String>,
    pub(super) per_minute: Spanned<f64>,
    pub(super) first: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) windows: Vec<Spanned<RawWindow>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWindow {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) per_minute: Path,
    pub(super) every: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOnce {
    pub(super) at: Spanned<f64>,
    pub(super) every: Option<Spanned<f64>>,
    pub(super) job: Spanned<String>,
    pub(super) outcome: Option<Spanned<String>>,
    pub(super) takes: Option<Spanned<Ends>>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) payload: Option<Spanned<String>>,
    pub(super) cancel_after: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWorkflow {
    pub(super) name: String,
    pub(super) at: Spanned<f64>,
    pub(super) every: Option<Spanned<f64>>,
    pub(super) steps: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) job: Spanned<String>,
    pub(super) after: Spanned<f64>,
    pub(super) outcome: Option<Spanned<String>>,
    pub(super) takes: Option<Spanned<Ends>>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) payload: Option<Spanned<String>>,
    pub(super) cancel_after: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlert {
    pub(super) at: Spanned<f64>,
    pub(super) every: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) workflow_event: bool,
    pub(super) severity: Spanned<String>,
    pub(super) component: String,
    pub(super) code: String,
    pub(super) error: Option<Spanned<String>>,
    pub(super) message: String,
    #[serde(default)]
    pub(super) details: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIncident {
    pub(super) at: Spanned<f64>,
    #[serde(rename = "for")]
    pub(super) lasts: Option<Spanned<f64>>,
    pub(super) every: Option<Spanned<f64>>,
    #[serde(rename = "do")]
    pub(super) what: Spanned<String>,
    pub(super) worker: Option<Spanned<String>>,
    pub(super) pool: Option<Spanned<String>>,
    pub(super) times: Option<Spanned<f64>>,
    pub(super) jobs: Option<u32>,
    pub(super) find: Option<String>,
    pub(super) replace: Option<String>,
    pub(super) append: Option<String>,
}

/// One number, or two that are the ends of a range.
#[derive(Clone, Copy)]
pub(super) struct Ends(pub(super) f64, pub(super) f64);

/// One number, or two that are the begin and the end of a line.
#[derive(Clone, Copy)]
pub(super) struct Path(pub(super) f64, pub(super) f64);

struct EndsVisitor;

impl<'de> de::Visitor<'de> for EndsVisitor {
    type Value = (f64, f64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or two numbers in brackets")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok((number as f64, number as f64))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok((number, number))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let short = || de::Error::custom("expected two numbers in the brackets");
        let low = seq.next_element()?.ok_or_else(short)?;
        let high = seq.next_element()?.ok_or_else(short)?;
        if seq.next_element::<f64>()?.is_some() {
            return Err(short());
        }
        Ok((low, high))
    }
}

impl<'de> Deserialize<'de> for Ends {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (low, high) = deserializer.deserialize_any(EndsVisitor)?;
        Ok(Self(low, high))
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (begin, end) = deserializer.deserialize_any(EndsVisitor)?;
        Ok(Self(begin, end))
    }
}
