//! Pointers: where a payload is.
//!
//! Control planes write `redis://` and the key itself, with no host; the CAP
//! specification writes a slash where the key has a colon. A pointer comes from
//! whoever sent the job, so only keys that hold payloads are ever looked up: the
//! store also holds what the sender must not make us show. Start at
//! [`Pointer::parse`].

use thiserror::Error;

/// Keys longer than this are refused (CAP 2.17).
pub const MAX_KEY_BYTES: usize = 1_024;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointerKind {
    /// `ctx:`, what a job works on.
    Context,
    /// `res:`, what came of it.
    Result,
    /// `mem:`, what an agent remembers.
    Memory,
    /// `art:`, a file it made.
    Artifact,
}

impl PointerKind {
    const ALL: [Self; 4] = [Self::Context, Self::Result, Self::Memory, Self::Artifact];

    /// The first part of its keys, without the colon.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Context => "ctx",
            Self::Result => "res",
            Self::Memory => "mem",
            Self::Artifact => "art",
        }
    }

    fn of(prefix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }
}

/// A pointer that names something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// Keys of the store.
    Stored {
        /// What they hold.
        kind: PointerKind,
        /// Keys to try, in this order; the first that exists is meant.
        keys: Vec<String>,
    },
    /// Something outside the store, which neither a gateway nor we resolve.
    Opaque {
        /// Such as `s3`, in lower case.
        scheme: String,
    },
}

/// Why a pointer names nothing that we look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PointerError {
    /// There is none.
    #[error("there is no pointer")]
    Empty,
    /// Not `scheme://…`.
    #[error("a pointer begins with a scheme, such as redis://")]
    NoScheme,
    /// A scheme that CAP does not have.
    #[error("pointers of this scheme are not part of CAP")]
    UnknownScheme,
    /// It names a host, a user or a path.
    #[error("a redis:// pointer holds a key, not a server or a path")]
    NotAKey,
    /// A key that holds something else than payloads.
    #[error("only ctx:, res:, mem: and art: keys hold payloads")]
    NotAPayload,
    /// A character that keys do not have, or an empty name.
    #[error("the key has characters that CAP does not allow")]
    BadKey,
    /// Longer than [`MAX_KEY_BYTES`].
    #[error("the key is longer than {MAX_KEY_BYTES} bytes")]
    TooLong,
}

impl Pointer {
    /// Reads a pointer such as `redis://ctx:<job_id>` or `redis://ctx/<job_id>`.
    ///
    /// # Errors
    /// [`PointerError`] when it names nothing that we look up.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Err(PointerError::Empty);
        }
        let (scheme, rest) = text.split_once("://").ok_or(PointerError::NoScheme)?;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "redis" => Self::from_key(rest),
            "s3" | "file" | "https" => Ok(Self::Opaque { scheme }),
            _ => Err(PointerError::UnknownScheme),
        }
    }

    /// Reads a key such as `ctx:<job_id>`, as `GET /memory?key=` takes it.
    ///
    /// # Errors
    /// [`PointerError`] when it is not the key of a payload.
    pub fn from_key(key: &str) -> Result<Self, PointerError> {
        if key.len() > MAX_KEY_BYTES {
            return Err(PointerError::TooLong);
        }
        let Some((prefix, name)) = key.split_once('/') else {
            let (prefix, name) = key.split_once(':').ok_or(PointerError::NotAPayload)?;
            let kind = PointerKind::of(prefix).ok_or(PointerError::NotAPayload)?;
            check_name(name)?;
            return Ok(Self::Stored {
                kind,
                keys: vec![key.to_owned()],
            });
        };
        let kind = PointerKind::of(prefix).ok_or(PointerError::NotAKey)?;
        check_name(name)?;
        Ok(Self::Stored {
            kind,
            keys: vec![key.to_owned(), format!("{prefix}:{name}")],
        })
    }
}

fn check_name(name: &str) -> Result<(), PointerError> {
    if name.contains('/') {
        return Err(PointerError::NotAKey);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":._@-[]".contains(c);
    if name.is_empty() || !name.chars().all(allowed) || name.contains("..") {
        return Err(PointerError::BadKey);
    }
    Ok(())
}

/// The pointer to what a job works on.
pub fn context_of(job_id: &crate::ids::JobId) -> String {
    format!("redis://ctx:{job_id}")
}

/// The pointer to what came of a job.
pub fn result_of(job_id: &crate::ids::JobId) -> String {
    format!("redis://res:{job_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pointer: &str, says: &str) {
        let got = match Pointer::parse(pointer) {
            Ok(Pointer::Stored { kind, keys }) => {
                format!("{} {}", kind.prefix(), keys.join(" then "))
            }
            Ok(Pointer::Opaque { scheme }) => format!("opaque {scheme}"),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(got, says, "{pointer}");
    }

    #[test]
    fn the_grammar_of_control_planes_is_the_key_itself() {
        check("redis://ctx:job-1", "ctx ctx:job-1");
        check("redis://ctx:job-1:undo", "ctx ctx:job-1:undo");
        check("redis://res:j:redacted:00ff", "res res:j:redacted:00ff");
        check("redis://mem:repo@main[1]", "mem mem:repo@main[1]");
        check("REDIS://art:2f", "art art:2f");
    }

    #[test]
    fn a_slash_is_tried_as_written_and_then_as_a_colon() {
        check("redis://ctx/job-1", "ctx ctx/job-1 then ctx:job-1");
        check("redis://res/j:2", "res res/j:2 then res:j:2");
    }

    #[test]
    fn what_is_outside_the_store_is_named_and_not_resolved() {
        check("s3://bucket/a/b?x=1", "opaque s3");
        check("file:///etc/passwd", "opaque file");
        check("https://host/x", "opaque https");
    }

    #[test]
    fn nothing_but_payloads_is_looked_up() {
        check("redis://job:meta:j1", "NotAPayload");
        check("redis://auth:keys", "NotAPayload");
        check("redis://ctx", "NotAPayload");
        check("redis://127.0.0.1:6379/ctx:j", "NotAKey");
        check("redis://user:pw@host/0", "NotAKey");
        check("redis://ctx/a/b", "NotAKey");
        check("redis://ctx:../x", "NotAKey");
        check("redis://ctx:a..b", "BadKey");
        check("redis://ctx:", "BadKey");
        check("redis://ctx:a b", "BadKey");
        check("redis://ctx:a\u{202e}b", "BadKey");
        check(&format!("redis://ctx:{}", "a".repeat(1_021)), "TooLong");
        check("", "Empty");
        check("ctx:j1", "NoScheme");
        check("gopher://x", "UnknownScheme");
    }

    #[test]
    fn our_own_pointers_are_read_back() {
        let id = crate::ids::JobId::from("j-1");
        check(&context_of(&id), "ctx ctx:j-1");
        check(&result_of(&id), "res res:j-1");
    }
}
