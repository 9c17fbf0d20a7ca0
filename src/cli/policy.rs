//! `capdeck policy`: is a policy file good, and what does it say of a job.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::submit::document;
use crate::cli::{CliError, print};
use crate::config::servers::environment;
use crate::control_plane::gateway::submission;
use crate::control_plane::kernel::cover::unreachable;
use crate::control_plane::kernel::explain::{Explanation, Outcome, RuleTrace, explain};
use crate::control_plane::kernel::live::{PolicyFileError, read_file};
use crate::control_plane::kernel::policy::{Policy, PolicyError, Problem};
use crate::control_plane::kernel::signature::PolicyKey;
use crate::control_plane::kernel::velocity::Rates;
use crate::control_plane::kernel::{Constraints, Decision, Question, Remediation};
use crate::text::Shown;
use crate::time::{Clock as _, SystemClock};

mod cases;
mod diff;

/// What `capdeck policy` takes.
#[derive(Debug, clap::Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    verb: PolicyVerb,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyVerb {
    /// Check a policy file; exit code 1 and every problem with its place if it is bad
    Check {
        /// The policy file
        file: PathBuf,
        /// Exit with code 1 also where something is allowed but probably not meant
        #[arg(long)]
        strict: bool,
    },
    /// Ask a policy file about the cases of files, and exit with code 1 if one is decided otherwise
    #[command(after_help = TEST_HELP)]
    Test {
        /// The policy file
        file: PathBuf,
        /// A file of cases, or a directory of files named *.yaml, *.yml or *.json
        #[arg(long, value_name = "DIR")]
        cases: PathBuf,
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// List the recorded decisions that a change from OLD to NEW would flip, and exit with code 1 if there are any
    #[command(after_help = diff::HELP)]
    Diff(diff::DiffArgs),
    /// Explain, rule by rule, what a policy file says of a job
    Explain {
        /// The policy file
        file: PathBuf,
        /// The job: the body of POST /api/v1/jobs, a JobRequest as protojson, or an envelope
        #[arg(long, value_name = "FILE")]
        job: PathBuf,
        /// How to print
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

const TEST_HELP: &str = "\
A file of cases is YAML or JSON:

  cases:
    - name: a production write waits for a person
      job: {topic: job.mcp.update, risk_tags: [prod], labels: {mcp.action: write}}
      expect: {decision: require_approval, rule: approval-prod-write}

`job` is whatever can be submitted; `rule` and `reason` may be left out, and an
empty rule is no rule. For rates, `at` is the second in which a case is asked; the
cases of a file follow each other, and a job without a job_id is a new one.";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// For people
    Table,
    /// One JSON document
    Json,
}

/// Runs it.
pub(super) fn run(args: &PolicyArgs) -> Result<(), CliError> {
    match &args.verb {
        PolicyVerb::Check { file, strict } => check(file, *strict),
        PolicyVerb::Test {
            file,
            cases,
            output,
        } => cases::run(&load(file)?, cases, *output),
        PolicyVerb::Diff(args) => diff::run(args),
        PolicyVerb::Explain { file, job, output } => {
            let policy = load(file)?;
            let question = question(job)?;
            // Nothing came before this job.
            let explained = explain(&policy, &question, &Rates::default(), SystemClock.now());
            match output {
                Output::Table => print::out(table(&explained, &question).as_bytes()),
                Output::Json => print::line(&json(&explained, &question)?),
            }
            Ok(())
        }
    }
}

fn check(file: &Path, strict: bool) -> Result<(), CliError> {
    let policy = load(file)?;
    let mut warnings = policy.warnings.clone();
    warnings.extend(unreachable(&policy));
    warnings.sort_by_key(|warning| warning.place);
    let mut warnings: Vec<String> = warnings.iter().map(shown).collect();
    warnings.extend(unsigned(file)?);
    for warning in &warnings {
        print::note(&format!("warning: {}: {warning}", file.display()));
    }
    print::line(&summary(file, &policy));
    match warnings.len() {
        n if strict && n > 0 => Err(CliError::refused(anyhow::anyhow!(
            "{} is good, but has {n} warning{}",
            file.display(),
            if n == 1 { "" } else { "s" }
        ))),
        _ => Ok(()),
    }
}

/// A bad policy is what was asked about (exit code 1); a file that cannot be
/// read is a mistake of the call (exit code 2). Whether it is signed does not
/// matter here: a policy is tried before it is signed.
fn load(file: &Path) -> Result<Policy, CliError> {
    read_file(file, None).map_err(|error| match error {
        PolicyFileError::Invalid { path, source } => CliError::refused(invalid(&path, &source)),
        error => CliError::usage(error),
    })
}

/// What keeps a good policy from being taken for signed; `None` where no key asks
/// for a signature, and where it is good.
fn unsigned(file: &Path) -> Result<Option<String>, CliError> {
    let Some(key) = key()? else { return Ok(None) };
    let says = match read_file(file, Some(&key)) {
        Ok(_) => return Ok(None),
        Err(PolicyFileError::Unsigned { path, .. }) => {
            format!("there is no signature in {}", path.display())
        }
        Err(PolicyFileError::BadSignature { path, source }) => {
            format!("{}: {source}", path.display())
        }
        Err(error) => return Err(CliError::usage(error)),
    };
    Ok(Some(format!("SAFETY_POLICY_PUBLIC_KEY is set, and {says}")))
}

/// The key that policies must be signed by; `None` if the environment names none.
///
/// # Errors
/// Exit code 2 when what it names is no key.
pub(super) fn key() -> Result<Option<PolicyKey>, CliError> {
    let Some(text) = environment("SAFETY_POLICY_PUBLIC_KEY") else {
        return Ok(None);
    };
    PolicyKey::parse(&text)
        .map(Some)
        .context("SAFETY_POLICY_PUBLIC_KEY cannot be used")
        .map_err(CliError::usage)
}

/// Every problem of a bad policy file with its place.
pub(super) fn invalid(path: &Path, error: &PolicyError) -> anyhow::Error {
    let lines: Vec<String> = error.problems.iter().map(shown).collect();
    anyhow::anyhow!("{} is not a policy: {}", path.display(), lines.join("\n  "))
}

fn question(job: &Path) -> Result<Question, CliError> {
    let body = std::fs::read(job)
        .with_context(|| format!("cannot read the job file `{}`", job.display()))
        .map_err(CliError::usage)?;
    // The reader of `submit` tells the place of what is wrong; this one what a gateway
    // would make of the job.
    document::read(&safe(&job.display().to_string()), &body)?;
    let wanted = submission::read(&body)
        .with_context(|| format!("`{}` is not a job", job.display()))
        .map_err(CliError::usage)?;
    for name in &wanted.ignored {
        print::note(&format!("warning: {} is not read", safe(name)));
    }
    Ok(Question::from(&wanted.request))
}

/// The file in one paragraph.
fn summary(file: &Path, policy: &Policy) -> String {
    let mut counts = Vec::new();
    for decision in [
        Decision::Allow,
        Decision::AllowWithConstraints,
        Decision::RequireApproval,
        Decision::Throttle,
        Decision::Deny,
    ] {
        let count = policy
            .rules
            .iter()
            .filter(|rule| rule.decision == decision)
            .count();
        if count > 0 {
            counts.push(format!("{count} {}", decision.name()));
        }
    }
    let rules = match policy.rules.len() {
        0 => "no rules".to_owned(),
        1 => format!("1 rule ({})", counts.join(", ")),
        n => format!("{n} rules ({})", counts.join(", ")),
    };
    format!(
        "{} is good: {rules}; what no rule matches is {}. A request that names no tenant belongs \
         to {}. Snapshot {}",
        file.display(),
        match policy.default_decision {
            Decision::Allow => "allowed",
            Decision::Deny
            | Decision::RequireApproval
            | Decision::Throttle
            | Decision::AllowWithConstraints => "denied",
        },
        safe(&policy.default_tenant),
        safe(&policy.snapshot),
    )
}

/// A problem with what the file's author wrote made visible.
fn shown(problem: &Problem) -> String {
    safe(&problem.to_string())
}

/// Text of others on a terminal: control characters shown, never obeyed.
pub(super) fn safe(text: &str) -> String {
    Shown::line(text).as_str().to_owned()
}

fn table(explained: &Explanation, question: &Question) -> String {
    let verdict = &explained.verdict;
    let mut out = format!("{} {}", safe(&question.topic), verdict.decision.name());
    match &verdict.rule_id {
        Some(rule) => out.push_str(&format!(" by rule {}", safe(rule))),
        None => out.push_str(" by no rule"),
    }
    out.push_str(&format!(
        "\nreason    {}\ntenant    {}\nsnapshot  {}\n",
        safe(&verdict.reason),
        safe(&explained.tenant),
        safe(&verdict.snapshot)
    ));
    if let Some(constraints) = &verdict.constraints {
        let json = serde_json::to_string(constraints).unwrap_or_default();
        out.push_str(&format!("limits    {}\n", safe(&json)));
    }
    for remediation in &verdict.remediations {
        let says = [&remediation.title, &remediation.summary]
            .into_iter()
            .find(|text| !text.is_empty());
        out.push_str(&format!(
            "instead   {} {}\n",
            safe(&remediation.id),
            safe(says.map_or("", String::as_str))
        ));
    }
    let rows: Vec<[String; 6]> = explained.rules.iter().flat_map(rows_of).collect();
    let header = ["RULE", "WOULD", "OUTCOME", "FIELD", "WANTED", "SEEN"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(crate::text::width(cell));
        }
    }
    out.push('\n');
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(&row) {
            line.push_str(cell);
            let pad = width.saturating_sub(crate::text::width(cell)) + 2;
            line.extend(std::iter::repeat_n(' ', pad));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let otherwise: Vec<String> = explained
        .rules
        .iter()
        .filter(|rule| rule.outcome == Outcome::WouldDecideOtherwise)
        .map(|rule| format!("{} would {}", safe(&rule.id), rule.decision.name()))
        .collect();
    if !otherwise.is_empty() {
        out.push_str(&format!(
            "\nwithout that rule: {} (in this order)\n",
            otherwise.join(", ")
        ));
    }
    out
}

fn rows_of(rule: &RuleTrace) -> Vec<[String; 6]> {
    let first = [
        safe(&rule.id),
        rule.decision.name().to_owned(),
        rule.outcome.says().to_owned(),
    ];
    if rule.facts.is_empty() {
        let [id, would, outcome] = first;
        let anything = "matches everything".to_owned();
        return vec![[id, would, outcome, anything, String::new(), String::new()]];
    }
    let mut first = Some(first);
    rule.facts
        .iter()
        .map(|fact| {
            let [id, would, outcome] = first.take().unwrap_or_default();
            let mark = if fact.holds { "+" } else { "-" };
            let seen = match fact.seen.as_str() {
                "" => "nothing".to_owned(),
                seen => safe(seen),
            };
            let field = format!("{mark} {}", safe(&fact.field));
            [id, would, outcome, field, safe(&fact.wanted), seen]
        })
        .collect()
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    kind: &'static str,
    topic: &'a str,
    tenant: &'a str,
    decision: &'static str,
    rule_id: Option<&'a str>,
    reason: &'a str,
    policy_snapshot: &'a str,
    constraints: &'a Option<Constraints>,
    remediations: &'a [Remediation],
    rules: Vec<RuleItem<'a>>,
}

#[derive(Serialize)]
struct RuleItem<'a> {
    rule_id: &'a str,
    line: u64,
    decision: &'static str,
    outcome: &'static str,
    facts: Vec<FactItem<'a>>,
}

#[derive(Serialize)]
struct FactItem<'a> {
    field: &'a str,
    wanted: &'a str,
    seen: &'a str,
    holds: bool,
}

fn json(explained: &Explanation, question: &Question) -> Result<String, CliError> {
    let verdict = &explained.verdict;
    let document = Document {
        schema: "capdeck/1",
        kind: "policy_explanation",
        topic: &question.topic,
        tenant: &explained.tenant,
        decision: verdict.decision.name(),
        rule_id: verdict.rule_id.as_deref(),
        reason: &verdict.reason,
        policy_snapshot: &verdict.snapshot,
        constraints: &verdict.constraints,
        remediations: &verdict.remediations,
        rules: explained
            .rules
            .iter()
            .map(|rule| RuleItem {
                rule_id: &rule.id,
                line: rule.place.line,
                decision: rule.decision.name(),
                outcome: match rule.outcome {
                    Outcome::Decides => "decides",
                    Outcome::DoesNotMatch => "no_match",
                    Outcome::Agrees => "shadowed_agrees",
                    Outcome::WouldDecideOtherwise => "shadowed_differs",
                    Outcome::NotAsked => "not_asked",
                },
                facts: rule
                    .facts
                    .iter()
                    .map(|fact| FactItem {
                        field: &fact.field,
                        wanted: &fact.wanted,
                        seen: &fact.seen,
                        holds: fact.holds,
                    })
                    .collect(),
            })
            .collect(),
    };
    serde_json::to_string_pretty(&document)
        .context("cannot write the explanation")
        .map_err(|error| CliError::new(crate::cli::Kind::Bug, error))
}
