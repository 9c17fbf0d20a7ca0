//! `capdeck approve` and `capdeck reject`: a person's decision, scriptable.

use anyhow::anyhow;
use serde_json::json;

use crate::cli::operate::{self, Operator, Output, ServerArgs, shown};
use crate::cli::{CliError, Kind, print};
use crate::gateway_client::types::{Decided, Decision, Expect, JobDetail};
use crate::gateway_client::{GatewayClient, GatewayError};
use crate::ids::JobId;
use crate::text;
use crate::wire::job_hash::job_hash;
use crate::wire::json::{Unknown, job_request_from_json};

/// What `capdeck approve` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ApproveArgs {
    /// The job
    id: String,
    /// A remark for the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Approve only if this is the job hash
    #[arg(long, value_name = "HASH")]
    job_hash: Option<String>,
    /// Approve only if this is the policy snapshot that judged the job
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// What `capdeck reject` takes.
#[derive(Debug, clap::Args)]
pub(super) struct RejectArgs {
    /// The job
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, clap::Args)]
struct CommonArgs {
    /// Who decides; else CAPDECK_OPERATOR, else user@host
    #[arg(long = "as", value_name = "NAME")]
    operator: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    servers: ServerArgs,
}

/// Approves.
pub(super) fn approve(args: &ApproveArgs) -> Result<(), CliError> {
    let note = args.note.clone().unwrap_or_default();
    let pinned = Expect {
        job_hash: args.job_hash.clone(),
        policy_snapshot: args.snapshot.clone(),
        context_sha256: None,
    };
    decide(&args.id, Verdict::Approve { note, pinned }, &args.common)
}

/// Rejects.
pub(super) fn reject(args: &RejectArgs) -> Result<(), CliError> {
    let reason = args.reason.clone();
    if reason.trim().is_empty() {
        return Err(CliError::usage(anyhow!("a rejection needs a reason")));
    }
    decide(&args.id, Verdict::Reject { reason }, &args.common)
}

enum Verdict {
    Approve { note: String, pinned: Expect },
    Reject { reason: String },
}

impl Verdict {
    fn verb(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "approve",
            Self::Reject { .. } => "reject",
        }
    }

    fn done(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "approved",
            Self::Reject { .. } => "rejected",
        }
    }
}

fn decide(id: &str, verdict: Verdict, common: &CommonArgs) -> Result<(), CliError> {
    let id = JobId::from(id);
    let client = operate::gateway(&common.servers.servers()?, verdict.verb())?;
    let operator = Operator::new(common.operator.as_deref())?;
    operate::block_on(async {
        let job = client
            .job(&id)
            .await
            .map_err(|error| operate::refusal(&error, verdict.done(), &id, None))?;
        let decision = match &verdict {
            Verdict::Approve { note, pinned } => Decision {
                operator: operator.name.clone(),
                note: note.clone(),
                expect: compared(&job, pinned).map_err(|error| refused(&error, &id))?,
                ..Decision::default()
            },
            // A rejection is safe whatever the request became, so it binds to nothing.
            Verdict::Reject { reason } => Decision {
                operator: operator.name.clone(),
                reason: reason.clone(),
                ..Decision::default()
            },
        };
        let detail = [
            ("gateway", client.url()),
            ("note", &decision.note),
            ("reason", &decision.reason),
            ("topic", &job.record.topic),
            ("job_hash", &job.safety_job_hash),
            ("policy_snapshot", &job.record.safety_snapshot),
        ];
        let receipt = operator.record(verdict.verb(), &id, &detail)?;
        let result = match &verdict {
            Verdict::Approve { .. } => client.approve(&id, &decision).await,
            Verdict::Reject { .. } => client.reject(&id, &decision).await,
        };
        let result = settled(&client, &id, &verdict, &operator, result).await;
        operator.outcome_of(&receipt, &result);
        match result {
            Ok(decided) if decided.was_decided_before() => Err(came_second(&id, &decided)),
            Ok(decided) => {
                report(&job, &verdict, &operator, &decided, common.output);
                Ok(())
            }
            Err(error) => {
                let now = match &error {
                    GatewayError::Conflict { .. } => client.job(&id).await.ok(),
                    _ => None,
                };
                Err(operate::refusal(&error, verdict.done(), &id, now.as_ref()))
            }
        }
    })
}

/// What the approval is bound to, after comparing it with what the caller saw
/// and the stored request with what policy judged.
fn compared(job: &JobDetail, pinned: &Expect) -> Result<Expect, String> {
    let judged = &job.safety_job_hash;
    let snapshot = &job.record.safety_snapshot;
    for (name, wanted, have) in [
        ("job hash", &pinned.job_hash, judged),
        ("policy snapshot", &pinned.policy_snapshot, snapshot),
    ] {
        match wanted {
            Some(_) if have.is_empty() => {
                return Err(format!("the gateway does not tell its {name}"));
            }
            Some(wanted) if wanted != have => {
                return Err(format!(
                    "its {name} is {}, not {}",
                    shown(have),
                    shown(wanted)
                ));
            }
            _ => {}
        }
    }
    if let Some(stored) = &job.request
        && !judged.is_empty()
    {
        let (request, _) = job_request_from_json(stored.to_string().as_bytes(), Unknown::Ignore)
            .map_err(|error| format!("its stored request cannot be read: {}", error.says))?;
        let hash = job_hash(&request);
        if hash.as_str() != judged {
            return Err(format!(
                "its stored request does not hash to what policy judged ({}, judged {})",
                text::digest(hash.as_str()),
                text::digest(judged)
            ));
        }
    }
    let known = |text: &String| (!text.is_empty()).then(|| text.clone());
    Ok(Expect {
        job_hash: known(judged),
        policy_snapshot: known(snapshot),
        context_sha256: None,
    })
}

fn refused(why: &str, id: &JobId) -> CliError {
    CliError::refused(anyhow!(
        "{} was not approved: {why}; nothing was sent",
        shown(id.as_str())
    ))
    .hint("look at the job again; `capdeck reject` ends it")
}

/// When no answer came, asks the job whether it was decided.
async fn settled(
    client: &GatewayClient,
    id: &JobId,
    verdict: &Verdict,
    operator: &Operator,
    result: Result<Decided, GatewayError>,
) -> Result<Decided, GatewayError> {
    let Err(GatewayError::TimedOut { .. }) = &result else {
        return result;
    };
    print::note("no answer came; asking whether it was decided");
    match client.job(id).await {
        Ok(job)
            if job.approval_by == operator.name
                && (job.approval_decision == verdict.verb()
                    || job.approval_status == verdict.done()) =>
        {
            Ok(Decided {
                job_id: id.clone(),
                trace_id: job.record.trace_id,
                ..Decided::default()
            })
        }
        _ => result,
    }
}

fn came_second(id: &JobId, decided: &Decided) -> CliError {
    let who = match decided.earlier_by.as_str() {
        "" => "somebody".to_owned(),
        who => shown(who),
    };
    let what = decided.status.trim_start_matches("already_");
    let at = decided
        .earlier_at
        .map_or_else(String::new, |at| format!(", at {}", text::clock(at)));
    CliError::new(
        Kind::Refused,
        anyhow!("{who} {} {} already{at}", shown(what), shown(id.as_str())),
    )
    .hint("yours changed nothing")
}

fn report(
    job: &JobDetail,
    verdict: &Verdict,
    operator: &Operator,
    decided: &Decided,
    output: Output,
) {
    let record = &job.record;
    if output == Output::Json {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (note, reason) = match verdict {
            Verdict::Approve { note, .. } => (known(note), None),
            Verdict::Reject { reason } => (None, known(reason)),
        };
        operate::print_json(
            "decision",
            json!({
                "job_id": record.id.as_str(),
                "decision": verdict.verb(),
                "operator": operator.name,
                "note": note,
                "reason": reason,
                "trace_id": known(decided.trace_id.as_str()),
                "topic": known(&record.topic),
                "job_hash": known(&job.safety_job_hash),
                "policy_snapshot": known(&record.safety_snapshot),
                "bound": decided.bound,
            }),
        );
        return;
    }
    let rule = match record.safety_rule_id.as_str() {
        "" => String::new(),
        rule => format!(", held by rule {}", shown(rule)),
    };
    print::line(&format!(
        "{} {} ({}{rule})",
        verdict.done(),
        shown(record.id.as_str()),
        shown(&record.topic)
    ));
    if matches!(verdict, Verdict::Approve { .. }) && !decided.bound {
        print::note("note: this gateway does not compare what was approved with what is stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(request: &str) -> JobDetail {
        let (parsed, _) =
            job_request_from_json(request.as_bytes(), Unknown::Refuse).expect("a request");
        let mut job = JobDetail {
            safety_job_hash: job_hash(&parsed).to_string(),
            request: serde_json::from_str(request).ok(),
            ..JobDetail::default()
        };
        job.record.safety_snapshot = "v1:ab".to_owned();
        job
    }

    const REQUEST: &str = r#"{"jobId":"j-1","topic":"job.a","labels":{"a":""}}"#;

    #[test]
    fn an_approval_is_bound_to_the_hash_and_the_snapshot_that_were_read() {
        let job = job(REQUEST);
        let expect = compared(&job, &Expect::default()).expect("unchanged");
        assert_eq!(expect.job_hash.as_ref(), Some(&job.safety_job_hash));
        assert_eq!(expect.policy_snapshot.as_deref(), Some("v1:ab"));
        let pinned = Expect {
            job_hash: Some(job.safety_job_hash.clone()),
            ..Expect::default()
        };
        assert!(compared(&job, &pinned).is_ok());
        assert!(compared(&JobDetail::default(), &Expect::default()).is_ok());
    }

    #[test]
    fn what_moved_since_it_was_read_is_not_approved() {
        let says = |job: &JobDetail, hash: Option<&str>, snapshot: Option<&str>| {
            let pinned = Expect {
                job_hash: hash.map(str::to_owned),
                policy_snapshot: snapshot.map(str::to_owned),
                context_sha256: None,
            };
            compared(job, &pinned).expect_err("moved")
        };
        assert!(says(&job(REQUEST), Some("00"), None).starts_with("its job hash is "));
        assert_eq!(
            says(&job(REQUEST), None, Some("v1:cd")),
            "its policy snapshot is v1:ab, not v1:cd"
        );
        assert_eq!(
            says(&JobDetail::default(), Some("00"), None),
            "the gateway does not tell its job hash"
        );
        let mut changed = job(REQUEST);
        changed.request = serde_json::from_str(&REQUEST.replace("job.a", "job.b")).ok();
        assert!(
            says(&changed, None, None).starts_with("its stored request does not hash to"),
            "a request that somebody changed"
        );
    }
}
