//! A policy file that breaks, and one that must be signed, under the real binary.

use std::path::Path;
use std::process::Command;

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::{FIRST_POLICY, Up, http, id_of, production_write};
use crate::support::{Capdeck, Ran, wait_until};

const KEY: &str = "SAFETY_POLICY_PUBLIC_KEY";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
}

/// The public key in hex.
fn key() -> String {
    let pair = pair();
    let bytes = pair.public_key().as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Signs `text` for the policy file `policy`.
fn sign(policy: &Path, text: &str) {
    let signature = policy.with_extension("yaml.sig");
    std::fs::write(signature, pair().sign(text.as_bytes()).as_ref()).unwrap();
}

/// What `GET /status` says of the policy, once `it` holds.
fn policy_where(up: &Up, what: &str, it: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, || {
        let (status, body) = http(up.addr, "GET", "/api/v1/status", None);
        assert_eq!(status, 200);
        Some(body["policy"].clone()).filter(|policy| it(policy))
    })
}

fn says(policy: &Value, words: &str) -> bool {
    let broken = policy["broken"].as_str();
    broken.is_some_and(|broken| broken.contains(words))
}

#[test]
fn a_policy_file_that_breaks_leaves_the_last_good_one_and_the_status_says_so() {
    let up = Up::start();
    let before = policy_where(&up, "a policy", |policy| policy["broken"].is_null());
    assert_eq!(before["rules"], 4);
    assert_eq!(before["signed"], false);
    std::fs::write(&up.policy, "rules:\n  - id: a\n    decison: allow\n").unwrap();
    let broken = policy_where(&up, "broken", |policy| {
        says(policy, "line 3, column 5: rule `a`: decison")
    });
    assert_eq!(broken["snapshot"], before["snapshot"]);
    let (_, held) = up.submit(&production_write());
    assert_eq!(up.job(&id_of(&held))["state"], "APPROVAL_REQUIRED");
    std::fs::write(&up.policy, FIRST_POLICY).unwrap();
    policy_where(&up, "mended", |policy| policy["broken"].is_null());
    assert_eq!(up.terminate().code, 0);
}

#[test]
fn a_signed_policy_is_followed_as_long_as_it_is_signed() {
    let up = Up::start_where(|command, policy| {
        command.env(KEY, key());
        sign(policy, FIRST_POLICY);
    });
    let before = policy_where(&up, "a signed policy", |policy| policy["signed"] == true);
    let open = "version: v2\nrules: [{id: all, decision: allow}]\n";
    std::fs::write(&up.policy, open).unwrap();
    let broken = policy_where(&up, "unsigned", |policy| {
        says(policy, "the signature is not by the configured key")
    });
    assert_eq!(broken["snapshot"], before["snapshot"]);
    let (status, denied) = up.submit(&json!({"topic": "job.unknown"}));
    assert_eq!((status, &denied["code"]), (403, &json!("policy_denied")));
    sign(&up.policy, open);
    policy_where(&up, "signed anew", |policy| {
        policy["snapshot"]
            .as_str()
            .is_some_and(|it| it.starts_with("v2:"))
            && policy["broken"].is_null()
    });
    assert_eq!(up.submit(&json!({"topic": "job.unknown"})).0, 200);
    assert_eq!(up.terminate().code, 0);
}

#[test]
fn a_plane_that_wants_a_signature_does_not_start_without_a_good_one() {
    let capdeck = Capdeck::new();
    let policy = capdeck.home().join("policy.yaml");
    std::fs::write(&policy, FIRST_POLICY).unwrap();
    let path = policy.display().to_string();
    let named = ["--policy", path.as_str()];
    let up = |key: &str, more: &[&str]| {
        let mut command = capdeck.command(&["up", "--no-traffic", "--http", "127.0.0.1:0"]);
        refused(command.args(more).env(KEY, key))
    };
    let told = up(&key(), &named);
    assert!(
        told.contains("policy.yaml.sig` of the policy file: "),
        "{told}"
    );
    assert!(
        told.contains("hint: SAFETY_POLICY_PUBLIC_KEY is set"),
        "{told}"
    );
    sign(&policy, "something else");
    let told = up(&key(), &named);
    assert!(told.contains("not by the configured key"), "{told}");
    let told = up("nonsense", &named);
    assert!(
        told.contains("SAFETY_POLICY_PUBLIC_KEY cannot be used: it must be an Ed25519"),
        "{told}"
    );
    let told = up(&key(), &[]);
    assert!(told.contains("no policy is named"), "{told}");
}

/// What a command says that must end with exit code 2.
fn refused(command: &mut Command) -> String {
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    ran.stderr
}

#[test]
fn checking_a_policy_warns_of_a_signature_that_is_not_good() {
    let capdeck = Capdeck::new();
    let policy = capdeck.home().join("policy.yaml");
    std::fs::write(&policy, FIRST_POLICY).unwrap();
    let path = policy.display().to_string();
    let check = || {
        let mut command = capdeck.command(&["policy", "check", "--strict", &path]);
        Ran::of(command.env(KEY, key()).output().unwrap())
    };
    let unsigned = check();
    assert_eq!(unsigned.code, 1);
    assert!(
        unsigned.stderr.contains("there is no signature in"),
        "{}",
        unsigned.stderr
    );
    sign(&policy, FIRST_POLICY);
    let signed = check();
    assert_eq!((signed.code, signed.stderr.as_str()), (0, ""));
}

#[test]
fn the_tenant_that_policy_gives_to_nobody_s_requests_counts_against_its_limit() {
    let policy = |tenant: &str| {
        format!(
            "version: v1\ndefault_tenant: {tenant}\ndefault_decision: allow\n\
             tenants: {{acme: {{max_concurrent_jobs: 1}}}}\n"
        )
    };
    let up = Up::start_where(|_, path| std::fs::write(path, policy("acme")).unwrap());
    let slow = json!({"topic": "job.default", "labels": {"demo.seconds": "60"}});
    let mut named = slow.clone();
    named["tenant_id"] = json!("acme");
    let job = |body: &Value| id_of(&up.submit(body).1);
    let (first, second) = (job(&slow), job(&named));
    let page = |id: &str| http(up.addr, "GET", &format!("/api/v1/jobs/{id}"), None).1;
    assert_eq!(page(&first)["tenant"], "acme");
    wait_until("the limit", || {
        (page(&second)["waiting_on"] == "tenant_limit").then_some(())
    });
    std::fs::write(&up.policy, policy("other")).unwrap();
    wait_until("the other policy", || {
        (page(&job(&slow))["tenant"] == "other").then_some(())
    });
    assert_eq!(up.terminate().code, 0);
}
