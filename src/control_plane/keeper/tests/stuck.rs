//! A store that takes no commits for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::store::memory::MemoryStore;
use crate::store::{Scored, Store, StoreError, Write};
use crate::time::{BoxFuture, Elapsed};

type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

#[derive(Clone, Debug)]
pub(super) struct Stuck {
    store: MemoryStore,
    is: Arc<AtomicBool>,
}

impl Stuck {
    pub(super) fn over(store: MemoryStore) -> Self {
        let is = Arc::default();
        Self { store, is }
    }

    pub(super) fn set(&self, is: bool) {
        self.is.store(is, Ordering::Relaxed);
    }
}

impl Store for Stuck {
    fn is_near(&self) -> bool {
        self.store.is_near()
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Bytes>> {
        self.store.get(key)
    }

    fn len<'a>(&'a self, key: &'a str) -> Answer<'a, Option<u64>> {
        self.store.len(key)
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes, ttl: Option<Elapsed>) -> Answer<'a, ()> {
        self.store.put(key, value, ttl)
    }

    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a [u8]>,
        value: Bytes,
        ttl: Option<Elapsed>,
    ) -> Answer<'a, bool> {
        self.store.compare_and_set(key, expected, value, ttl)
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        self.store.delete(key)
    }

    fn hash<'a>(&'a self, key: &'a str) -> Answer<'a, BTreeMap<String, String>> {
        self.store.hash(key)
    }

    fn hash_put<'a>(&'a self, key: &'a str, fields: &'a [(&'a str, &'a str)]) -> Answer<'a, ()> {
        self.store.hash_put(key, fields)
    }

    fn newest_after<'a>(
        &'a self,
        key: &'a str,
        skip: usize,
        limit: usize,
    ) -> Answer<'a, Vec<Scored>> {
        self.store.newest_after(key, skip, limit)
    }

    fn members<'a>(&'a self, key: &'a str, limit: usize) -> Answer<'a, Vec<String>> {
        self.store.members(key, limit)
    }

    fn index_put<'a>(&'a self, key: &'a str, member: &'a str, score: i64) -> Answer<'a, ()> {
        self.store.index_put(key, member, score)
    }

    fn list<'a>(&'a self, key: &'a str) -> Answer<'a, Vec<Bytes>> {
        self.store.list(key)
    }

    fn list_end<'a>(&'a self, key: &'a str, limit: usize) -> Answer<'a, Vec<Bytes>> {
        self.store.list_end(key, limit)
    }

    fn list_push<'a>(&'a self, key: &'a str, value: Bytes) -> Answer<'a, ()> {
        self.store.list_push(key, value)
    }

    fn commit<'a>(&'a self, guard: (&'a str, &'a [u8]), writes: &'a [Write]) -> Answer<'a, bool> {
        Box::pin(async move {
            if self.is.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            self.store.commit(guard, writes).await
        })
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> Answer<'a, Vec<Option<Bytes>>> {
        self.store.get_many(keys)
    }

    fn keys<'a>(&'a self, prefix: &'a str, limit: usize) -> Answer<'a, Vec<String>> {
        self.store.keys(prefix, limit)
    }
}
