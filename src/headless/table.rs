//! What `get` prints for people: a table with hostile text spelled out.

use serde_json::Value;

use super::{Kind, Snapshot, Wanted, json};
use crate::text::{self, Shown};
use crate::time::Elapsed;

/// The widest that a column of free text gets, in cells.
const WIDEST: usize = 60;

/// The table, without a line break at its end.
pub fn table(kind: Kind, snapshot: &Snapshot, wanted: &Wanted) -> String {
    let columns: &[(&str, &str)] = match kind {
        Kind::Jobs => &[
            ("STATE", "state"),
            ("JOB", "job_id"),
            ("TOPIC", "topic"),
            ("PERCENT", "percent"),
            ("WORKER", "worker_id"),
            ("DECISION", "decision"),
            ("TRY", "attempts"),
            ("WAITS ON", "waiting_on"),
            ("ERROR", "error_code"),
            ("MESSAGE", "message"),
        ],
        Kind::Workers => &[
            ("STANDING", "standing"),
            ("WORKER", "worker_id"),
            ("POOL", "pool"),
            ("REGION", "region"),
            ("PRESSURE", "pressure"),
            ("CPU", "cpu_load"),
            ("MEM", "memory_load"),
            ("GPU", "gpu_utilization"),
            ("ACTIVE", "active_jobs"),
            ("MAX", "max_parallel_jobs"),
            ("HEARD", "heartbeat_age_ms"),
            ("LAST WORD", "last_memo"),
        ],
        Kind::Approvals => &[
            ("WAIT", "wait_ms"),
            ("STATUS", "status"),
            ("JOB", "job_id"),
            ("TOPIC", "topic"),
            ("RULE", "rule_id"),
            ("RISK", "risk_tags"),
            ("UNDO", "undo"),
            ("CURRENT", "snapshot_current"),
            ("HASH", "hash_matches"),
            ("REASON", "reason"),
        ],
        Kind::Rollbacks => &[
            ("WORKFLOW", "workflow_id"),
            ("STATE", "state"),
            ("UNDOES", "undoes"),
            ("JOB", "job_id"),
            ("TOPIC", "topic"),
            ("DECISION", "decision"),
            ("WOULD BE", "would_decide"),
            ("IDEMPOTENCY KEY", "idempotency_key"),
        ],
        Kind::Alerts => &[
            ("STATUS", "status"),
            ("SEVERITY", "severity"),
            ("ALERT", "name"),
            ("SUBJECT", "subject"),
            ("TIMES", "times"),
            ("SINCE", "since"),
            ("MESSAGE", "message"),
        ],
        Kind::Senders => &[
            ("SENDER", "sender_id"),
            ("PACKETS", "packets"),
            ("MALFORMED", "malformed"),
            ("UNKNOWN FIELDS", "unknown_fields"),
            ("VIOLATIONS", "violations"),
            ("SIGNATURE", "signature"),
        ],
    };
    let items = json::items(kind, snapshot, wanted);
    if items.is_empty() {
        return nothing(kind, wanted);
    }
    lay_out(columns, &items)
}

/// Rows of the columns, each a heading and the member that stands below it.
pub fn lay_out(columns: &[(&str, &str)], items: &[Value]) -> String {
    let mut rows = vec![
        columns
            .iter()
            .map(|(head, _)| Shown::line(head))
            .collect::<Vec<_>>(),
    ];
    for item in items {
        let cell = |(_, field): &(&str, &str)| cell(field, item.get(*field));
        rows.push(columns.iter().map(cell).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| rows.iter().map(|row| row[at].width()).max().unwrap_or(0))
        .collect();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell.as_str());
                line.push_str(&" ".repeat(width - cell.width() + 2));
            }
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

fn nothing(kind: Kind, wanted: &Wanted) -> String {
    let what = kind.name();
    match (&wanted.id, &wanted.filter) {
        (Some(id), _) => format!("no {} with the id {}", kind.one(), Shown::line(id).as_str()),
        (None, Some(filter)) => {
            let hint = filter
                .suggestion()
                .map(|hint| format!("; did you mean {hint}?"))
                .unwrap_or_default();
            let filter = Shown::line(filter.source());
            format!("no {what} match {}{hint}", filter.as_str())
        }
        (None, None) => format!("no {what}"),
    }
}

fn cell(field: &str, value: Option<&Value>) -> Shown {
    let words = match value {
        None | Some(Value::Null) => "—".to_owned(),
        Some(Value::Number(ms)) if field.ends_with("_ms") => {
            text::duration(Elapsed::from_millis(ms.as_u64().unwrap_or(0)))
        }
        Some(Value::Number(percent)) if field == "percent" => format!("{percent}%"),
        Some(Value::Number(number)) if field == "pressure" => {
            format!("{:.2}", number.as_f64().unwrap_or(0.0))
        }
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "NO".to_owned(),
        Some(Value::String(text)) => return clipped(text),
        Some(Value::Array(items)) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            return clipped(&items.join(" "));
        }
        Some(other) => other.to_string(),
    };
    Shown::line(&words)
}

fn clipped(text: &str) -> Shown {
    let shown = Shown::line(text);
    if shown.width() > WIDEST {
        return shown.head(WIDEST);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    fn print(kind: Kind, script: &str) -> String {
        let state = script::run(script).expect("a script");
        let snapshot = Snapshot {
            model: state.model,
            now: state.now,
            listened: Elapsed::ZERO,
        };
        table(kind, &snapshot, &Wanted::default())
    }

    #[test]
    fn a_table_lines_up_and_spells_out_what_a_terminal_would_obey() {
        let text = print(
            Kind::Jobs,
            "0s submit job-1 topic=job.a | 1s dispatch job-1 w1 | 2s progress job-1 40% message=\"red \u{1b}[31m\u{202e}\" | 3s submit j2",
        );
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text:?}"
        );
        insta::assert_snapshot!(text);
        assert_eq!(print(Kind::Workers, "0s tick"), "no workers");
    }
}
