//! What happens next, as data.
//!
//! [`plan`] moves every job whose time has come as far as it goes without the
//! outside, and returns what the outside has to do. It is asked again whenever a
//! packet came or [`Ledger::next_alarm`] says so.

use crate::control_plane::kernel::Constraints;
use crate::control_plane::ledger::lifecycle::{Due, constraints};
use crate::control_plane::ledger::{Job, Ledger, Step, WaitingOn};
use crate::control_plane::reserved::{BYPASS_REASON_LABEL, BYPASSED_LABEL};
use crate::control_plane::scheduler::placement::{Placement, Routes, place};
use crate::ids::JobId;
use crate::time::Timestamp;
use crate::wire::packet::{Budget, JobRequest};

/// Looks at no more than `limit` jobs whose time has come, so that packets are
/// heard in between; whoever asks again at once gets the rest.
pub fn plan(ledger: &mut Ledger, routes: &Routes, now: Timestamp, limit: usize) -> Vec<Step> {
    ledger.lose_silent_workers(now);
    ledger.reconcile(now);
    for _ in 0..limit {
        let Some(id) = ledger.next_due(now) else {
            break;
        };
        if ledger.due(&id, now) == Due::Place {
            find_a_worker(ledger, routes, &id, now);
        }
    }
    ledger.take_steps()
}

fn find_a_worker(ledger: &mut Ledger, routes: &Routes, id: &JobId, now: Timestamp) {
    let Some(job) = ledger.job(id) else { return };
    let limits = constraints(job);
    let at_most = limits
        .and_then(|limits| limits.budgets.as_ref())
        .and_then(|budgets| budgets.max_concurrent_jobs)
        .and_then(|limit| u32::try_from(limit).ok())
        .filter(|limit| *limit > 0);
    let others = ledger
        .at_work(job.tenant())
        .saturating_sub(u32::from(job.state.is_active()));
    if at_most.is_some_and(|limit| others >= limit) {
        ledger.wait(id, WaitingOn::TenantLimit, Vec::new(), now);
        return;
    }
    match place(routes, ledger.fleet(), &job.request) {
        Placement::On(worker) => {
            let mut request = limited(&job.request, limits);
            bypass_labels(job, &mut request);
            ledger.assign(id, &worker, request, now);
        }
        Placement::Wait { why, pools } => ledger.wait(id, why, pools, now),
    }
}

/// What workers are told of the limits by; nobody else may say it.
const LIMITS_ENV: [&str; 5] = [
    "CORDUM_POLICY_CONSTRAINTS",
    "CORDUM_REDACTION_LEVEL",
    "CORDUM_MAX_ARTIFACT_BYTES",
    "CORDUM_MAX_CONCURRENT_JOBS",
    "CORDUM_MAX_RETRIES",
];

/// Marks a request that nobody judged, because the kernel does not answer and the
/// plane was told to fail open. No other request says so, whatever its sender wrote.
fn bypass_labels(job: &Job, request: &mut JobRequest) {
    for name in [BYPASSED_LABEL, BYPASS_REASON_LABEL] {
        request.labels.remove(name);
    }
    let Some(unjudged) = job.decision().filter(|last| last.decision.is_none()) else {
        return;
    };
    for (name, value) in [
        (BYPASSED_LABEL, "true"),
        (BYPASS_REASON_LABEL, &unjudged.reason),
    ] {
        request.labels.insert(name.to_owned(), value.to_owned());
    }
}

/// The request with the limits that ride on a yes: as environment for the worker,
/// and as a deadline no longer than the runtime that policy allows. What the
/// client wrote where workers look for limits is taken out.
fn limited(request: &JobRequest, limits: Option<&Constraints>) -> JobRequest {
    let mut request = request.clone();
    for name in LIMITS_ENV {
        request.env.remove(name);
    }
    let Some(limits) = limits else {
        return request;
    };
    let mut set = |key: &str, value: String| {
        request.env.insert(key.to_owned(), value);
    };
    set("CORDUM_POLICY_CONSTRAINTS", limits.protojson());
    if !limits.redaction_level.is_empty() {
        set("CORDUM_REDACTION_LEVEL", limits.redaction_level.clone());
    }
    let Some(budgets) = &limits.budgets else {
        return request;
    };
    if let Some(bytes) = budgets.max_artifact_bytes {
        set("CORDUM_MAX_ARTIFACT_BYTES", bytes.to_string());
    }
    if let Some(jobs) = budgets.max_concurrent_jobs {
        set("CORDUM_MAX_CONCURRENT_JOBS", jobs.to_string());
    }
    if let Some(retries) = budgets.max_retries {
        set("CORDUM_MAX_RETRIES", retries.to_string());
    }
    if let Some(runtime) = budgets.max_runtime_ms.filter(|ms| *ms > 0) {
        let budget = request.budget.get_or_insert_with(Budget::default);
        budget.deadline_ms = match budget.deadline_ms {
            ..=0 => runtime,
            asked => asked.min(runtime),
        };
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::kernel::BudgetConstraints;
    use crate::control_plane::kernel::policy::Policy;

    fn deadline(asked: Option<i64>, allowed: i64) -> i64 {
        let request = JobRequest {
            budget: asked.map(|deadline_ms| Budget {
                deadline_ms,
                ..Budget::default()
            }),
            ..JobRequest::default()
        };
        let limits = Constraints {
            budgets: Some(BudgetConstraints {
                max_runtime_ms: Some(allowed),
                max_retries: Some(1),
                ..BudgetConstraints::default()
            }),
            ..Constraints::default()
        };
        limited(&request, Some(&limits))
            .budget
            .map_or(0, |budget| budget.deadline_ms)
    }

    #[test]
    fn the_allowed_runtime_shortens_the_deadline_and_never_lengthens_it() {
        assert_eq!(deadline(None, 120_000), 120_000);
        assert_eq!(deadline(Some(0), 120_000), 120_000);
        assert_eq!(deadline(Some(60_000), 120_000), 60_000);
        assert_eq!(deadline(Some(600_000), 120_000), 120_000);
    }

    #[test]
    fn limits_travel_to_the_worker_in_its_environment() {
        let limits = Constraints {
            budgets: Some(BudgetConstraints {
                max_runtime_ms: Some(120_000),
                max_retries: Some(1),
                ..BudgetConstraints::default()
            }),
            redaction_level: "strict".to_owned(),
            ..Constraints::default()
        };
        let request = limited(&JobRequest::default(), Some(&limits));
        insta::assert_debug_snapshot!(request.env, @r#"
        {
            "CORDUM_MAX_RETRIES": "1",
            "CORDUM_POLICY_CONSTRAINTS": "{\"budgets\":{\"maxRuntimeMs\":\"120000\",\"maxRetries\":1},\"redactionLevel\":\"strict\"}",
            "CORDUM_REDACTION_LEVEL": "strict",
        }
        "#);
        assert_eq!(limited(&JobRequest::default(), None), JobRequest::default());
    }

    #[test]
    fn limits_that_a_client_made_up_do_not_reach_the_worker() {
        let mut request = JobRequest::default();
        for name in LIMITS_ENV {
            request.env.insert(name.to_owned(), "99".to_owned());
        }
        request.env.insert("team".to_owned(), "ops".to_owned());
        let kept = |limits| {
            limited(&request, limits)
                .env
                .into_iter()
                .collect::<Vec<_>>()
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(kept(None), [pair("team", "ops")]);
        let strict = Constraints {
            redaction_level: "strict".to_owned(),
            ..Constraints::default()
        };
        assert_eq!(
            kept(Some(&strict)),
            [
                pair(
                    "CORDUM_POLICY_CONSTRAINTS",
                    r#"{"redactionLevel":"strict"}"#
                ),
                pair("CORDUM_REDACTION_LEVEL", "strict"),
                pair("team", "ops"),
            ]
        );
    }

    #[test]
    fn every_limit_of_a_policy_file_reaches_the_worker() {
        let policy = Policy::parse(
            b"rules:
  - id: r
    decision: allow
    constraints:
      budgets: {max_runtime_ms: 60000, max_retries: 0, max_artifact_bytes: 9223372036854775807, max_concurrent_jobs: 3}
      sandbox: {isolated: true, network_allowlist: ['a:443'], fs_read_only: [/etc], fs_read_write: [/tmp]}
      toolchain: {allowed_tools: [git], allowed_commands: ['git log']}
      diff: {max_files: 2, max_lines: 50, deny_path_globs: ['**/*.pem']}
      redaction_level: strict
",
        )
        .expect("a policy");
        let request = limited(&JobRequest::default(), policy.rules[0].constraints.as_ref());
        assert_eq!(request.budget.expect("a budget").deadline_ms, 60_000);
        let env: Vec<String> = request
            .env
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(
            env,
            [
                "CORDUM_MAX_ARTIFACT_BYTES=9223372036854775807",
                "CORDUM_MAX_CONCURRENT_JOBS=3",
                "CORDUM_MAX_RETRIES=0",
                concat!(
                    r#"CORDUM_POLICY_CONSTRAINTS={"budgets":{"maxRuntimeMs":"60000","#,
                    r#""maxArtifactBytes":"9223372036854775807","maxConcurrentJobs":3},"#,
                    r#""sandbox":{"isolated":true,"networkAllowlist":["a:443"],"#,
                    r#""fsReadOnly":["/etc"],"fsReadWrite":["/tmp"]},"#,
                    r#""toolchain":{"allowedTools":["git"],"allowedCommands":["git log"]},"#,
                    r#""diff":{"maxFiles":2,"maxLines":50,"denyPathGlobs":["**/*.pem"]},"#,
                    r#""redactionLevel":"strict"}"#,
                ),
                "CORDUM_REDACTION_LEVEL=strict",
            ]
        );
    }
}
