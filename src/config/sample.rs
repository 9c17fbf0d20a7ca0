//! The sample of a configuration file: every setting, each as it is by default.

/// Every line is a remark, so the file as it is changes nothing. Settings are
/// commented out without a space: `#theme = "dark"`.
pub const SAMPLE: &str = r##"# The configuration of capdeck: $XDG_CONFIG_HOME/capdeck/config.toml
# (~/.config/capdeck/config.toml), or the file that CAPDECK_CONFIG names.
# Flags go before the environment, the environment before this file.

# The context that `capdeck` opens, and that every command speaks to, where no
# flag and no variable (NATS_URL, CORDUM_GATEWAY, REDIS_URL) names a server.
#current = "eu-1"

# The name that decisions are recorded under; else user@host.
#operator = "ann@example.org"

# `capdeck themes` lists the themes. One of your own is named with --themes DIR.
#theme = "dark"

# Draw with ASCII signs only.
#ascii = false

# Ring when an approval arrives or its deadline comes near, a cancel is not
# honored, or a server is away for half a minute.
#bell = true

# Never change anything: no approval, no cancel, no submission.
#read_only = false

# An action, and the key or the keys that ask for it. `capdeck keys` lists all.
#[keys]
#reload = "F5"
#down = ["j", "Down", "ctrl-n"]

# A context is one deployment: `capdeck attach --context eu-1`. Keys, tokens and
# passwords are never written here: CORDUM_API_KEY, NATS_TOKEN, REDIS_PASSWORD.
#[contexts.eu-1]
#gateway = "https://gateway.eu-1.example.org:8081"
#nats = "tls://nats.eu-1.example.org:4222"
#redis = "rediss://redis.eu-1.example.org:6379"
#tenant = "default"
# The header says PROD.
#production = true
# The role of the theme that the context's name stands on.
#frame = "frame"
# Instead of what is said for all contexts.
#read_only = false

#[contexts.local]
#gateway = "http://127.0.0.1:8081"
"##;
