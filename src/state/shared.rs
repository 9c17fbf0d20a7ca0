//! Tables that are cheap to keep twice.
//!
//! A frozen screen and a seek point hold a whole model while the live one goes on.
//! So the big tables are rows of shared pieces: a clone copies a few thousand
//! counters, and after that only the pieces that change are copied.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Pieces of a [`SharedMap`]: at 100,000 rows a piece has about a hundred, so the
/// first change after a clone copies a few kilobytes.
const SHARDS: usize = 1024;

/// Rows of a piece of an [`Ordered`] before it is split.
const CHUNK: usize = 512;

/// A map from ids to rows.
///
/// Keys are placed by a hash that is the same in every process, and compared when
/// hashes meet, so ids made to collide cost time and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMap<K, V> {
    shards: Vec<Arc<BTreeMap<(u64, K), V>>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Clone + Ord + Borrow<str>, V: Clone> SharedMap<K, V> {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        let hash = hash(key.borrow());
        self.shards.get(shard(hash))?.get(&(hash, key.clone()))
    }

    /// The row of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = hash(key.borrow());
        let piece = self.shards.get_mut(shard(hash))?;
        let key = (hash, key.clone());
        if !piece.contains_key(&key) {
            return None;
        }
        Arc::make_mut(piece).get_mut(&key)
    }

    /// The row of `key`, made by `make` if there is none.
    pub fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        if self.shards.is_empty() {
            // One empty piece stands for all until each is written to.
            self.shards = std::iter::repeat_n(Arc::default(), SHARDS).collect();
        }
        let hash = hash(key.borrow());
        let len = &mut self.len;
        Arc::make_mut(&mut self.shards[shard(hash)])
            .entry((hash, key.clone()))
            .or_insert_with(|| {
                *len += 1;
                make()
            })
    }

    /// Sets the row of `key` and returns the one it replaces.
    pub fn insert(&mut self, key: &K, value: V) -> Option<V> {
        let mut value = Some(value);
        let row = self.get_or_insert_with(key, || value.take().expect("made at most once"));
        value.map(|value| std::mem::replace(row, value))
    }

    /// Removes the row of `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let hash = hash(key.borrow());
        let piece = self.shards.get_mut(shard(hash))?;
        let key = (hash, key.clone());
        if !piece.contains_key(&key) {
            return None;
        }
        let removed = Arc::make_mut(piece).remove(&key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// All rows, in an order that is fixed but means nothing.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards
            .iter()
            .flat_map(|piece| piece.iter())
            .map(|((_, key), value)| (key, value))
    }

    /// All rows, in an order that is fixed but means nothing.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

fn shard(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or(0) % SHARDS
}

/// FNV-1a with a final mix; the same in every process.
fn hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A sorted row of keys that knows the place of each.
///
/// Inserting, removing, finding the place of a key and reading a slice cost the
/// logarithm of its length plus the size of one piece, so a screen of a million
/// rows costs what a screen of a thousand costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<K> {
    chunks: Vec<Arc<Vec<K>>>,
    len: usize,
}

impl<K> Default for Ordered<K> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Clone + Ord> Ordered<K> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `key`; false if it is there already.
    pub fn insert(&mut self, key: K) -> bool {
        let at = self.chunk_of(&key).min(self.chunks.len().saturating_sub(1));
        let is_last = at + 1 == self.chunks.len();
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(vec![key]));
            self.len = 1;
            return true;
        };
        let Err(place) = chunk.binary_search(&key) else {
            return false;
        };
        self.len += 1;
        if chunk.len() < CHUNK {
            Arc::make_mut(chunk).insert(place, key);
        } else if is_last && place == chunk.len() {
            // Most keys are times and come in their order: their pieces stay full.
            self.chunks.push(Arc::new(vec![key]));
        } else {
            let lower = Arc::make_mut(chunk);
            let mut upper = lower.split_off(CHUNK / 2);
            lower.shrink_to_fit();
            match place.checked_sub(CHUNK / 2) {
                Some(place) => upper.insert(place, key),
                None => lower.insert(place, key),
            }
            self.chunks.insert(at + 1, Arc::new(upper));
        }
        true
    }

    /// Removes `key`; false if it is not there.
    pub fn remove(&mut self, key: &K) -> bool {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return false;
        };
        let Ok(place) = chunk.binary_search(key) else {
            return false;
        };
        Arc::make_mut(chunk).remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        true
    }

    /// How many keys stand before `key`, which need not be there itself.
    pub fn rank(&self, key: &K) -> usize {
        let at = self.chunk_of(key);
        let before: usize = self.chunks[..at].iter().map(|chunk| chunk.len()).sum();
        before
            + self.chunks.get(at).map_or(0, |chunk| {
                chunk.binary_search(key).unwrap_or_else(|place| place)
            })
    }

    /// The keys from place `start` on.
    pub fn iter_from(&self, start: usize) -> impl Iterator<Item = &K> {
        let mut skip = start;
        let mut at = 0;
        while let Some(chunk) = self.chunks.get(at)
            && skip >= chunk.len()
        {
            skip -= chunk.len();
            at += 1;
        }
        self.chunks[at..]
            .iter()
            .flat_map(|chunk| chunk.iter())
            .skip(skip)
    }

    /// The keys in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The first key.
    pub fn first(&self) -> Option<&K> {
        self.chunks.first().and_then(|chunk| chunk.first())
    }

    /// The last key.
    pub fn last(&self) -> Option<&K> {
        self.chunks.last().and_then(|chunk| chunk.last())
    }

    fn chunk_of(&self, key: &K) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last < key))
    }
}

/// A short text that many rows share; `None` is "not known".
pub type Text = Option<Arc<str>>;

/// `text` as it came, or `None` when the sender left it empty.
pub fn text(text: &str) -> Text {
    (!text.is_empty()).then(|| Arc::from(text))
}

/// Overwrites `known` with `news`, unless the news is nothing; says whether it changed.
pub(crate) fn learn<T: PartialEq>(known: &mut Option<T>, news: Option<T>) -> bool {
    match news {
        Some(_) if *known != news => {
            *known = news;
            true
        }
        Some(_) | None => false,
    }
}

/// Sets `known` only if nothing is known yet; says whether it changed.
pub(crate) fn learn_first<T>(known: &mut Option<T>, news: Option<T>) -> bool {
    match (&known, news) {
        (None, Some(news)) => {
            *known = Some(news);
            true
        }
        _ => false,
    }
}

/// Labels, sorted by name.
pub type Labels = Arc<[(Arc<str>, Arc<str>)]>;

/// Keeps one copy of what many jobs and workers share, such as topics and labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interner {
    known: Arc<BTreeSet<Arc<str>>>,
    labels: Arc<BTreeSet<Labels>>,
}

impl Interner {
    /// The shared copy of `text`; `None` if it is empty.
    pub fn text(&mut self, text: &str) -> Text {
        if text.is_empty() {
            return None;
        }
        if let Some(shared) = self.known.get(text) {
            return Some(Arc::clone(shared));
        }
        let fresh: Arc<str> = Arc::from(text);
        if self.known.len() < super::limits::INTERNED && text.len() <= super::limits::INTERNED_LEN {
            Arc::make_mut(&mut self.known).insert(Arc::clone(&fresh));
        }
        Some(fresh)
    }

    /// The shared copy of `labels`.
    pub fn labels(&mut self, labels: Labels) -> Labels {
        if let Some(shared) = self.labels.get(&labels) {
            return Arc::clone(shared);
        }
        if self.labels.len() < super::limits::INTERNED_LABELS {
            Arc::make_mut(&mut self.labels).insert(Arc::clone(&labels));
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;
    use proptest::prelude::*;

    #[test]
    fn a_clone_of_a_map_keeps_what_it_had_while_the_other_goes_on() {
        let mut live = SharedMap::default();
        for n in 0..5_000 {
            live.insert(&JobId::from(format!("j-{n}")), n);
        }
        let frozen = live.clone();
        let id = JobId::from("j-77");
        *live.get_mut(&id).expect("it is there") = 1_000_000;
        assert_eq!(live.remove(&JobId::from("j-78")), Some(78));
        assert_eq!(live.remove(&JobId::from("j-78")), None);
        assert_eq!((live.len(), frozen.len()), (4_999, 5_000));
        assert_eq!(
            (live.get(&id), frozen.get(&id)),
            (Some(&1_000_000), Some(&77))
        );
        assert_eq!(frozen.iter().count(), 5_000);
        let shared = live
            .shards
            .iter()
            .zip(&frozen.shards)
            .filter(|(a, b)| Arc::ptr_eq(a, b))
            .count();
        assert!(shared >= SHARDS - 2, "only what changed was copied");
    }

    proptest! {
        #[test]
        fn an_ordered_row_is_a_sorted_set_that_counts(steps in prop::collection::vec((any::<bool>(), 0_u32..4_000), 0..3_000)) {
            let mut ordered = Ordered::default();
            let mut model = std::collections::BTreeSet::new();
            for (add, key) in steps {
                if add {
                    prop_assert_eq!(ordered.insert(key), model.insert(key));
                } else {
                    prop_assert_eq!(ordered.remove(&key), model.remove(&key));
                }
            }
            prop_assert_eq!(ordered.len(), model.len());
            prop_assert!(ordered.iter().eq(model.iter()));
            prop_assert_eq!(ordered.first(), model.first());
            prop_assert_eq!(ordered.last(), model.last());
            for (place, key) in model.iter().enumerate().step_by(97) {
                prop_assert_eq!(ordered.rank(key), place);
                prop_assert_eq!(ordered.iter_from(place).next(), Some(key));
            }
            prop_assert_eq!(ordered.iter_from(model.len()).next(), None);
        }
    }

    #[test]
    fn a_long_row_is_kept_in_pieces() {
        let mut ordered = Ordered::default();
        for n in 0..10_000 {
            ordered.insert(n);
        }
        assert_eq!(
            ordered.chunks.len(),
            10_000_usize.div_ceil(CHUNK),
            "all full"
        );
        assert!(ordered.chunks.iter().all(|chunk| chunk.len() <= CHUNK));
        assert_eq!(
            ordered.iter_from(9_998).copied().collect::<Vec<_>>(),
            [9_998, 9_999]
        );
        assert_eq!(ordered.rank(&20_000), 10_000);
    }
}
