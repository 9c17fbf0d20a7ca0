//! The store in memory: what a Redis server keeps, for one process.
//!
//! Made for `capdeck demo` and for tests. Its time to live runs by the clock it
//! is given. It is bounded by bytes: a write beyond the bound is refused, as a
//! full server would do, and nothing is evicted, so a payload never vanishes
//! from under a reviewer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::store::{Scored, Store, StoreError, Write};
use crate::time::{BoxFuture, Clock, Elapsed, Timestamp};

/// Bytes of keys and values that a store holds before it refuses to grow:
/// several days of a demo, and little beside what a laptop has.
pub const CAPACITY_BYTES: usize = 256 * 1024 * 1024;

/// What one entry, field, member or element costs beside its own bytes; an
/// estimate of the collections' nodes.
const OVERHEAD_BYTES: usize = 64;

/// What stands for an address in this store's errors.
const URL: &str = "memory:";

/// A key-value store inside this process. A clone is another handle of the same
/// store.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    shelves: Arc<Mutex<Shelves>>,
}

#[derive(Debug)]
struct Shelves {
    entries: BTreeMap<String, Entry>,
    /// Every entry with a time to live, the next to go first.
    expiring: BTreeSet<(Timestamp, String)>,
    used_bytes: usize,
    capacity_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    expires: Option<Timestamp>,
}

#[derive(Debug)]
enum Value {
    Blob(Bytes),
    Hash(BTreeMap<String, String>),
    Index(BTreeMap<String, i64>),
    List(Vec<Bytes>),
    Set(BTreeSet<String>),
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the key holds a {0}")]
    WrongShape(&'static str),
    #[error("its {capacity_bytes} bytes are used up")]
    Full { capacity_bytes: usize },
}

impl MemoryStore {
    /// An empty store of [`CAPACITY_BYTES`], whose values age by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_capacity(clock, CAPACITY_BYTES)
    }

    /// An empty store that refuses to hold more than `capacity_bytes` of keys and
    /// values, small costs of bookkeeping included.
    pub fn with_capacity(clock: Arc<dyn Clock>, capacity_bytes: usize) -> Self {
        Self {
            clock,
            shelves: Arc::new(Mutex::new(Shelves {
                entries: BTreeMap::new(),
                expiring: BTreeSet::new(),
                used_bytes: 0,
                capacity_bytes,
            })),
        }
    }

    /// The shelves without what is past its time.
    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        let now = self.clock.now();
        // Every method leaves the shelves whole, so a panic elsewhere while they
        // were locked does not spoil them.
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.expire(now);
        shelves
    }

    /// What `take` makes of what `key` holds, which is nothing where nothing is there.
    fn read<T: Default>(
        &self,
        key: &str,
        take: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, StoreError> {
        match self.shelves().value(key) {
            None => Ok(T::default()),
            Some(value) => take(value).ok_or_else(|| refused("read", key)(value.wrong_shape())),
        }
    }

    fn write(&self, shelves: &mut Shelves, write: &Write) -> Result<(), StoreError> {
        shelves
            .write(write, self.clock.now())
            .map_err(refused("write", write.key()))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shelves = self.shelves();
        f.debug_struct("MemoryStore")
            .field("entries", &shelves.entries.len())
            .field("used_bytes", &shelves.used_bytes)
            .finish()
    }
}

impl Store for MemoryStore {
    fn is_near(&self) -> bool {
        true
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move { self.shelves().blob(key).map_err(refused("read", key)) })
    }

    fn len<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            let blob = self.shelves().blob(key).map_err(refused("measure", key))?;
            Ok(blob.map(|blob| blob.len() as u64))
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ttl: Option<Elapsed>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let key = key.to_owned();
            self.write(&mut self.shelves(), &Write::Put { key, value, ttl })
        })
    }

    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a [u8]>,
        value: Bytes,
        ttl: Option<Elapsed>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut shelves = self.shelves();
            let present = shelves.blob(key).map_err(refused("write", key))?;
            if present.as_deref() != expected {
                return Ok(false);
            }
            let key = key.to_owned();
            self.write(&mut shelves, &Write::Put { key, value, ttl })?;
            Ok(true)
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.shelves().remove(key)) })
    }

    fn hash<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, StoreError>> {
        Box::pin(async move {
            self.read(key, |value| match value {
                Value::Hash(fields) => Some(fields.clone()),
                Value::Blob(_) | Value::Index(_) | Value::List(_) | Value::Set(_) => None,
            })
        })
    }

    fn hash_put<'a>(
        &'a self,
        key: &'a str,
        fields: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let write = Write::Fields {
                key: key.to_owned(),
                fields: fields.collect(),
                ttl: None,
            };
            self.write(&mut self.shelves(), &write)
        })
    }

    fn newest_after<'a>(
        &'a self,
        key: &'a str,
        skip: usize,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Scored>, StoreError>> {
        Box::pin(async move {
            self.read(key, |value| {
                let mut newest = value.by_score()?;
                // Equal scores come in the reverse order of their members, as Redis has it.
                newest.reverse();
                let part = newest.into_iter().skip(skip).take(limit);
                let scored = part.map(|(score, member)| Scored {
                    member: member.to_owned(),
                    score,
                });
                Some(scored.collect())
            })
        })
    }

    fn index_put<'a>(
        &'a self,
        key: &'a str,
        member: &'a str,
        score: i64,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let write = Write::Index {
                key: key.to_owned(),
                member: member.to_owned(),
                score,
            };
            self.write(&mut self.shelves(), &write)
        })
    }

    fn members<'a>(
        &'a self,
        key: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            self.read(key, |value| match value {
                Value::Set(members) => Some(members.iter().take(limit).cloned().collect()),
                Value::Blob(_) | Value::Hash(_) | Value::Index(_) | Value::List(_) => None,
            })
        })
    }

    fn list<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        self.list_end(key, usize::MAX)
    }

    fn list_end<'a>(
        &'a self,
        key: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        Box::pin(async move {
            self.read(key, |value| match value {
                Value::List(elements) => {
                    let first = elements.len().saturating_sub(limit);
                    Some(elements[first..].to_vec())
                }
                Value::Blob(_) | Value::Hash(_) | Value::Index(_) | Value::Set(_) => None,
            })
        })
    }

    fn list_push<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let added_bytes = OVERHEAD_BYTES + value.len();
            self.shelves()
                .change(key, added_bytes, Value::List(Vec::new()), |present| {
                    let Value::List(elements) = present else {
                        return Err(present.wrong_shape());
                    };
                    elements.push(value);
                    Ok(())
                })
                .map_err(refused("write", key))
        })
    }

    fn commit<'a>(
        &'a self,
        (guard, expected): (&'a str, &'a [u8]),
        writes: &'a [Write],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut shelves = self.shelves();
            let present = shelves.blob(guard).map_err(refused("read", guard))?;
            if present.as_deref() != Some(expected) {
                return Ok(false);
            }
            for write in writes {
                self.write(&mut shelves, write)?;
            }
            Ok(true)
        })
    }

    fn get_many<'a>(
        &'a self,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>> {
        Box::pin(async move {
            let shelves = self.shelves();
            // As a server does it: a key of another shape holds no bytes.
            let found = keys.iter().map(|key| shelves.blob(key).unwrap_or_default());
            Ok(found.collect())
        })
    }

    fn keys<'a>(
        &'a self,
        prefix: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let shelves = self.shelves();
            let from = shelves.entries.range(prefix.to_owned()..);
            let found = from
                .map(|(key, _)| key)
                .take_while(|key| key.starts_with(prefix));
            Ok(found.take(limit).cloned().collect())
        })
    }
}

impl Shelves {
    fn expire(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.expiring.first()
            && *at <= now
            && let Some((_, key)) = self.expiring.pop_first()
        {
            self.remove(&key);
        }
    }

    fn write(&mut self, write: &Write, now: Timestamp) -> Result<(), Refusal> {
        let expiry = |ttl: Option<Elapsed>| ttl.map(|ttl| now.plus(ttl));
        match write {
            Write::Put { key, value, ttl } => {
                self.replace(key, Value::Blob(value.clone()), expiry(*ttl))
            }
            Write::Delete { key } => {
                self.remove(key);
                Ok(())
            }
            Write::Fields { fields, .. } if fields.is_empty() => Ok(()),
            Write::Fields { key, fields, ttl } => {
                self.set_fields(key, fields)?;
                if ttl.is_some() {
                    self.expire_at(key, expiry(*ttl));
                }
                Ok(())
            }
            Write::Index { key, member, score } => self.set_score(key, member, *score),
            Write::Unindex { key, member } => self.keep_members(key, |name, _| name != member),
            Write::Member { key, member, ttl } => {
                self.set_member(key, member)?;
                if ttl.is_some() {
                    self.expire_at(key, expiry(*ttl));
                }
                Ok(())
            }
            Write::Unmember { key, member } => self.remove_member(key, member),
            Write::List { key, elements, .. } if elements.is_empty() => {
                self.remove(key);
                Ok(())
            }
            Write::List { key, elements, ttl } => {
                self.replace(key, Value::List(elements.clone()), expiry(*ttl))
            }
            Write::Newest { key, keep } => {
                let Some(mut all) = self.value(key).and_then(Value::by_score) else {
                    return self.keep_members(key, |_, _| true);
                };
                let gone = all.len().saturating_sub(*keep);
                let kept = all.split_off(gone).into_iter();
                let kept: BTreeSet<_> = kept.map(|(at, name)| (at, name.to_owned())).collect();
                self.keep_members(key, |name, at| kept.contains(&(at, name.to_owned())))
            }
            Write::Window {
                key,
                members,
                from,
                ttl,
            } => {
                for (member, score) in members {
                    self.set_score(key, member, *score)?;
                }
                self.keep_members(key, |_, at| at >= *from)?;
                self.expire_at(key, expiry(Some(*ttl)));
                Ok(())
            }
        }
    }

    fn set_fields(&mut self, key: &str, fields: &[(String, String)]) -> Result<(), Refusal> {
        let added_bytes = fields
            .iter()
            .map(|(name, value)| OVERHEAD_BYTES + name.len() + value.len())
            .sum();
        self.change(key, added_bytes, Value::Hash(BTreeMap::new()), |value| {
            let Value::Hash(present) = value else {
                return Err(value.wrong_shape());
            };
            for (name, value) in fields {
                present.insert(name.clone(), value.clone());
            }
            Ok(())
        })
    }

    fn set_score(&mut self, key: &str, member: &str, score: i64) -> Result<(), Refusal> {
        let added_bytes = OVERHEAD_BYTES + member.len();
        self.change(key, added_bytes, Value::Index(BTreeMap::new()), |value| {
            let Value::Index(members) = value else {
                return Err(value.wrong_shape());
            };
            members.insert(member.to_owned(), score);
            Ok(())
        })
    }

    fn set_member(&mut self, key: &str, member: &str) -> Result<(), Refusal> {
        let added_bytes = OVERHEAD_BYTES + member.len();
        self.change(key, added_bytes, Value::Set(BTreeSet::new()), |value| {
            let Value::Set(members) = value else {
                return Err(value.wrong_shape());
            };
            members.insert(member.to_owned());
            Ok(())
        })
    }

    fn remove_member(&mut self, key: &str, member: &str) -> Result<(), Refusal> {
        if !self.entries.contains_key(key) {
            return Ok(());
        }
        let mut left = 0;
        self.change(key, 0, Value::Set(BTreeSet::new()), |value| {
            let Value::Set(members) = value else {
                return Err(value.wrong_shape());
            };
            members.remove(member);
            left = members.len();
            Ok(())
        })?;
        if left == 0 {
            self.remove(key);
        }
        Ok(())
    }

    /// Takes the other members out of an index; one without members is none.
    fn keep_members(&mut self, key: &str, keep: impl Fn(&str, i64) -> bool) -> Result<(), Refusal> {
        if !self.entries.contains_key(key) {
            return Ok(());
        }
        let mut left = 0;
        self.change(key, 0, Value::Index(BTreeMap::new()), |value| {
            let Value::Index(members) = value else {
                return Err(value.wrong_shape());
            };
            members.retain(|name, at| keep(name, *at));
            left = members.len();
            Ok(())
        })?;
        if left == 0 {
            self.remove(key);
        }
        Ok(())
    }

    fn expire_at(&mut self, key: &str, at: Option<Timestamp>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut entry.expires, at) {
            self.expiring.remove(&(old, key.to_owned()));
        }
        if let Some(at) = at {
            self.expiring.insert((at, key.to_owned()));
        }
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    fn blob(&self, key: &str) -> Result<Option<Bytes>, Refusal> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Blob(blob)) => Ok(Some(blob.clone())),
            Some(other) => Err(other.wrong_shape()),
        }
    }

    /// Sets `key` whatever it held.
    fn replace(
        &mut self,
        key: &str,
        value: Value,
        expires: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        let freed = self.value(key).map_or(0, |present| cost(key, present));
        self.make_room(cost(key, &value), freed)?;
        self.remove(key);
        self.used_bytes += cost(key, &value);
        let entry = Entry {
            value,
            expires: None,
        };
        self.entries.insert(key.to_owned(), entry);
        self.expire_at(key, expires);
        Ok(())
    }

    /// Changes what `key` holds, beginning with `empty`, and leaves its time to
    /// live. `change` adds at most `added_bytes` and fails before it changes.
    fn change(
        &mut self,
        key: &str,
        added_bytes: usize,
        empty: Value,
        change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let new_key = match self.entries.contains_key(key) {
            true => 0,
            false => cost(key, &empty),
        };
        self.make_room(added_bytes + new_key, 0)?;
        let entry = self.entries.entry(key.to_owned()).or_insert(Entry {
            value: empty,
            expires: None,
        });
        let before = if new_key > 0 {
            0
        } else {
            cost(key, &entry.value)
        };
        change(&mut entry.value)?;
        self.used_bytes = self.used_bytes - before + cost(key, &entry.value);
        Ok(())
    }

    fn remove(&mut self, key: &str) -> bool {
        self.expire_at(key, None);
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        self.used_bytes -= cost(key, &entry.value);
        true
    }

    fn make_room(&self, added_bytes: usize, freed_bytes: usize) -> Result<(), Refusal> {
        if self.used_bytes - freed_bytes + added_bytes > self.capacity_bytes {
            return Err(Refusal::Full {
                capacity_bytes: self.capacity_bytes,
            });
        }
        Ok(())
    }
}

impl Value {
    /// The members of an index, the lowest first.
    fn by_score(&self) -> Option<Vec<(i64, &str)>> {
        let Self::Index(members) = self else {
            return None;
        };
        let members = members.iter();
        let mut members: Vec<_> = members.map(|(name, at)| (*at, name.as_str())).collect();
        members.sort_unstable();
        Some(members)
    }

    fn wrong_shape(&self) -> Refusal {
        Refusal::WrongShape(match self {
            Self::Blob(_) => "value",
            Self::Hash(_) => "hash",
            Self::Index(_) => "index",
            Self::List(_) => "list",
            Self::Set(_) => "set",
        })
    }
}

fn cost(key: &str, value: &Value) -> usize {
    let items = match value {
        Value::Blob(blob) => blob.len(),
        Value::Hash(fields) => fields
            .iter()
            .map(|(name, value)| OVERHEAD_BYTES + name.len() + value.len())
            .sum(),
        Value::Index(members) => members.keys().map(|name| OVERHEAD_BYTES + name.len()).sum(),
        Value::List(elements) => elements.iter().map(|e| OVERHEAD_BYTES + e.len()).sum(),
        Value::Set(members) => members.iter().map(|name| OVERHEAD_BYTES + name.len()).sum(),
    };
    OVERHEAD_BYTES + key.len() + items
}

fn refused(verb: &'static str, key: &str) -> impl Fn(Refusal) -> StoreError {
    let what = format!("{verb} `{key}`");
    move |refusal| StoreError::Refused {
        url: URL.into(),
        what: what.clone(),
        source: Box::new(refusal),
    }
}
