//! Reading what rides on a decision: constraints and remediations.

use std::collections::BTreeSet;

use super::fields::Reader;
use crate::control_plane::kernel::document::{Entry, Node};
use crate::control_plane::kernel::{
    BudgetConstraints, Constraints, DiffConstraints, Remediation, SandboxProfile,
    ToolchainConstraints,
};

const CONSTRAINTS: &[&str] = &[
    "budgets",
    "sandbox",
    "toolchain",
    "diff",
    "redaction_level",
    "max_runtime_sec",
    "max_retries",
];
const BUDGETS: &[&str] = &[
    "max_runtime_ms",
    "max_retries",
    "max_artifact_bytes",
    "max_concurrent_jobs",
];
const SANDBOX: &[&str] = &[
    "isolated",
    "network_allowlist",
    "fs_read_only",
    "fs_read_write",
];
const TOOLCHAIN: &[&str] = &["allowed_tools", "allowed_commands"];
const DIFF: &[&str] = &["max_files", "max_lines", "deny_path_globs"];
const REMEDIATION: &[&str] = &[
    "id",
    "title",
    "summary",
    "replacement_topic",
    "replacement_capability",
    "add_labels",
    "remove_labels",
];

impl Reader {
    pub(super) fn constraints(&mut self, node: &Node) -> Option<Constraints> {
        let mut all = Constraints::default();
        let mut budgets = BudgetConstraints::default();
        for entry in self.entries(node, "constraints", CONSTRAINTS, &[]) {
            let node = &entry.node;
            match entry.key.as_str() {
                "max_runtime_sec" => {
                    let most = i64::MAX / 1_000;
                    let seconds = self.limit(node, "constraints.max_runtime_sec", most);
                    let ms = seconds.map(|seconds| seconds * 1_000);
                    self.once(&mut budgets.max_runtime_ms, ms, entry, "max_runtime_ms");
                }
                "max_retries" => {
                    let retries = self.small_count(node, "constraints.max_retries");
                    self.once(&mut budgets.max_retries, retries, entry, "max_retries");
                }
                "budgets" => self.budgets(node, &mut budgets),
                "sandbox" => all.sandbox = self.sandbox(node),
                "toolchain" => all.toolchain = self.toolchain(node),
                "diff" => all.diff = self.diff(node),
                "redaction_level" => {
                    all.redaction_level = self
                        .text(node, "constraints.redaction_level")
                        .unwrap_or_default();
                }
                _ => {}
            }
        }
        // Only now, for what is said twice is compared as it was written.
        budgets.max_runtime_ms = budgets.max_runtime_ms.filter(|limit| *limit > 0);
        budgets.max_artifact_bytes = budgets.max_artifact_bytes.filter(|limit| *limit > 0);
        budgets.max_concurrent_jobs = budgets.max_concurrent_jobs.filter(|limit| *limit > 0);
        all.budgets = (budgets != BudgetConstraints::default()).then_some(budgets);
        (all != Constraints::default()).then_some(all)
    }

    /// A limit of which zero is none, unlike that of retries; who writes zero is told.
    fn limit(&mut self, node: &Node, field: &str, most: i64) -> Option<i64> {
        let limit = self.count(node, field, most)?;
        if limit == 0 {
            self.warning(node.place, format!("{field} is 0, which is no limit"));
        }
        Some(limit)
    }

    /// The same, of at most `i32::MAX`.
    pub(super) fn small_limit(&mut self, node: &Node, field: &str) -> Option<i32> {
        let limit = self.limit(node, field, i32::MAX.into())?;
        i32::try_from(limit).ok()
    }

    fn budgets(&mut self, node: &Node, budgets: &mut BudgetConstraints) {
        for entry in self.entries(node, "constraints.budgets", BUDGETS, &[]) {
            let field = format!("constraints.budgets.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "max_runtime_ms" => {
                    let ms = self.limit(node, &field, i64::MAX);
                    self.once(&mut budgets.max_runtime_ms, ms, entry, "max_runtime_sec");
                }
                "max_retries" => {
                    let retries = self.small_count(node, &field);
                    self.once(&mut budgets.max_retries, retries, entry, "max_retries");
                }
                "max_artifact_bytes" => {
                    budgets.max_artifact_bytes = self.limit(node, &field, i64::MAX);
                }
                "max_concurrent_jobs" => {
                    budgets.max_concurrent_jobs = self.small_limit(node, &field);
                }
                _ => {}
            }
        }
    }

    /// Sets a limit that has a short and a nested form, which must not contradict.
    fn once<T: PartialEq>(
        &mut self,
        slot: &mut Option<T>,
        value: Option<T>,
        entry: &Entry,
        other: &str,
    ) {
        if slot.is_some() && value.is_some() && *slot != value {
            self.problem(
                entry.place,
                &format!("constraints {}", entry.key),
                format!("contradicts {other}, the other form of the same limit"),
            );
        }
        if value.is_some() {
            *slot = value;
        }
    }

    fn sandbox(&mut self, node: &Node) -> Option<SandboxProfile> {
        let mut sandbox = SandboxProfile::default();
        for entry in self.entries(node, "constraints.sandbox", SANDBOX, &[]) {
            let field = format!("constraints.sandbox.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "isolated" => sandbox.isolated = self.flag(node, &field),
                "network_allowlist" => sandbox.network_allowlist = self.words(node, &field),
                "fs_read_only" => sandbox.fs_read_only = self.words(node, &field),
                "fs_read_write" => sandbox.fs_read_write = self.words(node, &field),
                _ => {}
            }
        }
        (sandbox != SandboxProfile::default()).then_some(sandbox)
    }

    fn toolchain(&mut self, node: &Node) -> Option<ToolchainConstraints> {
        let mut toolchain = ToolchainConstraints::default();
        for entry in self.entries(node, "constraints.toolchain", TOOLCHAIN, &[]) {
            let field = format!("constraints.toolchain.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "allowed_tools" => toolchain.allowed_tools = self.words(node, &field),
                "allowed_commands" => toolchain.allowed_commands = self.words(node, &field),
                _ => {}
            }
        }
        (toolchain != ToolchainConstraints::default()).then_some(toolchain)
    }

    fn diff(&mut self, node: &Node) -> Option<DiffConstraints> {
        let mut diff = DiffConstraints::default();
        for entry in self.entries(node, "constraints.diff", DIFF, &[]) {
            let field = format!("constraints.diff.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "max_files" => diff.max_files = self.small_limit(node, &field).filter(|n| *n > 0),
                "max_lines" => diff.max_lines = self.small_limit(node, &field).filter(|n| *n > 0),
                "deny_path_globs" => diff.deny_path_globs = self.words(node, &field),
                _ => {}
            }
        }
        (diff != DiffConstraints::default()).then_some(diff)
    }

    pub(super) fn remediations(&mut self, node: &Node) -> Vec<Remediation> {
        let Some(nodes) = self.list(node, "remediations") else {
            return Vec::new();
        };
        let mut ids = BTreeSet::new();
        let mut remediations = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut remediation = Remediation::default();
            for entry in self.entries(node, "remediations", REMEDIATION, &[]) {
                let field = format!("remediations.{}", entry.key);
                let node = &entry.node;
                let text = |reader: &mut Self| reader.text(node, &field).unwrap_or_default();
                match entry.key.as_str() {
                    "id" => remediation.id = text(self),
                    "title" => remediation.title = text(self),
                    "summary" => remediation.summary = text(self),
                    "replacement_topic" => remediation.replacement_topic = text(self),
                    "replacement_capability" => remediation.replacement_capability = text(self),
                    "add_labels" => remediation.add_labels = self.text_map(node, &field),
                    "remove_labels" => remediation.remove_labels = self.words(node, &field),
                    _ => {}
                }
            }
            if remediation.id.is_empty() {
                self.problem(node.place, "remediations.id", "is missing");
            } else if !ids.insert(remediation.id.clone()) {
                let says = format!("`{}` is there twice", remediation.id);
                self.problem(node.place, "remediations.id", says);
            }
            remediations.push(remediation);
        }
        remediations
    }
}
