//! The writes of a commit as commands.

use bytes::Bytes;

use super::ttl_ms;
use crate::store::Write;
use crate::time::Elapsed;

/// Words of one command in a commit: a script unpacks a few thousand at most.
const WORDS_AT_ONCE: usize = 1_000;

/// What a write is to the server: one command or two, each as its words.
pub(super) fn commands(write: &Write) -> Vec<Vec<Bytes>> {
    fn word(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }
    let lives = |key: &str, ttl: &Option<Elapsed>| {
        ttl.map(|ttl| {
            let ms = ttl.as_millis().max(1).to_string();
            vec![word("PEXPIRE"), word(key), Bytes::from(ms)]
        })
    };
    match write {
        Write::Put { key, value, ttl } => {
            let mut command = vec![word("SET"), word(key), value.clone()];
            if ttl.is_some() {
                command.extend([word("PX"), Bytes::from(ttl_ms(*ttl).to_string())]);
            }
            vec![command]
        }
        Write::Delete { key } => vec![vec![word("DEL"), word(key)]],
        Write::Fields { fields, .. } if fields.is_empty() => Vec::new(),
        Write::Fields { key, fields, ttl } => {
            let mut command = vec![word("HSET"), word(key)];
            for (name, value) in fields {
                command.extend([word(name), word(value)]);
            }
            [Some(command), lives(key, ttl)]
                .into_iter()
                .flatten()
                .collect()
        }
        Write::Index { key, member, score } => {
            let score = Bytes::from(score.to_string());
            vec![vec![word("ZADD"), word(key), score, word(member)]]
        }
        Write::Unindex { key, member } => vec![vec![word("ZREM"), word(key), word(member)]],
        Write::Member { key, member, ttl } => {
            let command = vec![word("SADD"), word(key), word(member)];
            [Some(command), lives(key, ttl)]
                .into_iter()
                .flatten()
                .collect()
        }
        Write::Unmember { key, member } => vec![vec![word("SREM"), word(key), word(member)]],
        Write::List { key, elements, ttl } => {
            let mut all = vec![vec![word("DEL"), word(key)]];
            for some in elements.chunks(WORDS_AT_ONCE) {
                let mut command = vec![word("RPUSH"), word(key)];
                command.extend(some.iter().cloned());
                all.push(command);
            }
            all.extend(lives(key, ttl));
            all
        }
        Write::Newest { key, keep } => {
            let last = i64::try_from(*keep).map_or(i64::MIN, |keep| -keep - 1);
            let last = Bytes::from(last.to_string());
            vec![vec![word("ZREMRANGEBYRANK"), word(key), word("0"), last]]
        }
        Write::Window {
            key,
            members,
            from,
            ttl,
        } => {
            let mut all = Vec::new();
            for some in members.chunks(WORDS_AT_ONCE / 2) {
                let mut command = vec![word("ZADD"), word(key)];
                for (member, score) in some {
                    command.extend([Bytes::from(score.to_string()), word(member)]);
                }
                all.push(command);
            }
            let below = Bytes::from(format!("({from}"));
            all.push(vec![
                word("ZREMRANGEBYSCORE"),
                word(key),
                word("-inf"),
                below,
            ]);
            all.extend(lives(key, &Some(*ttl)));
            all
        }
    }
}
