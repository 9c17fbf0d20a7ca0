//! The store on a Redis server, with the keys of a CAP deployment.
//!
//! [`RedisStore::connect`] does not wait for a server and no call ever waits
//! long for one: a dead server is an error after a fraction of a second, a silent
//! one after [`CALL_LIMIT`]. The connection is made with the first call and made
//! again by the next call after it broke. The protocol is RESP3, with which a
//! broken line is noticed while idle; servers before Redis 6 do not speak it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use redis::aio::ConnectionManager;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Script};

use crate::config::RedisServer;
use crate::store::{Scored, Store, StoreError, Write};
use crate::time::{BoxFuture, Clock, Elapsed, sleep};

mod commit;
mod connection;

use commit::commands;
use connection::{open, without_credentials};

/// How long one call may take in all.
pub const CALL_LIMIT: Elapsed = Elapsed::from_millis(2_500);

/// Keys that the server looks at in one step when some are searched for.
const SCANNED: u32 = 1_000;

/// Sets KEYS[1] to ARGV[3] if it holds ARGV[2] (with ARGV[1] = "1") or nothing
/// (with "0"), for ARGV[4] milliseconds unless that is "0".
const COMPARE_AND_SET: &str = "
local present = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if present ~= ARGV[2] then return 0 end
elseif present then
  return 0
end
if ARGV[4] == '0' then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
return 1
";

/// Runs the commands in ARGV from 2 on, each as the count of its words and the words, if
/// KEYS[1] holds ARGV[1].
const COMMIT: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local at = 2
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + words))
  at = at + words + 1
end
return 1
";

/// A Redis server, or where one should be. A clone is another handle of the same
/// connection.
#[derive(Clone)]
pub struct RedisStore {
    url: String,
    near: bool,
    connection: ConnectionManager,
    compare_and_set: Arc<Script>,
    commit: Arc<Script>,
    clock: Arc<dyn Clock>,
}

/// Whether a command may be sent a second time when the line broke and nobody
/// knows what came of the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twice {
    /// It reads, or sets what it set already.
    IsFine,
    /// The second answer would differ from the first.
    IsNot,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {limit_ms} ms")]
struct Silent {
    limit_ms: u64,
}

impl RedisStore {
    /// Gets ready to use `server`; connects with the first call. Must be called
    /// inside a Tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when the address is not one, or a certificate
    /// file cannot be used: trying again would not help.
    pub fn connect(server: &RedisServer, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let url = without_credentials(&server.url);
        let (connection, near) = open(server).map_err(|source| StoreError::Unreachable {
            url: url.clone(),
            source,
        })?;
        Ok(Self {
            url,
            near,
            connection,
            compare_and_set: Arc::new(Script::new(COMPARE_AND_SET)),
            commit: Arc::new(Script::new(COMMIT)),
            clock,
        })
    }

    /// The server's address without credentials, for people.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn command<T: FromRedisValue>(
        &self,
        what: (&str, &str),
        twice: Twice,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        self.ask(what, twice, |mut connection| async move {
            command.query_async(&mut connection).await
        })
        .await
    }

    /// Asks within [`CALL_LIMIT`], a second time if the first found a broken line
    /// and may be repeated.
    async fn ask<T, Asking>(
        &self,
        (verb, key): (&str, &str),
        twice: Twice,
        once: impl Fn(ConnectionManager) -> Asking,
    ) -> Result<T, StoreError>
    where
        Asking: Future<Output = RedisResult<T>>,
    {
        let asking = async {
            match once(self.connection.clone()).await {
                // The client hands out the failure of its last attempt to
                // connect before it makes the next, so the first call after a
                // break always fails.
                Err(error) if may_repeat(&error, twice) => once(self.connection.clone()).await,
                done => done,
            }
        };
        match within(&*self.clock, asking).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) if error.is_io_error() || error.is_connection_dropped() => {
                Err(StoreError::Unreachable {
                    url: self.url.clone(),
                    source: Box::new(error),
                })
            }
            Some(Err(error)) => Err(StoreError::Refused {
                url: self.url.clone(),
                what: format!("{verb} `{key}`"),
                source: Box::new(error),
            }),
            None => Err(StoreError::Unreachable {
                url: self.url.clone(),
                source: Box::new(Silent {
                    limit_ms: CALL_LIMIT.as_millis(),
                }),
            }),
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("url", &self.url)
            .finish()
    }
}

impl Store for RedisStore {
    fn is_near(&self) -> bool {
        self.near
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let command = command("GET", key);
            let bytes: Option<Vec<u8>> =
                self.command(("read", key), Twice::IsFine, &command).await?;
            Ok(bytes.map(Bytes::from))
        })
    }

    fn len<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            let mut both = Pipeline::new();
            both.atomic()
                .add_command(command("EXISTS", key))
                .add_command(command("STRLEN", key));
            let both = &both;
            let (there, len): (bool, u64) = self
                .ask(
                    ("measure", key),
                    Twice::IsFine,
                    |mut connection| async move { both.query_async(&mut connection).await },
                )
                .await?;
            Ok(there.then_some(len))
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ttl: Option<Elapsed>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut command = command("SET", key);
            command.arg(&value[..]);
            if ttl.is_some() {
                command.arg("PX").arg(ttl_ms(ttl));
            }
            self.command(("write", key), Twice::IsFine, &command).await
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
            let mut script = self.compare_and_set.prepare_invoke();
            script
                .key(key)
                .arg(u8::from(expected.is_some()))
                .arg(expected.unwrap_or_default())
                .arg(&value[..])
                .arg(ttl_ms(ttl));
            let script = &script;
            self.ask(("write", key), Twice::IsNot, |mut connection| async move {
                script.invoke_async(&mut connection).await
            })
            .await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let command = command("DEL", key);
            self.command(("delete", key), Twice::IsNot, &command).await
        })
    }

    fn hash<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, StoreError>> {
        Box::pin(async move {
            let command = command("HGETALL", key);
            let fields: BTreeMap<Vec<u8>, Vec<u8>> =
                self.command(("read", key), Twice::IsFine, &command).await?;
            Ok(fields
                .into_iter()
                .map(|(name, value)| (text(&name), text(&value)))
                .collect())
        })
    }

    fn hash_put<'a>(
        &'a self,
        key: &'a str,
        fields: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if fields.is_empty() {
                return Ok(());
            }
            let mut command = command("HSET", key);
            for (name, value) in fields {
                command.arg(*name).arg(*value);
            }
            self.command(("write", key), Twice::IsFine, &command).await
        })
    }

    fn newest_after<'a>(
        &'a self,
        key: &'a str,
        skip: usize,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Scored>, StoreError>> {
        Box::pin(async move {
            let Some(last) = limit.checked_sub(1) else {
                return Ok(Vec::new());
            };
            let rank = |rank| i64::try_from(rank).unwrap_or(i64::MAX);
            let mut command = command("ZREVRANGE", key);
            command.arg(rank(skip)).arg(rank(skip.saturating_add(last)));
            command.arg("WITHSCORES");
            let members: Vec<(Vec<u8>, f64)> =
                self.command(("read", key), Twice::IsFine, &command).await?;
            Ok(members
                .into_iter()
                .map(|(member, score)| Scored {
                    member: text(&member),
                    // Exact up to 2^53, which as microseconds is the year 2255.
                    score: score as i64,
                })
                .collect())
        })
    }

    fn index_put<'a>(
        &'a self,
        key: &'a str,
        member: &'a str,
        score: i64,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut command = command("ZADD", key);
            command.arg(score).arg(member);
            self.command(("write", key), Twice::IsFine, &command).await
        })
    }

    fn members<'a>(
        &'a self,
        key: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            // Different ones, and no more than so many, which SMEMBERS does not promise.
            let mut command = command("SRANDMEMBER", key);
            command.arg(i64::try_from(limit).unwrap_or(i64::MAX));
            let members: Vec<Vec<u8>> =
                self.command(("read", key), Twice::IsFine, &command).await?;
            Ok(members.iter().map(|member| text(member)).collect())
        })
    }

    fn list<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        Box::pin(async move {
            let mut command = command("LRANGE", key);
            command.arg(0).arg(-1);
            let elements: Vec<Vec<u8>> =
                self.command(("read", key), Twice::IsFine, &command).await?;
            Ok(elements.into_iter().map(Bytes::from).collect())
        })
    }

    fn list_end<'a>(
        &'a self,
        key: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        Box::pin(async move {
            // To the server, "from -0" is the whole list.
            if limit == 0 {
                return Ok(Vec::new());
            }
            let first = i64::try_from(limit).map_or(i64::MIN, |limit| -limit);
            let mut command = command("LRANGE", key);
            command.arg(first).arg(-1);
            let elements: Vec<Vec<u8>> =
                self.command(("read", key), Twice::IsFine, &command).await?;
            Ok(elements.into_iter().map(Bytes::from).collect())
        })
    }

    fn list_push<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut command = command("RPUSH", key);
            command.arg(&value[..]);
            self.command(("write", key), Twice::IsNot, &command).await
        })
    }

    fn commit<'a>(
        &'a self,
        (guard, expected): (&'a str, &'a [u8]),
        writes: &'a [Write],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut script = self.commit.prepare_invoke();
            script.key(guard).arg(expected);
            for command in writes.iter().flat_map(commands) {
                script.arg(command.len());
                for word in &command {
                    script.arg(&word[..]);
                }
            }
            let script = &script;
            let key = writes.first().map_or(guard, Write::key);
            self.ask(("write", key), Twice::IsFine, |mut connection| async move {
                script.invoke_async(&mut connection).await
            })
            .await
        })
    }

    fn get_many<'a>(
        &'a self,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<Bytes>>, StoreError>> {
        Box::pin(async move {
            let Some(first) = keys.first() else {
                return Ok(Vec::new());
            };
            let mut command = redis::cmd("MGET");
            command.arg(keys);
            let found: Vec<Option<Vec<u8>>> = self
                .command(("read", first), Twice::IsFine, &command)
                .await?;
            Ok(found.into_iter().map(|it| it.map(Bytes::from)).collect())
        })
    }

    fn keys<'a>(
        &'a self,
        prefix: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let mut found: Vec<String> = Vec::new();
            let mut cursor = 0_u64;
            loop {
                let mut command = redis::cmd("SCAN");
                command.arg(cursor).arg("MATCH").arg(pattern(prefix));
                command.arg("COUNT").arg(SCANNED);
                let (next, keys): (u64, Vec<Vec<u8>>) = self
                    .command(("look for", prefix), Twice::IsFine, &command)
                    .await?;
                for key in keys {
                    let key = text(&key);
                    // The server may tell one twice.
                    if !found.contains(&key) {
                        found.push(key);
                    }
                }
                cursor = next;
                if cursor == 0 || found.len() >= limit {
                    found.truncate(limit);
                    return Ok(found);
                }
            }
        })
    }
}

/// The pattern of keys that begin with `prefix`.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::new();
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('*');
    pattern
}

fn may_repeat(error: &RedisError, twice: Twice) -> bool {
    match twice {
        Twice::IsFine => error.is_io_error() || error.is_connection_dropped(),
        // Refused means that nothing was sent.
        Twice::IsNot => error.is_connection_refusal(),
    }
}

fn command(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

/// Zero is "for ever" to the script and an error to the server.
fn ttl_ms(ttl: Option<Elapsed>) -> u64 {
    ttl.map_or(0, |ttl| ttl.as_millis().max(1))
}

/// What is not UTF-8 was not written by a CAP deployment; it is shown, not refused.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn within<T>(clock: &dyn Clock, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = sleep(clock, CALL_LIMIT) => None,
    }
}
