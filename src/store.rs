//! The key-value store of a deployment: payloads behind pointers, and the
//! records that the control plane keeps.
//!
//! Keys are those of a CAP deployment on Redis. What an implementation promises:
//! a read sees the last completed write; [`Store::compare_and_set`] is atomic; a
//! value with a time to live is gone after it; every call ends within seconds,
//! server or no server. One conformance suite, `tests/it/store.rs`, holds the
//! in-memory store and a real Redis to it.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::time::{BoxFuture, Elapsed};

pub mod memory;
pub mod redis;

/// Why the store could not answer.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The server cannot be reached or did not answer in time.
    #[error("the store at {url} does not answer")]
    Unreachable {
        /// The server, without credentials.
        url: String,
        /// What the client reported.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered with an error, such as a key of another type.
    #[error("the store at {url} refused to {what}")]
    Refused {
        /// The server, without credentials.
        url: String,
        /// The operation, as a verb and its key.
        what: String,
        /// What the server said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A member of a sorted index with its score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The member, a job id in the job indexes.
    pub member: String,
    /// Its score; microseconds since 1970 in the job indexes.
    pub score: i64,
}

/// One change of a commit. Done twice it is as if it were done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Writes the bytes at a key, for ever or for a time.
    Put {
        /// The key.
        key: String,
        /// The bytes.
        value: Bytes,
        /// How long they live; `None` is for ever.
        ttl: Option<Elapsed>,
    },
    /// Removes a key of any shape.
    Delete {
        /// The key.
        key: String,
    },
    /// Sets fields of a hash and leaves the others. The whole hash lives for `ttl` from
    /// now; without one, its time to live stays as it is.
    Fields {
        /// The key.
        key: String,
        /// Names and values.
        fields: Vec<(String, String)>,
        /// How long the hash lives.
        ttl: Option<Elapsed>,
    },
    /// Adds or moves a member of an index.
    Index {
        /// The key.
        key: String,
        /// The member.
        member: String,
        /// Its score.
        score: i64,
    },
    /// Takes a member out of an index.
    Unindex {
        /// The key.
        key: String,
        /// The member.
        member: String,
    },
    /// Puts a member into a set. The whole set lives for `ttl` from now; without one, its
    /// time to live stays as it is.
    Member {
        /// The key.
        key: String,
        /// The member.
        member: String,
        /// How long the set lives.
        ttl: Option<Elapsed>,
    },
    /// Takes a member out of a set; one without members is none.
    Unmember {
        /// The key.
        key: String,
        /// The member.
        member: String,
    },
    /// Sets a list, whatever it held; without elements there is none. It lives for `ttl`
    /// from now, or for ever.
    List {
        /// The key.
        key: String,
        /// Its elements, the oldest first.
        elements: Vec<Bytes>,
        /// How long the list lives.
        ttl: Option<Elapsed>,
    },
    /// Keeps only the members of an index with the highest scores.
    Newest {
        /// The key.
        key: String,
        /// How many.
        keep: usize,
    },
    /// Adds or moves members of an index, drops those with a score below `from`, and lets
    /// the index live for `ttl` from now.
    Window {
        /// The key.
        key: String,
        /// The members with their scores.
        members: Vec<(String, i64)>,
        /// The lowest score that stays.
        from: i64,
        /// How long the index lives.
        ttl: Elapsed,
    },
}

impl Write {
    /// The key that it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. }
            | Self::Delete { key }
            | Self::Fields { key, .. }
            | Self::Index { key, .. }
            | Self::Unindex { key, .. }
            | Self::Member { key, .. }
            | Self::Unmember { key, .. }
            | Self::List { key, .. }
            | Self::Newest { key, .. }
            | Self::Window { key, .. } => key,
        }
    }
}

/// A key-value store with the few shapes that CAP deployments use.
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Whether it is on this machine, so that it may be asked often.
    fn is_near(&self) -> bool;

    /// The bytes at `key`; `None` if there are none, or no longer.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;

    /// The length of the bytes at `key` without reading them; `None` if there are none.
    fn len<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<u64>, StoreError>>;

    /// Writes `value`, for ever or for `ttl`.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ttl: Option<Elapsed>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Writes `value` only if the bytes at `key` are `expected` (`None`: only if
    /// there are none). Returns whether it wrote.
    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a [u8]>,
        value: Bytes,
        ttl: Option<Elapsed>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Removes `key` of any shape. Returns whether there was one.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// All fields of the hash at `key`; empty if there is none.
    fn hash<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, StoreError>>;

    /// Sets fields of the hash at `key` and leaves the others.
    fn hash_put<'a>(
        &'a self,
        key: &'a str,
        fields: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The members of the index at `key`, highest score first, at most `limit`.
    fn newest<'a>(
        &'a self,
        key: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Scored>, StoreError>> {
        self.newest_after(key, 0, limit)
    }

    /// As [`Store::newest`], without the first `skip`, so that a long index can be read in
    /// parts.
    fn newest_after<'a>(
        &'a self,
        key: &'a str,
        skip: usize,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Scored>, StoreError>>;

    /// Adds or moves a member of the index at `key`.
    fn index_put<'a>(
        &'a self,
        key: &'a str,
        member: &'a str,
        score: i64,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Members of the set at `key`, in no order, at most `limit`.
    fn members<'a>(
        &'a self,
        key: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;

    /// All elements of the list at `key`, oldest first.
    fn list<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>>;

    /// The last elements of the list at `key`, at most `limit`, oldest first.
    fn list_end<'a>(
        &'a self,
        key: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>>;

    /// Appends to the list at `key`.
    fn list_push<'a>(&'a self, key: &'a str, value: Bytes)
    -> BoxFuture<'a, Result<(), StoreError>>;

    /// Does all of `writes`, in their order, if the bytes at `guard.0` are `guard.1`,
    /// else none of them; nobody sees a part. Returns whether the guard held. A write
    /// to a key of another shape is an error; those before it may then have been done.
    fn commit<'a>(
        &'a self,
        guard: (&'a str, &'a [u8]),
        writes: &'a [Write],
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// The bytes at each of `keys`, in their order.
    fn get_many<'a>(
        &'a self,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>>;

    /// Keys that begin with `prefix`, in no order, at most `limit`. The whole store may
    /// be looked through for them, so this is nothing for a loop.
    fn keys<'a>(
        &'a self,
        prefix: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;
}
