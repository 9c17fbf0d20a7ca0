//! `capdeck get decisions`: what policy said, from the log of a gateway, or all that is
//! kept about one job.
//!
//! No packet carries a decision and the model keeps only counts of them, so this asks
//! the gateway itself.

use std::collections::BTreeSet;

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use super::{GetArgs, Output, WATCH_LOG, bad_filter};
use crate::cli::{CliError, Kind as ErrorKind, operate, print};
use crate::gateway_client::types::{DecisionRecord, JobDetail, LoggedDecision};
use crate::gateway_client::{GatewayClient, GatewayError};
use crate::headless::json::{SCHEMA, harmless};
use crate::headless::table::lay_out;
use crate::ids::JobId;
use crate::state::filter::{DECISIONS, Field, Filter, Subject};
use crate::state::model::jobs::Decision;
use crate::time::{Clock as _, SystemClock, Timestamp, sleep};

/// What to do where a gateway keeps no log.
const NO_LOG: &str = "`capdeck get decisions ID` asks for those about one job";

/// Pages of 500 records that are read of a log at most, the latest.
const PAGES: usize = 4;

const COLUMNS: [(&str, &str); 8] = [
    ("AT", "checked_at"),
    ("TIMES", "times"),
    ("DECISION", "decision"),
    ("RULE", "rule_id"),
    ("JOB", "job_id"),
    ("TOPIC", "topic"),
    ("CHECK", "check"),
    ("REASON", "reason"),
];

/// A decision as it is printed.
struct Made {
    item: Map<String, Value>,
    at: Option<Timestamp>,
}

impl Made {
    /// What the log of a gateway tells; the rest is not known.
    fn logged(of: &LoggedDecision) -> Self {
        let decision = Decision::read(&of.verdict);
        let held = decision.map(|it| it == Decision::RequireApproval);
        Self::of(
            json!({
                "job_id": of.job_id.as_str(),
                "topic": known(&of.topic),
                "tenant_id": known(&of.tenant),
                "actor_id": known(&of.agent_id),
                "decision": decision.map(Decision::name),
                "reason": known(&of.reason),
                "rule_id": known(&of.matched_rule),
                "policy_snapshot": known(&of.policy_version),
                "constraints": of.constraints,
                "approval_required": held,
                "approval_ref": null,
                "approval_status": known(&of.approval_status),
                "approval_decision": known(&of.approval_decision),
                "job_hash": null,
                "remediations": null,
                "check": known(&of.check),
                "times": of.times.unwrap_or(1),
                "first_checked_at": first(of.first_timestamp, of.timestamp),
            }),
            of.timestamp,
        )
    }

    /// What is kept with a job.
    fn kept(of: &DecisionRecord, job: &JobDetail) -> Self {
        let record = &job.record;
        Self::of(
            json!({
                "job_id": record.id.as_str(),
                "topic": known(&record.topic),
                "tenant_id": known(&record.tenant),
                "actor_id": known(&record.actor_id),
                "decision": Decision::read(&of.decision).map(Decision::name),
                "reason": known(&of.reason),
                "rule_id": known(&of.rule_id),
                "policy_snapshot": known(&of.policy_snapshot),
                "constraints": of.constraints,
                "approval_required": of.approval_required,
                "approval_ref": known(&of.approval_ref),
                "approval_status": known(&of.approval_status),
                "approval_decision": known(&of.approval_decision),
                "job_hash": known(&of.job_hash),
                "remediations": of.remediations,
                "check": known(&of.check),
                "times": of.times.unwrap_or(1),
                "first_checked_at": first(of.first_checked_at, of.checked_at),
            }),
            of.checked_at,
        )
    }

    fn of(fields: Value, at: Option<Timestamp>) -> Self {
        let mut item = Map::new();
        if let Value::Object(fields) = fields {
            item.extend(fields);
        }
        item.insert("checked_at".to_owned(), json!(at.map(|at| at.to_string())));
        Self { item, at }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.item.get(name)?.as_str()
    }

    /// What tells it apart from the others.
    fn key(&self) -> String {
        let words = ["job_id", "checked_at", "decision", "rule_id", "check"];
        let words = words.map(|name| self.text(name).unwrap_or_default());
        words.join(" ")
    }
}

/// When policy said it first: once, unless it was told otherwise.
fn first(first: Option<Timestamp>, last: Option<Timestamp>) -> Option<String> {
    first.or(last).map(|at| at.to_string())
}

/// What is empty was not told.
fn known(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

impl Subject for Made {
    const NAME: &'static str = "decision";
    const FIELDS: &'static [Field] = &[
        Field::text("id"),
        Field::text("job"),
        Field::text("topic"),
        Field::text("tenant"),
        Field::text("actor"),
        Field::text("rule"),
        Field::text("reason"),
        Field::text("snapshot"),
        Field::one_of("decision", DECISIONS),
        Field::one_of("check", &["submit", "dispatch", "approval"]),
        Field::time("age"),
    ];

    fn texts(&self, field: &str, _now: Timestamp, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let name = match field {
            "id" | "job" => "job_id",
            "tenant" => "tenant_id",
            "actor" => "actor_id",
            "rule" => "rule_id",
            "snapshot" => "policy_snapshot",
            name => name,
        };
        self.text(name).is_some_and(look)
    }

    fn amount(&self, field: &str, now: Timestamp) -> Option<i64> {
        let at = self.at.filter(|_| field == "age")?;
        i64::try_from(now.since(at).as_millis()).ok()
    }

    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    fn words(&self, look: &mut dyn FnMut(&str) -> bool) -> bool {
        let names = ["job_id", "topic", "rule_id", "decision", "reason"];
        let mut texts = names.iter().filter_map(|name| self.text(name));
        texts.any(look)
    }
}

/// Prints.
pub(super) fn run(args: &GetArgs) -> Result<(), CliError> {
    let filter = match &args.filter {
        Some(text) => Some(Filter::parse::<Made>(text).map_err(|error| bad_filter(&error))?),
        None => None,
    };
    let servers = args.sources.servers()?;
    let Some(server) = &servers.gateway else {
        return Err(CliError::usage(anyhow!(
            "decisions do not travel on the bus and are read from a gateway; give --gateway"
        ))
        .hint("CORDUM_GATEWAY names one for every call"));
    };
    let client = operate::client(server)?;
    operate::block_on(async {
        if args.watch {
            return watch(args, &client, filter.as_ref()).await;
        }
        let made = read(args, &client, filter.as_ref(), true).await?;
        print_all(args.output, filter.as_ref(), &made);
        Ok(())
    })
}

/// The decisions that are wanted, the latest first.
async fn read(
    args: &GetArgs,
    client: &GatewayClient,
    filter: Option<&Filter>,
    tells: bool,
) -> Result<Vec<Made>, CliError> {
    let mut made = match &args.id {
        Some(id) => of_job(client, &JobId::from(id.as_str())).await?,
        None => of_log(client, tells).await?,
    };
    let now = SystemClock.now();
    made.retain(|made| filter.is_none_or(|it| it.matches(made, now)));
    Ok(made)
}

/// All that is kept about a job; of one that there never was, what the log tells.
async fn of_job(client: &GatewayClient, id: &JobId) -> Result<Vec<Made>, CliError> {
    let refused = |error: GatewayError| match error {
        GatewayError::NotFound { .. } => CliError::refused(anyhow!(
            "no job with the id {} is known",
            operate::shown(id.as_str())
        )),
        error => operate::refusal(&error, "read", id, None),
    };
    let job = match client.job(id).await {
        Ok(job) => job,
        // What was turned away at submission is no job, and is in the log all the same.
        Err(error @ GatewayError::NotFound { .. }) => {
            let mut made = of_log(client, false).await.unwrap_or_default();
            made.retain(|made| made.text("job_id") == Some(id.as_str()));
            return match made.is_empty() {
                true => Err(refused(error)),
                false => Ok(made),
            };
        }
        Err(error) => return Err(refused(error)),
    };
    let kept = client.decisions(id).await.map_err(refused)?;
    Ok(kept.items.iter().map(|it| Made::kept(it, &job)).collect())
}

async fn of_log(client: &GatewayClient, tells: bool) -> Result<Vec<Made>, CliError> {
    let mut made = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES {
        let page = client.logged_decisions(cursor.as_deref()).await;
        let page = page.map_err(|error| operate::no_log(&error, NO_LOG))?;
        if page.unreadable > 0 && tells {
            let records = crate::text::count(page.unreadable as u64, "record", "records");
            print::note(&format!(
                "note: {records} could not be read and are missing here"
            ));
        }
        made.extend(page.items.iter().map(Made::logged));
        cursor = page.next_cursor;
        if cursor.is_none() || page.items.is_empty() {
            return Ok(made);
        }
    }
    if tells {
        print::note(&format!(
            "note: the last {} decisions were read; the gateway keeps older ones",
            crate::text::thousands(made.len() as u64)
        ));
    }
    Ok(made)
}

fn print_all(output: Output, filter: Option<&Filter>, made: &[Made]) {
    match output {
        Output::Table if made.is_empty() => print::line(&nothing(filter)),
        Output::Table => {
            let items: Vec<Value> = made.iter().map(|it| it.item.clone().into()).collect();
            print::line(&lay_out(&COLUMNS, &items));
        }
        Output::Json => {
            let items: Vec<&Map<String, Value>> = made.iter().map(|it| &it.item).collect();
            let document = json!({
                "schema": SCHEMA,
                "kind": "decisions",
                "at": SystemClock.now().to_string(),
                "listened_ms": 0,
                // Whatever else is configured has no part in this.
                "sources": {"nats": "absent", "gateway": "up", "redis": "absent"},
                "dropped": 0,
                "malformed": 0,
                "items": items,
            });
            let text = serde_json::to_string_pretty(&document).unwrap_or_default();
            print::line(&harmless(&text));
        }
        Output::Jsonl => made.iter().for_each(print_line),
    }
}

fn nothing(filter: Option<&Filter>) -> String {
    let Some(filter) = filter else {
        return "no decisions".to_owned();
    };
    let hint = filter.suggestion();
    let hint = hint.map_or(String::new(), |hint| format!("; did you mean {hint}?"));
    format!(
        "no decisions match {}{hint}",
        operate::shown(filter.source())
    )
}

fn print_line(made: &Made) {
    let mut line = Map::new();
    line.insert("schema".to_owned(), SCHEMA.into());
    line.insert("kind".to_owned(), "decisions".into());
    line.extend(made.item.clone());
    print::line(&harmless(&Value::Object(line).to_string()));
}

/// Prints what is there, the oldest first, then what comes. A gateway that goes away once
/// it has answered is waited for.
async fn watch(
    args: &GetArgs,
    client: &GatewayClient,
    filter: Option<&Filter>,
) -> Result<(), CliError> {
    let mut made = read(args, client, filter, true).await?;
    let mut printed = BTreeSet::new();
    let mut away = false;
    loop {
        let fresh = made.iter().rev();
        for made in fresh.filter(|made| !printed.contains(&made.key())) {
            print_line(made);
        }
        // As many as are read in one round.
        printed = made.iter().map(Made::key).collect();
        made = loop {
            sleep(&SystemClock, WATCH_LOG).await;
            match read(args, client, filter, false).await {
                Ok(made) => break made,
                Err(error) if error.kind == ErrorKind::Unreachable => {
                    if !std::mem::replace(&mut away, true) {
                        print::note(&format!("note: {error}; it is asked again and again"));
                    }
                }
                Err(error) => return Err(error),
            }
        };
        if std::mem::take(&mut away) {
            print::note("note: the gateway answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_policy_said_again_is_one_decision_with_its_number() {
        let at = |ms| Some(Timestamp::from_millis(ms));
        let record = DecisionRecord {
            times: Some(3),
            first_checked_at: at(1_000),
            checked_at: at(9_000),
            ..DecisionRecord::default()
        };
        let said = |made: Made| {
            (
                made.item["times"].clone(),
                made.item["first_checked_at"].clone(),
            )
        };
        assert_eq!(
            said(Made::kept(&record, &JobDetail::default())),
            (json!(3), json!("1970-01-01T00:00:01.000Z"))
        );
        let once = LoggedDecision {
            timestamp: at(9_000),
            ..LoggedDecision::default()
        };
        assert_eq!(
            said(Made::logged(&once)),
            (json!(1), json!("1970-01-01T00:00:09.000Z"))
        );
    }
}
