//! Who may call the gateway, and as whom.
//!
//! One shared key proves that a caller may come in; who they are is what they say in
//! `X-Principal-Id`. Keys of a keyring are somebody's: each has a role, a tenant and
//! perhaps a principal, and what they say about themselves counts no more than that.
//! Keys come from the environment or from a file that nobody else can read, never
//! from flags, and only their digests are kept.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::answer::Refusal;
use crate::control_plane::ledger::DEFAULT_TENANT;
use crate::control_plane::private_file::{self, PrivateFileError};
use crate::wire::job_hash::sha256_hex;
use crate::wire::packet::JobRequest;

/// Bytes of a file of keys that are read.
const MAX_FILE: u64 = 1 << 20;

/// What a caller may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Viewer,
    /// Submit, cancel and remedy jobs.
    User,
    /// Decide about approvals and dead letters, and listen to the stream.
    Admin,
}

impl Role {
    /// The name in keys and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// Reads a name, in any case; `operator` and `secops` are other names of admin.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "viewer" => Some(Self::Viewer),
            "user" => Some(Self::User),
            "admin" | "operator" | "secops" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// A key that callers prove themselves with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    digest: String,
    /// What stands for the key where people read: never the key itself.
    pub(super) id: String,
    pub(super) role: Role,
    /// The only tenant it reaches; `None` is every tenant.
    pub(super) tenant: Option<String>,
    pub(super) principal: Option<String>,
    /// Whether it is one caller's own, so that the key tells who calls.
    pub(super) personal: bool,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl Key {
    fn new(key: &str, role: Role) -> Self {
        let digest = sha256_hex(key.as_bytes());
        Self {
            id: format!("static:{}", &digest[..12]),
            digest,
            role,
            tenant: None,
            principal: None,
            personal: false,
        }
    }
}

/// The keys of a gateway. Without any, everybody who reaches it may do everything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

/// Why keys cannot be used. No message repeats a key.
#[derive(Debug, Error)]
pub enum BadKeys {
    /// An entry is wrong.
    #[error("API key {number}: {says}")]
    Entry {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        says: &'static str,
    },
    /// The JSON is not a list of keys.
    #[error("the API keys are not a JSON list of {{key, tenant, role, principal}}")]
    NotAList,
    /// The file is not to be used.
    #[error(transparent)]
    File(#[from] PrivateFileError),
}

/// A key as it is written in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    key: String,
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    principal: String,
    #[serde(default)]
    allow_cross_tenant: bool,
}

impl Keyring {
    /// One key that all callers share: it opens everything.
    pub fn shared(key: &str) -> Self {
        Self {
            keys: vec![Key::new(key, Role::Admin)],
        }
    }

    /// Reads keys: a JSON list of `{key, tenant, role, principal,
    /// allow_cross_tenant}` (alone or as `{"keys": [...]}`), or entries
    /// `tenant:key:role:principal` separated by commas or lines. The role is `user`
    /// unless given; a key without tenant needs `allow_cross_tenant`, for which the
    /// short form writes `*` as the tenant.
    ///
    /// # Errors
    /// [`BadKeys::Entry`], [`BadKeys::NotAList`].
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let text = text.trim();
        let written = if text.starts_with(['[', '{']) {
            from_json(text)?
        } else {
            text.split([',', '\n'])
                .map(str::trim)
                .filter(|entry| !entry.is_empty() && !entry.starts_with('#'))
                .enumerate()
                .map(|(at, entry)| short_form(at + 1, entry))
                .collect::<Result<_, _>>()?
        };
        let mut keys: Vec<Key> = Vec::new();
        for (at, written) in written.into_iter().enumerate() {
            let key = key_of(&written).map_err(|says| BadKeys::Entry {
                number: at + 1,
                says,
            })?;
            if keys.iter().any(|known| known.digest == key.digest) {
                return Err(BadKeys::Entry {
                    number: at + 1,
                    says: "the same key came before",
                });
            }
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// Reads a file of keys as [`Self::parse`] does.
    ///
    /// # Errors
    /// [`BadKeys::File`], also unless its mode keeps others out; those of
    /// [`Self::parse`].
    pub fn load(path: &Path) -> Result<Self, BadKeys> {
        let text = private_file::read("the API keys", path, MAX_FILE)?;
        Self::parse(&text)
    }

    /// Both together; a key of `self` that `other` has too keeps what `self` says.
    pub fn and(mut self, other: Self) -> Self {
        for key in other.keys {
            if !self.keys.iter().any(|known| known.digest == key.digest) {
                self.keys.push(key);
            }
        }
        self
    }

    /// Whether there is no key, so that nobody has to prove anything.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Digests are compared, so the time it takes tells nothing about a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Key> {
        let digest = sha256_hex(key);
        self.keys.iter().find(|known| known.digest == digest)
    }
}

fn from_json(text: &str) -> Result<Vec<Written>, BadKeys> {
    let value: Value = serde_json::from_str(text).map_err(|_| BadKeys::NotAList)?;
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut fields) => match fields.remove("keys") {
            Some(Value::Array(list)) if fields.is_empty() => list,
            _ => return Err(BadKeys::NotAList),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(BadKeys::NotAList);
        }
    };
    list.into_iter()
        .enumerate()
        .map(|(at, entry)| {
            // The reader's own words could repeat what stands there.
            serde_json::from_value(entry).map_err(|_| BadKeys::Entry {
                number: at + 1,
                says: "it has to be {key, tenant, role, principal, allow_cross_tenant}",
            })
        })
        .collect()
}

fn short_form(number: usize, entry: &str) -> Result<Written, BadKeys> {
    let bad = |says| BadKeys::Entry { number, says };
    let parts: Vec<&str> = entry.split(':').map(str::trim).collect();
    let [tenant, key, more @ ..] = parts.as_slice() else {
        return Err(bad("it has to be tenant:key:role:principal"));
    };
    if more.len() > 2 {
        return Err(bad("it has more than tenant:key:role:principal"));
    }
    let part = |at: usize| more.get(at).copied().unwrap_or_default().to_owned();
    let every = *tenant == "*";
    Ok(Written {
        key: (*key).to_owned(),
        tenant: if every {
            String::new()
        } else {
            (*tenant).to_owned()
        },
        role: part(0),
        principal: part(1),
        allow_cross_tenant: every,
    })
}

fn key_of(written: &Written) -> Result<Key, &'static str> {
    if written.key.is_empty() {
        return Err("the key is empty");
    }
    let role = match written.role.as_str() {
        "" => Role::User,
        name => Role::from_name(name).ok_or("the role has to be viewer, user or admin")?,
    };
    if written.tenant.is_empty() && !written.allow_cross_tenant {
        return Err("it has no tenant; a key for all of them needs allow_cross_tenant");
    }
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Key {
        tenant: some(&written.tenant).filter(|_| !written.allow_cross_tenant),
        principal: some(&written.principal),
        personal: true,
        ..Key::new(&written.key, role)
    })
}

/// Who calls. The guard finds out, the handlers ask.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) role: Role,
    /// The only tenant they reach; `None` is every tenant.
    pub(super) tenant: Option<String>,
    /// Who they are, or say they are.
    pub(super) name: Option<String>,
    /// The key they proved themselves with, by its public id; empty without one.
    pub(super) key_id: String,
    /// Whether the key is theirs alone.
    pub(super) personal: bool,
    /// Whether the key says who they are.
    pub(super) named_by_key: bool,
}

impl Caller {
    /// Who they are, whatever a body says of it: the principal of their key. An admin may
    /// speak for others.
    pub(super) fn bound(&self) -> Option<&str> {
        let bound = self.named_by_key && self.role < Role::Admin;
        self.name.as_deref().filter(|_| bound)
    }

    /// Whether they reach what belongs to a tenant.
    pub(super) fn reaches(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant)
    }

    /// Whether they reach the job of a request.
    pub(super) fn reaches_request(&self, request: &JobRequest) -> bool {
        self.reaches(request.tenant().unwrap_or(DEFAULT_TENANT))
    }

    /// Refuses what belongs to a tenant that they do not reach; `None` is the default
    /// one.
    pub(super) fn must_reach(&self, tenant: Option<&str>) -> Result<(), Refusal> {
        if self.reaches(tenant.unwrap_or(DEFAULT_TENANT)) {
            Ok(())
        } else {
            Err(Refusal::other_tenant())
        }
    }
}

/// Reads base64 with the URL alphabet and without padding; `None` if it is not that.
pub(super) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // What is left over says nothing, and one key has one spelling.
    (bits == 0 && count < 6).then_some(out)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(text: &str) -> String {
        match Keyring::parse(text) {
            Ok(ring) => ring
                .keys
                .iter()
                .map(|key| {
                    let tenant = key.tenant.as_deref().unwrap_or("*");
                    let principal = key.principal.as_deref().unwrap_or("-");
                    format!("{tenant} {} {principal}", key.role.name())
                })
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn keys_are_read_in_both_forms() {
        for (text, expected) in [
            ("", ""),
            ("acme:k1", "acme user -"),
            (
                "acme:k1:viewer:bob, *:k2:admin",
                "acme viewer bob, * admin -",
            ),
            (
                "acme:k1:secops\n# old\nacme:k2:user:eve\n",
                "acme admin -, acme user eve",
            ),
            (
                r#"[{"key":"k1","tenant":"acme","role":"Admin","principal":"ada"}]"#,
                "acme admin ada",
            ),
            (
                r#"{"keys":[{"key":"k1","allow_cross_tenant":true}]}"#,
                "* user -",
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_bad_key_is_named_by_its_number_and_never_repeated() {
        for (text, expected) in [
            (
                "s3cret",
                "API key 1: it has to be tenant:key:role:principal",
            ),
            (
                "a:s3cret:b:c:d",
                "API key 1: it has more than tenant:key:role:principal",
            ),
            (
                "a:x, b:s3cret:boss",
                "API key 2: the role has to be viewer, user or admin",
            ),
            ("a:s3cret, b:s3cret", "API key 2: the same key came before"),
            ("a::user", "API key 1: the key is empty"),
            (
                r#"[{"key":"s3cret"}]"#,
                "API key 1: it has no tenant; a key for all of them needs allow_cross_tenant",
            ),
            (
                r#"[{"key":"s3cret","tennant":"a"}]"#,
                "API key 1: it has to be {key, tenant, role, principal, allow_cross_tenant}",
            ),
            (
                r#"{"s3cret":"admin"}"#,
                "the API keys are not a JSON list of {key, tenant, role, principal}",
            ),
        ] {
            assert_eq!(read(text), expected);
        }
        let shown = format!("{:?}", Keyring::shared("s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_file_of_keys_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("keys");
        std::fs::write(&path, "acme:k1:admin").expect("written");
        let mode = |bits| {
            let bits = std::fs::Permissions::from_mode(bits);
            std::fs::set_permissions(&path, bits).expect("ours");
        };
        mode(0o640);
        assert!(matches!(
            Keyring::load(&path),
            Err(BadKeys::File(PrivateFileError::Exposed { mode: 0o640, .. }))
        ));
        mode(0o600);
        assert!(Keyring::load(&path).is_ok());
        let nowhere = Keyring::load(&dir.path().join("nowhere"));
        assert!(matches!(
            nowhere,
            Err(BadKeys::File(PrivateFileError::Unreadable { .. }))
        ));
    }

    #[test]
    fn base64_of_the_url_alphabet_is_read_back() {
        assert_eq!(from_base64url("Zm9vYg").as_deref(), Some(&b"foob"[..]));
        assert_eq!(from_base64url("-_8").as_deref(), Some(&[0xfb, 0xff][..]));
        assert_eq!(from_base64url("").as_deref(), Some(&[][..]));
        for bad in ["Zm9v==", "Zm9vYh", "Z", "Zm+/"] {
            assert_eq!(from_base64url(bad), None, "{bad}");
        }
    }
}
