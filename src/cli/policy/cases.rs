//! `capdeck policy test`: a policy file against what people expect of it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::{Output, safe, shown};
use crate::cli::{CliError, print};
use crate::control_plane::gateway::submission;
use crate::control_plane::kernel::evaluate::evaluate;
use crate::control_plane::kernel::policy::Policy;
use crate::control_plane::kernel::policy::expectations::{self, Case, Expected};
use crate::control_plane::kernel::velocity::Rates;
use crate::control_plane::kernel::{Question, Verdict};
use crate::ids::JobId;
use crate::time::Timestamp;

/// What came of a case.
struct Asked {
    file: PathBuf,
    case: Case,
    verdict: Verdict,
}

impl Asked {
    fn passed(&self) -> bool {
        self.case.expected.is(&self.verdict)
    }

    /// `demo/cases/demo.yaml:4: a production write waits for a person`.
    fn title(&self) -> String {
        let (file, line) = (self.file.display(), self.case.place.line);
        match self.case.name.as_str() {
            "" => format!("{file}:{line}"),
            name => format!("{file}:{line}: {}", safe(name)),
        }
    }
}

/// Asks the policy about every case, and prints where it decides otherwise.
///
/// # Errors
/// Exit code 2 for files that are no cases, 1 when a case is decided otherwise.
pub(super) fn run(policy: &Policy, cases: &Path, output: Output) -> Result<(), CliError> {
    let mut asked = Vec::new();
    for file in files(cases)? {
        ask(policy, &file, &mut asked)?;
    }
    if asked.is_empty() {
        let error = anyhow::anyhow!("there are no cases in {}", cases.display());
        return Err(CliError::usage(error).hint("see `capdeck policy test --help` for their form"));
    }
    let differ = asked.iter().filter(|asked| !asked.passed()).count();
    match output {
        Output::Table => print::out(table(&asked, differ).as_bytes()),
        Output::Json => print::line(&json(policy, &asked)?),
    }
    match differ {
        0 => Ok(()),
        n => Err(CliError::refused(anyhow::anyhow!(
            "{n} of {} cases {} decided otherwise",
            asked.len(),
            if n == 1 { "is" } else { "are" }
        ))),
    }
}

/// The files of cases, in the order of their names.
fn files(cases: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !cases.is_dir() {
        return Ok(vec![cases.to_owned()]);
    }
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(cases)? {
            let path = entry?.path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            if matches!(ending, Some("yaml" | "yml" | "json")) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    };
    read()
        .with_context(|| format!("cannot read the directory `{}`", cases.display()))
        .map_err(CliError::usage)
}

fn ask(policy: &Policy, file: &Path, asked: &mut Vec<Asked>) -> Result<(), CliError> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the cases `{}`", file.display()))
        .map_err(CliError::usage)?;
    let cases = expectations::read(&text).map_err(|error| {
        let lines: Vec<String> = error.problems.iter().map(shown).collect();
        let (file, lines) = (file.display(), lines.join("\n  "));
        CliError::usage(anyhow::anyhow!("{file} is not a file of cases: {lines}"))
    })?;
    let mut rates = Rates::default();
    for (n, case) in cases.into_iter().enumerate() {
        let mut wanted = submission::read(case.job.to_string().as_bytes())
            .with_context(|| {
                let line = case.place.line;
                format!("{}:{line}: the job of this case is no job", file.display())
            })
            .map_err(CliError::usage)?;
        if wanted.request.job_id.is_empty() {
            wanted.request.job_id = JobId::from(format!("case-{}", n + 1));
        }
        let question = Question::from(&wanted.request);
        let now = Timestamp::from_millis(0).plus(case.at);
        let verdict = evaluate(policy, &question, &mut rates, now);
        asked.push(Asked {
            file: file.to_owned(),
            case,
            verdict,
        });
    }
    Ok(())
}

fn table(asked: &[Asked], differ: usize) -> String {
    let mut out = String::new();
    for asked in asked.iter().filter(|asked| !asked.passed()) {
        out.push_str(&format!(
            "{}\n  expected  {}\n  got       {}\n",
            asked.title(),
            safe(&wanted(&asked.case.expected)),
            safe(&got(&asked.verdict, &asked.case.expected)),
        ));
    }
    let passed = asked.len() - differ;
    out.push_str(&format!("{passed} of {} cases as expected\n", asked.len()));
    out
}

fn wanted(expected: &Expected) -> String {
    let mut says = expected.decision.name().to_owned();
    if let Some(rule) = &expected.rule {
        says.push_str(&by(rule.as_deref()));
    }
    if let Some(reason) = &expected.reason {
        says.push_str(&format!(": {reason}"));
    }
    says
}

fn got(verdict: &Verdict, expected: &Expected) -> String {
    let mut says = verdict.decision.name().to_owned();
    says.push_str(&by(verdict.rule_id.as_deref()));
    if expected.reason.is_some() {
        says.push_str(&format!(": {}", verdict.reason));
    }
    says
}

fn by(rule: Option<&str>) -> String {
    match rule {
        Some(rule) => format!(" by rule {rule}"),
        None => " by no rule".to_owned(),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    kind: &'static str,
    policy_snapshot: &'a str,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    file: String,
    line: u64,
    name: &'a str,
    passed: bool,
    expected_decision: &'static str,
    decision: &'static str,
    rule_id: Option<&'a str>,
    reason: &'a str,
}

fn json(policy: &Policy, asked: &[Asked]) -> Result<String, CliError> {
    let document = Document {
        schema: "capdeck/1",
        kind: "policy_test",
        policy_snapshot: &policy.snapshot,
        items: asked
            .iter()
            .map(|asked| Item {
                file: asked.file.display().to_string(),
                line: asked.case.place.line,
                name: &asked.case.name,
                passed: asked.passed(),
                expected_decision: asked.case.expected.decision.name(),
                decision: asked.verdict.decision.name(),
                rule_id: asked.verdict.rule_id.as_deref(),
                reason: &asked.verdict.reason,
            })
            .collect(),
    };
    serde_json::to_string_pretty(&document)
        .context("cannot write the cases")
        .map_err(|error| CliError::new(crate::cli::Kind::Bug, error))
}
