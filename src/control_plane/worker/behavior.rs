//! What a worker is going to do with a request.
//!
//! A job of the scenario brings its script along, in [`SCRIPT_ENV`]. A job that
//! somebody else submitted succeeds after three to ten seconds, unless its labels
//! `demo.outcome`, `demo.seconds` and `demo.error_code` say otherwise. Whatever
//! runs to undo another job succeeds: it inherited that job's labels and
//! environment, and must not inherit its fate.

use std::sync::Arc;

use crate::control_plane::ledger::job::is_compensation;
use crate::control_plane::scenario::{Cause, Outcome, SCRIPT_ENV, Scenario, Script};
use crate::time::Elapsed;
use crate::wire::packet::{ErrorCode, JobRequest, JobStatus};

/// How long somebody's own job takes at least and at most, in milliseconds.
const OWN_JOB_MS: (u64, u64) = (3_000, 10_000);
/// The label `demo.seconds` is taken up to this, a day.
const MAX_SECONDS: f64 = 86_400.0;

/// What a worker is going to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// How long the work takes at full speed.
    pub takes: Elapsed,
    /// How it ends.
    pub outcome: Outcome,
    /// Whether it belongs to the scenario, so that mishaps may befall it.
    pub scripted: bool,
    /// What it says along the way.
    pub steps: Arc<[String]>,
    /// Why it fails, if it fails.
    pub cause: Cause,
}

impl Behavior {
    /// Reads the behavior off a request. The same request, scenario and `seed`
    /// give the same behavior; `attempt` counts from 1.
    pub fn of(request: &JobRequest, scenario: &Scenario, seed: u64, attempt: u32) -> Self {
        let script: Option<Script> = request
            .env
            .get(SCRIPT_ENV)
            .and_then(|json| serde_json::from_str(json).ok());
        let undoes = is_compensation(request);
        let template = script
            .as_ref()
            .and_then(|script| scenario.jobs.get(&script.job));
        let (takes, mut outcome) = match &script {
            Some(script) => (
                Elapsed::from_millis(script.ms),
                Outcome::from_name(&script.outcome).unwrap_or_default(),
            ),
            None => {
                let named = request.labels.get("demo.outcome").map(String::as_str);
                let outcome = named.and_then(Outcome::from_name).unwrap_or_default();
                (own_duration(request, seed), outcome)
            }
        };
        if undoes || (script.is_some() && attempt > 1 && outcome == Outcome::FailedRetryable) {
            outcome = Outcome::Succeeded;
        }
        let steps = match template {
            Some(template) if !undoes && !template.steps.is_empty() => template.steps.clone(),
            _ if undoes => words(&["reading what was done", "putting it back", "checking"]),
            _ => words(&["reading context", "working", "writing result"]),
        };
        let mut cause = template
            .and_then(|template| template.error.clone())
            .unwrap_or_else(|| usual_cause(outcome));
        if let Some(code) = request.labels.get("demo.error_code") {
            cause.code.clone_from(code);
        }
        Self {
            takes,
            outcome,
            scripted: script.is_some(),
            steps: steps.into(),
            cause,
        }
    }

    /// The status that the result carries; `None` if there is never a result.
    pub fn status(&self) -> Option<JobStatus> {
        match self.outcome {
            Outcome::Succeeded => Some(JobStatus::Succeeded),
            Outcome::Failed => Some(JobStatus::Failed),
            Outcome::FailedRetryable => Some(JobStatus::FailedRetryable),
            Outcome::FailedFatal => Some(JobStatus::FailedFatal),
            Outcome::Timeout => Some(JobStatus::Timeout),
            Outcome::Hang => None,
        }
    }

    /// How far a job gets before it ends, in percent: one that fails stops short.
    pub fn reach(&self) -> u64 {
        match self.outcome {
            Outcome::Succeeded => 100,
            Outcome::Hang => 40,
            Outcome::Failed
            | Outcome::FailedRetryable
            | Outcome::FailedFatal
            | Outcome::Timeout => 70,
        }
    }
}

/// The number of an error code that the contract names, with or without its
/// prefix; unspecified for words of somebody's own.
pub(super) fn error_number(code: &str) -> ErrorCode {
    ErrorCode::from_name(code.trim_start_matches("ERROR_CODE_")).unwrap_or_default()
}

fn own_duration(request: &JobRequest, seed: u64) -> Elapsed {
    let asked = request.labels.get("demo.seconds");
    let asked = asked.and_then(|seconds| seconds.parse::<f64>().ok());
    match asked {
        Some(seconds) if (0.0..=MAX_SECONDS).contains(&seconds) => {
            Elapsed::from_millis((seconds * 1_000.0).round() as u64)
        }
        _ => {
            let (low, high) = OWN_JOB_MS;
            let drawn = mix(seed, request.job_id.as_str(), 0) % (high - low + 1);
            Elapsed::from_millis(low + drawn)
        }
    }
}

fn usual_cause(outcome: Outcome) -> Cause {
    let (code, message) = match outcome {
        Outcome::Failed => ("ERROR_CODE_JOB_INVALID_INPUT", "the tool refused its input"),
        Outcome::FailedRetryable => (
            "ERROR_CODE_JOB_RESOURCE_EXHAUSTED",
            "the upstream asked to come back later",
        ),
        Outcome::FailedFatal => (
            "ERROR_CODE_JOB_TIMEOUT",
            "the tool did not answer; what it did is not known",
        ),
        Outcome::Timeout => ("ERROR_CODE_JOB_TIMEOUT", "the tool did not answer in time"),
        Outcome::Succeeded | Outcome::Hang => ("", ""),
    };
    Cause {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A number that looks drawn but only depends on what is given: FNV-1a over the
/// text, then the finishing mix of SplitMix64.
pub(super) fn mix(seed: u64, text: &str, salt: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mut mixed = hash.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
