use std::collections::BTreeSet;

use super::*;
use crate::config::sample::SAMPLE;

const TWO: &str = r#"
current = "eu-1"
read_only = true

[contexts.eu-1]
nats = "nats://eu:4222"
gateway = "https://eu:8081"
tenant = "acme"
production = true

[contexts.lab]
gateway = "http://lab:8081"
read_only = false
"#;

fn config(text: &str) -> Config {
    Config::read(text, Path::new("c.toml")).expect(text)
}

fn check(text: &str, expected: &str) {
    let error = Config::read(text, Path::new("c.toml")).expect_err(text);
    let hint = error.hint().map(|hint| format!(" | {hint}"));
    assert_eq!(format!("{error}{}", hint.unwrap_or_default()), expected);
}

#[test]
fn a_bad_file_says_where_what_is_wrong_and_what_was_meant() {
    check(
        "\nthem = \"dark\"\n",
        "c.toml:2: no setting is called `them` | did you mean `theme`?",
    );
    check(
        "colour = true",
        "c.toml:1: no setting is called `colour` | it is one of \
         current, operator, theme, ascii, bell, read_only, keys, contexts",
    );
    check(
        "nats = \"nats://h:1\"",
        "c.toml:1: no setting is called `nats` | it belongs into a table `[contexts.NAME]`",
    );
    check("theme = 3", "c.toml:1: `theme` wants a text in quotes");
    check("theme = \"\"", "c.toml:1: `theme` wants a text in quotes");
    check("ascii = \"yes\"", "c.toml:1: `ascii` wants true or false");
    check("keys = true", "c.toml:1: `keys` wants a table `[keys]`");
    check(
        "[keys]\nup = \"K\"\ndown = [\"j\", 1]",
        "c.toml:3: `down` wants a key in quotes, or a list of keys",
    );
    check(
        "contexts = []",
        "c.toml:1: `contexts` wants tables `[contexts.NAME]`",
    );
    check(
        "[contexts]\neu = \"nats://h:1\"",
        "c.toml:2: `eu` wants to be a table `[contexts.eu]`",
    );
    check(
        "[contexts.eu]\nnat = \"nats://h:1\"",
        "c.toml:2: no setting of a context is called `nat` | did you mean `nats`?",
    );
    check(
        "[contexts.eu]\nnats = \"nats://h:1\"\nproduction = 1",
        "c.toml:3: `production` wants true or false",
    );
    check(
        "[contexts.eu]\nproduction = true",
        "c.toml:1: context `eu` names no server | write `nats = \"nats://host:4222\"`, or `gateway`",
    );
    check(
        "[contexts.\"e u\"]\nnats = \"nats://h:1\"",
        "c.toml:1: `e u` cannot name a context: 1 to 24 of letters, digits, `-`, `_` and `.`",
    );
    check(
        "[contexts.eu]\nnats = \"h:4222\"",
        "c.toml:2: `nats` is not an address: one begins with nats:// or tls://",
    );
    check(
        "[contexts.eu]\n\ngateway = \"https://ann:pw@h\"",
        "c.toml:3: `gateway` holds credentials, which do not belong into this file \
         | put the secret into the environment as CORDUM_API_KEY",
    );
    check(
        "[contexts.eu]\nredis = \"redis://:pw@h\"",
        "c.toml:2: `redis` holds credentials, which do not belong into this file \
         | put the secret into the environment as REDIS_PASSWORD",
    );
    check(
        "[contexts.eu]\nnats = \"nats://a:1,nats://t0ken@b:1\"",
        "c.toml:2: `nats` holds credentials, which do not belong into this file \
         | put the secret into the environment as NATS_TOKEN, or NATS_USERNAME and NATS_PASSWORD",
    );
    check(
        "current = \"eu\"",
        "c.toml:1: `current` names no context: `eu` | write a table `[contexts.NAME]`",
    );
    check(
        "ascii = true\ncurrent = \"eu1\"\n[contexts.eu-1]\nnats = \"nats://h:1\"",
        "c.toml:2: `current` names no context: `eu1` | did you mean `eu-1`?",
    );
}

#[test]
fn what_is_not_toml_says_where() {
    let error = Config::read("ascii = true\ntheme = \n", Path::new("c.toml")).expect_err("bad");
    let says = error.to_string();
    assert!(says.starts_with("c.toml:2: "), "{says}");
    let twice = Config::read("ascii = true\nascii = true\n", Path::new("c.toml"));
    let says = twice.expect_err("bad").to_string();
    assert!(says.starts_with("c.toml:2: duplicate key"), "{says}");
}

#[test]
fn keys_keep_their_order_and_their_lines() {
    let config = config("[keys]\nup = \"K\"\ndown = [\"J\", \"ctrl-n\"]\n");
    let keys: Vec<String> = config
        .keys
        .iter()
        .map(|it| format!("{} {} {:?}", it.action.place, it.action.value, it.chords))
        .collect();
    assert_eq!(
        keys,
        ["c.toml:2 up [\"K\"]", "c.toml:3 down [\"J\", \"ctrl-n\"]"]
    );
}

/// Which gateway, bus and tenant are spoken to, and as which context.
#[track_caller]
fn speaks_to(named: Option<&str>, gateway: Option<&str>, env: &[(&str, &str)], expected: &str) {
    let flags = Addresses {
        gateway: gateway.map(str::to_owned),
        ..Addresses::default()
    };
    let env = |name: &str| {
        let found = env.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let found = deployment(&config(TWO), named, &flags, &env).expect("a deployment");
    let gateway = found.servers.gateway.as_ref();
    let words = [
        found.context.as_ref().map(|it| it.name.clone()),
        gateway.map(|it| it.url.clone()),
        found.servers.nats.as_ref().map(|it| it.url.clone()),
        gateway.and_then(|it| it.tenant.clone()),
    ];
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.unwrap_or_else(|| "-".to_owned()))
        .collect();
    assert_eq!(words.join(" "), expected);
}

#[test]
fn flags_go_before_the_environment_and_the_environment_before_the_current_context() {
    let nats = ("NATS_URL", "nats://env:4222");
    let gateway = ("CORDUM_GATEWAY", "http://env:8081");
    let tenant = ("CORDUM_TENANT_ID", "other");
    let flag = Some("http://flag:8081");
    speaks_to(None, None, &[], "eu-1 https://eu:8081 nats://eu:4222 acme");
    speaks_to(
        None,
        None,
        &[tenant],
        "eu-1 https://eu:8081 nats://eu:4222 other",
    );
    speaks_to(
        None,
        None,
        &[nats, gateway],
        "- http://env:8081 nats://env:4222 -",
    );
    // One deployment is never mixed with another.
    speaks_to(None, flag, &[nats, gateway], "- http://flag:8081 - -");
    speaks_to(None, None, &[nats], "- - nats://env:4222 -");
    speaks_to(None, flag, &[], "- http://flag:8081 - -");
}

#[test]
fn a_context_that_is_asked_for_goes_before_the_environment() {
    let env = [
        ("NATS_URL", "nats://env:4222"),
        ("CORDUM_TENANT_ID", "other"),
    ];
    speaks_to(
        Some("eu-1"),
        None,
        &env,
        "eu-1 https://eu:8081 nats://eu:4222 acme",
    );
    speaks_to(Some("lab"), None, &env, "lab http://lab:8081 - other");
    speaks_to(
        Some("eu-1"),
        Some("http://tunnel:8081"),
        &[],
        "eu-1 http://tunnel:8081 nats://eu:4222 acme",
    );
}

#[test]
fn an_unknown_context_lists_the_known_ones() {
    let says = |text: &str, name: &str| {
        let none = Addresses::default();
        let error = deployment(&config(text), Some(name), &none, &|_| None).expect_err("unknown");
        let DeploymentError::Config(error) = error else {
            panic!("{error}")
        };
        format!("{error} | {}", error.hint().unwrap_or_default())
    };
    assert_eq!(
        says(TWO, "eu1"),
        "no context is called `eu1` | the contexts are eu-1, lab; did you mean `eu-1`?"
    );
    assert_eq!(
        says(TWO, "zzz"),
        "no context is called `zzz` | the contexts are eu-1, lab"
    );
    assert_eq!(
        says("", "eu-1"),
        "no context is called `eu-1` | the configuration has no contexts; \
         `capdeck config print` shows how to write one"
    );
}

#[test]
fn a_context_may_say_otherwise_than_all_whether_things_may_change() {
    let config = config(TWO);
    let of = |name| config.is_read_only(Some(config.context(name).expect("there")));
    assert!(of("eu-1"));
    assert!(!of("lab"));
    assert!(config.is_read_only(None));
    assert!(!Config::default().is_read_only(None));
}

#[test]
fn secrets_of_the_environment_reach_the_servers_of_a_context() {
    let env = |name: &str| (name == "CORDUM_API_KEY").then(|| "key".to_owned());
    let found = deployment(&config(TWO), None, &Addresses::default(), &env).expect("found");
    let key = found.servers.gateway.and_then(|it| it.api_key);
    assert_eq!(key, Some(crate::config::Secret::new("key")));
}

#[test]
fn a_file_that_is_promised_must_be_there_and_one_that_is_not_need_not() {
    let directory = std::env::temp_dir().join("capdeck-no-such-directory");
    let promised = directory.join("config.toml");
    let env = |name: &str| (name == "CAPDECK_CONFIG").then(|| promised.display().to_string());
    let error = load(&env).expect_err("absent");
    assert_eq!(
        error.to_string(),
        format!("cannot read the configuration file {}", promised.display())
    );
}

#[test]
fn the_sample_as_it_is_changes_nothing() {
    assert_eq!(config(SAMPLE), Config::default());
}

#[test]
fn every_setting_of_the_sample_is_one_and_none_is_left_out() {
    let settings: Vec<&str> = SAMPLE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' '))
        .collect();
    let config = config(&settings.join("\n"));
    assert_eq!(config.current.as_deref(), Some("eu-1"));
    assert!(config.context("eu-1").expect("there").production);
    assert_eq!(config.keys.len(), 2);
    // What is the same for everybody is shown as it is by default.
    assert!(!config.ascii && !config.read_only);
    let named: BTreeSet<&str> = settings
        .iter()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .collect();
    for name in file::TOP.iter().chain(file::CONTEXT) {
        let table = settings.iter().any(|line| {
            let line = line.trim_start_matches('[');
            line.starts_with(&format!("{name}]")) || line.starts_with(&format!("{name}."))
        });
        assert!(named.contains(name) || table, "{name}");
    }
}
