//! Fifty rules and questions about them, for whoever measures a decision.

use std::fmt::Write as _;

use capdeck::control_plane::kernel::Question;
use capdeck::ids::JobId;
use capdeck::wire::packet::ActorType;

/// Fifty rules, ten of each of five kinds, none of which hides another.
pub(crate) fn fifty() -> String {
    let mut text = "version: bench\nrules:\n".to_owned();
    for n in 0..10 {
        write!(
            text,
            "  - {{id: topic-{n}, decision: allow, match: {{topics: ['job.team{n}.*', 'job.*.t{n}']}}}}
  - {{id: label-{n}, decision: require_approval, match: {{labels: {{mcp.action: a{n}, env: prod}}, risk_tags: [prod]}}}}
  - {{id: meta-{n}, decision: deny, match: {{capabilities: [cap{n}], requires: [gpu, net], actor_types: [human]}}}}
  - {{id: list-{n}, decision: throttle, match: {{tenants: [tenant{n}], label_threshold: {{amount: 100}}, pack_ids: [p]}}}}
  - {{id: mcp-{n}, decision: allow_with_constraints, constraints: {{max_retries: 1}}, match: {{topics: ['job.mcp{n}.*'], mcp: {{allow_servers: [s], deny_tools: [drop]}}}}}}
"
        )
        .unwrap();
    }
    text
}

/// The topics that rules all over the file let pass, in turns.
pub(crate) fn passing(n: usize) -> String {
    match n % 2 {
        0 => format!("job.team{}.step", n / 2 % 10),
        _ => format!("job.mcp{}.call", n / 2 % 10),
    }
}

/// A question with something in every field.
pub(crate) fn question(n: usize, topic: String) -> Question {
    let label = |key: &str, value: String| (key.to_owned(), value);
    Question {
        job_id: JobId::from(format!("0f8b1a52-6a0e-4d6e-9f9e-{n:012}")),
        topic,
        tenant: format!("tenant{}", n % 10),
        principal_id: "svc-index".to_owned(),
        labels: [
            label("mcp.action", "read".to_owned()),
            label("mcp.server", "s".to_owned()),
            label("mcp.tool", "edit".to_owned()),
            label("env", "prod".to_owned()),
            label("amount", "12.5".to_owned()),
        ]
        .into(),
        capability: "search".to_owned(),
        risk_tags: vec!["write".to_owned(), "prod".to_owned()],
        requires: vec!["gpu".to_owned()],
        pack_id: "core".to_owned(),
        actor_id: "agent-19".to_owned(),
        actor_type: ActorType::Service,
        ..Question::default()
    }
}
