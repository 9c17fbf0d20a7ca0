//! `capdeck policy diff`: which recorded decisions a change of the policy would flip.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{load, safe};
use crate::cli::sources::SourceArgs;
use crate::cli::{CliError, config, operate, print};
use crate::control_plane::kernel::evaluate::afterwards;
use crate::control_plane::kernel::policy::Policy;
use crate::control_plane::kernel::replay::{Past, Replay, replay};
use crate::control_plane::kernel::{Decision as Kernels, Question};
use crate::gateway_client::{GatewayClient, GatewayError};
use crate::headless::json::harmless;
use crate::ids::JobId;
use crate::state::model::jobs::Decision;
use crate::state::model::what_if::{Flip, WhatIf};
use crate::state::shared::text as kept;
use crate::text;
use crate::view::{Part, Prose, what_if};
use crate::wire::json::{Unknown, job_request_from_json};

/// What to do where a gateway keeps no log.
const NO_LOG: &str = "give --decisions FILE; `capdeck policy diff --help` shows its form";

/// Jobs that a gateway is asked for at the same time.
const AT_ONCE: usize = 8;
/// Records of a file are read up to this length, 4 MiB: a request of 2 MiB and what
/// stands around it.
const MAX_RECORD: usize = 4 << 20;

pub(super) const HELP: &str = "\
Exit code: 0 when nothing flips, 1 when something does or a file is no policy, 2 when a
file cannot be read or no decision is recorded, 3 when the gateway cannot be reached.

Each job is asked once, about its stored request, under OLD and under NEW. Rates are
not counted again: a rule with a velocity fires where it is the one on record, and
nowhere else. A job whose request is not stored is counted as unknown, never assumed
to stay.

--decisions takes one JSON document a line, the latest first:

  {\"job_id\": \"j1\", \"rule_id\": \"ask-prod\", \"request\": {\"jobId\": \"j1\", \"topic\": \"job.ops.restart\"}}

`request` is the protojson of the stored request, as GET /api/v1/jobs/{id} of capdeck's
gateway tells it; without it the line counts as unknown. `rule_id` is the rule that
decided and may be left out. The answers of GET /api/v1/jobs/{id} are such lines:

  curl -s $CORDUM_GATEWAY/api/v1/governance/decisions | jq -r '.items[].job_id' | sort -u |
    while read id; do curl -s $CORDUM_GATEWAY/api/v1/jobs/$id | jq -c .; done > decisions.jsonl";

#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The policy file that is in force
    old: PathBuf,
    /// The policy file that would take its place
    new: PathBuf,
    /// Read recorded decisions from this file, instead of asking a gateway
    #[arg(long, value_name = "FILE", conflicts_with = "gateway")]
    decisions: Option<PathBuf>,
    /// Ask about at most so many jobs, those that were decided last
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The gateway whose decisions are read, http://host:port; else CORDUM_GATEWAY. Its key: CORDUM_API_KEY
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// The context of the configuration file; else the current one, where nothing else names a gateway
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// One JSON document a flip and line
    Jsonl,
}

/// A decision on record.
struct Recorded {
    job: JobId,
    rule_id: Option<String>,
    question: Option<Question>,
}

/// Compares, prints, and ends with exit code 1 if something flips.
pub(super) fn run(args: &DiffArgs) -> Result<(), CliError> {
    let old = load(&args.old)?;
    let new = load(&args.new)?;
    let limit = args.limit as usize;
    let (recorded, from) = match &args.decisions {
        Some(file) => (from_file(file, limit)?, file.display().to_string()),
        None => {
            let wanted = SourceArgs {
                gateway: args.gateway.clone(),
                context: args.context.clone(),
                ..SourceArgs::default()
            };
            let servers = wanted.deployment(&config::load()?)?.servers;
            let Some(server) = &servers.gateway else {
                return Err(CliError::usage(anyhow!("no recorded decisions are given"))
                    .hint("give --gateway URL, or set CORDUM_GATEWAY")
                    .hint(
                        "or give --decisions FILE; `capdeck policy diff --help` shows its form",
                    ));
            };
            let client = operate::client(server)?;
            let from = client.url().to_owned();
            (operate::block_on(from_gateway(client, limit))?, from)
        }
    };
    if recorded.is_empty() {
        let error = anyhow!("no decision is recorded in {}", safe(&from));
        return Err(CliError::usage(error));
    }
    let found = compare(&old, &new, recorded, limit);
    let known = as_shown(&found, &args.new);
    match args.output {
        Output::Table => print::out(table(&known, &args.old).as_bytes()),
        Output::Json => {
            let document = document(&found, &known, &old, &new);
            let text = serde_json::to_string_pretty(&document).unwrap_or_default();
            print::line(&harmless(&text));
        }
        Output::Jsonl => {
            for flip in items(&found) {
                let mut line = json!({"schema": "capdeck/1", "kind": "policy_flip"});
                if let (Value::Object(line), Value::Object(fields)) = (&mut line, flip) {
                    line.extend(fields);
                }
                print::line(&harmless(&line.to_string()));
            }
        }
    }
    match known.flipped() {
        0 => Ok(()),
        1 => Err(CliError::refused(anyhow!(
            "1 of {} recorded decisions flips",
            known.considered
        ))),
        n => Err(CliError::refused(anyhow!(
            "{n} of {} recorded decisions flip",
            known.considered
        ))),
    }
}

/// What was decided is what the old policy says: the change alone is compared.
fn compare(old: &Policy, new: &Policy, recorded: Vec<Recorded>, limit: usize) -> Replay {
    let past = recorded.into_iter().map(|it| {
        let verdict = it
            .question
            .as_ref()
            .map(|question| afterwards(old, question, it.rule_id.as_deref()));
        Past {
            job: it.job,
            was: verdict.as_ref().map(|verdict| verdict.decision),
            rule_id: verdict.and_then(|verdict| verdict.rule_id),
            question: it.question,
        }
    });
    replay(new, past, limit)
}

/// One line of a file: a record of its own, or what a gateway tells of a job.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    job_id: String,
    /// As a gateway names the job, beside the other name or alone.
    #[serde(default)]
    id: String,
    #[serde(default)]
    rule_id: Option<String>,
    #[serde(default)]
    matched_rule: Option<String>,
    #[serde(default)]
    safety_rule_id: Option<String>,
    #[serde(default)]
    request: Option<Value>,
}

fn from_file(file: &Path, limit: usize) -> Result<Vec<Recorded>, CliError> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the decisions `{}`", file.display()))
        .map_err(CliError::usage)?;
    let mut recorded = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || recorded.len() == limit {
            continue;
        }
        let bad = |says: String| {
            let place = format!("{}:{}", file.display(), at + 1);
            CliError::usage(anyhow!("{}: {}", safe(&place), safe(&says)))
                .hint("see `capdeck policy diff --help` for the form of a line")
        };
        if line.len() > MAX_RECORD {
            return Err(bad(format!("the line is longer than {MAX_RECORD} bytes")));
        }
        let read: Line = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        let job = match read.job_id.is_empty() {
            true => read.id,
            false => read.job_id,
        };
        if job.is_empty() {
            return Err(bad("job_id is missing or empty".to_owned()));
        }
        if !seen.insert(job.clone()) {
            continue;
        }
        let request = read.request.filter(|request| !request.is_null());
        let question = match request {
            Some(request) => Some(question(&request).map_err(|says| {
                let says = format!("request is not a stored request: {says}");
                bad(says)
            })?),
            None => None,
        };
        recorded.push(Recorded {
            job: JobId::from(job),
            rule_id: [read.rule_id, read.matched_rule, read.safety_rule_id]
                .into_iter()
                .flatten()
                .find(|rule| !rule.is_empty()),
            question,
        });
    }
    Ok(recorded)
}

fn question(request: &Value) -> Result<Question, String> {
    let (request, _) = job_request_from_json(request.to_string().as_bytes(), Unknown::Ignore)
        .map_err(|error| error.to_string())?;
    Ok(Question::from(&request))
}

async fn from_gateway(client: GatewayClient, limit: usize) -> Result<Vec<Recorded>, CliError> {
    let mut jobs: Vec<(JobId, Option<String>)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut cursor = None;
    while jobs.len() < limit {
        let page = client
            .logged_decisions(cursor.as_deref())
            .await
            .map_err(|error| operate::no_log(&error, NO_LOG))?;
        for item in &page.items {
            if !item.job_id.is_empty() && seen.insert(item.job_id.clone()) {
                let rule = Some(item.matched_rule.clone()).filter(|rule| !rule.is_empty());
                jobs.push((item.job_id.clone(), rule));
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() || page.items.is_empty() {
            break;
        }
    }
    jobs.truncate(limit);
    let client = Arc::new(client);
    let mut recorded = Vec::new();
    for some in jobs.chunks(AT_ONCE) {
        let asked = some.iter().map(|(job, rule)| {
            let client = Arc::clone(&client);
            async move { (job, rule, client.job(job).await) }
        });
        for (job, rule, answer) in futures_util::future::join_all(asked).await {
            let question = match answer {
                // A gateway that keeps the request to itself, or one that cannot be
                // read, leaves the decision unknown.
                Ok(detail) => detail
                    .request
                    .as_ref()
                    .and_then(|request| question(request).ok()),
                Err(GatewayError::NotFound { .. }) => None,
                Err(error) => return Err(operate::refusal(&error, "read", job, None)),
            };
            recorded.push(Recorded {
                job: job.clone(),
                rule_id: rule.clone(),
                question,
            });
        }
    }
    Ok(recorded)
}

fn shown(decision: Kernels) -> Option<Decision> {
    Decision::read(decision.name())
}

fn as_shown(found: &Replay, new: &Path) -> WhatIf {
    let file = new.file_name().unwrap_or(new.as_os_str()).to_string_lossy();
    WhatIf {
        file: Arc::from(&*file),
        considered: found.considered as u64,
        stays: found.stays as u64,
        unknown: (found.without_request + found.without_verdict) as u64,
        without_verdict: found.without_verdict as u64,
        flips: found
            .flips
            .iter()
            .map(|flip| Flip {
                was: shown(flip.was),
                would_be: shown(flip.would_be),
                rule_id: flip.rule_id.as_deref().and_then(kept),
                reason: kept(&flip.reason),
                jobs: flip.jobs.clone(),
                tags: flip
                    .tags
                    .iter()
                    .map(|tag| Arc::from(tag.as_str()))
                    .collect(),
            })
            .collect(),
    }
}

fn table(known: &WhatIf, old: &Path) -> String {
    let mut out = format!(
        "{} in place of {}\n",
        plain(&what_if::title(known)),
        safe(&old.display().to_string())
    );
    if !known.flips.is_empty() {
        let header = ["WAS", "WOULD BE", "JOBS", "BY RULE", "FIRST REASON", "…JOB"];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(known.flips.iter().map(|flip| {
            let job = flip.jobs.first().map_or("", JobId::as_str);
            [
                what_if::word(flip.was).to_owned(),
                what_if::word(flip.would_be).to_owned(),
                text::thousands(flip.jobs.len() as u64),
                flip.rule_id.as_deref().map_or("no rule".to_owned(), safe),
                flip.reason.as_deref().map_or("—".to_owned(), safe),
                safe(text::id_tail(job)),
            ]
        }));
        out.push('\n');
        out.push_str(&aligned(&rows));
    }
    let says = what_if::lost(known);
    if !says.is_empty() {
        out.push_str(&format!("\n{}\n", plain(&says)));
    }
    let unknown = what_if::unknown(known);
    if !unknown.is_empty() {
        out.push_str(&format!("\n{}\n", plain(&unknown).trim_start()));
    }
    out
}

/// Columns two blanks apart; numbers stand at the right of theirs.
fn aligned(rows: &[[String; 6]]) -> String {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(text::width(cell));
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (width, cell)) in widths.iter().zip(row).enumerate() {
            let pad = " ".repeat(width.saturating_sub(text::width(cell)));
            if at == 2 {
                line.push_str(&format!("{pad}{cell}  "));
            } else {
                line.push_str(&format!("{cell}{pad}  "));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn plain(prose: &Prose) -> String {
    let parts = prose.0.iter().map(|part| match part {
        Part::Own(text) | Part::Strong(text) | Part::Aside(text) => text.clone(),
        Part::Outside(text) => safe(text),
    });
    parts.collect()
}

fn items(found: &Replay) -> Vec<Value> {
    let flips = found.flips.iter().map(|flip| {
        json!({
            "was": flip.was.name(),
            "would_be": flip.would_be.name(),
            "rule_id": flip.rule_id,
            "reason": flip.reason,
            "jobs": flip.jobs.iter().map(JobId::as_str).collect::<Vec<_>>(),
            "risk_tags": flip.tags,
        })
    });
    flips.collect()
}

fn document(found: &Replay, known: &WhatIf, old: &Policy, new: &Policy) -> Value {
    json!({
        "schema": "capdeck/1",
        "kind": "policy_diff",
        "policy_snapshot": old.snapshot,
        "candidate_snapshot": new.snapshot,
        "considered": known.considered,
        "flips": known.flipped(),
        "stays": known.stays,
        "unknown": known.unknown,
        "lost_human_decisions": known.lost(Flip::loses_a_person).0,
        "lost_denials": known.lost(Flip::loses_a_deny).0,
        "items": items(found),
    })
}
