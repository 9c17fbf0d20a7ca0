//! Time as data.
//!
//! Everything that decides takes a [`Timestamp`]; only [`SystemClock`] asks the
//! operating system. Tests drive [`ManualClock`].

use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// An instant in milliseconds since 1970-01-01 UTC.
///
/// Jobs have many that are not known: an `Option` of it takes no more room than an
/// instant does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

/// Maps the order of signed numbers to that of unsigned ones.
const SIGN: u64 = 1 << 63;

impl Default for Timestamp {
    fn default() -> Self {
        Self::from_millis(0)
    }
}

impl Timestamp {
    /// The instant `ms` milliseconds after 1970-01-01T00:00:00Z; negative is before.
    /// The lowest number is taken as the next one.
    pub const fn from_millis(ms: i64) -> Self {
        match NonZeroU64::new(ms.cast_unsigned() ^ SIGN) {
            Some(mapped) => Self(mapped),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The instant `us` microseconds after 1970-01-01T00:00:00Z, rounded down to milliseconds.
    pub const fn from_micros(us: i64) -> Self {
        Self::from_millis(us.div_euclid(1_000))
    }

    /// The instant of a count since 1970-01-01T00:00:00Z whose magnitude tells its
    /// unit, as control planes write them: below 1e12 seconds, below 1e15
    /// milliseconds, below 1e18 microseconds, else nanoseconds. `None` for zero and
    /// below, which is how an absent instant is written.
    pub const fn from_any_unit(count: i64) -> Option<Self> {
        match count {
            ..=0 => None,
            1..1_000_000_000_000 => Some(Self::from_millis(count.saturating_mul(1_000))),
            1_000_000_000_000..1_000_000_000_000_000 => Some(Self::from_millis(count)),
            1_000_000_000_000_000..1_000_000_000_000_000_000 => Some(Self::from_micros(count)),
            _ => Some(Self::from_millis(count / 1_000_000)),
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// Microseconds since 1970-01-01T00:00:00Z, saturating.
    pub const fn as_micros(self) -> i64 {
        self.as_millis().saturating_mul(1_000)
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub const fn since(self, earlier: Self) -> Elapsed {
        let gap = self.as_millis().saturating_sub(earlier.as_millis());
        Elapsed(if gap > 0 { gap as u64 } else { 0 })
    }

    /// This instant moved later by `by`, saturating.
    pub const fn plus(self, by: Elapsed) -> Self {
        Self::from_millis(self.as_millis().saturating_add_unsigned(by.0))
    }

    /// This instant moved earlier by `by`, saturating.
    pub const fn minus(self, by: Elapsed) -> Self {
        Self::from_millis(self.as_millis().saturating_sub_unsigned(by.0))
    }

    /// Reads an RFC 3339 instant with any offset; `None` if it is not one.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|instant| Self::from_millis(instant.as_millisecond()))
    }

    /// The civil time in UTC, `None` outside the years -9999 to 9999, which only
    /// a broken sender reaches.
    pub fn to_utc(self) -> Option<jiff::civil::DateTime> {
        let instant = jiff::Timestamp::from_millisecond(self.as_millis()).ok()?;
        Some(jiff::tz::TimeZone::UTC.to_datetime(instant))
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-01-01T00:00:00.000Z`; an
/// instant that no calendar holds is written as its number of milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.as_millis()) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.as_millis()),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Elapsed(u64);

impl Elapsed {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// `s` seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000))
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// The same length for the standard library.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Debug for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where shells get the time from.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// Waits until [`Clock::now`] is `at` or later; returns at once if it already is.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

/// Waits for `by` on `clock`.
pub async fn sleep(clock: &dyn Clock, by: Elapsed) {
    clock.sleep_until(clock.now().plus(by)).await;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the OS clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let wait = at.since(self.now());
        Box::pin(tokio::time::sleep(wait.as_duration()))
    }
}

/// A clock that stands still until it is told to move.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<watch::Sender<Timestamp>>,
}

impl ManualClock {
    /// A clock that shows `at`.
    pub fn at(at: Timestamp) -> Self {
        Self {
            now: Arc::new(watch::Sender::new(at)),
        }
    }

    /// Moves the clock forward and wakes every sleeper whose time has come.
    pub fn advance(&self, by: Elapsed) {
        self.now.send_modify(|now| *now = now.plus(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= at).await.is_err() {
                // The clock is gone, so its time never comes.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_as_rfc_3339_and_read_back() {
        let at = Timestamp::from_millis(1_767_225_600_123);
        assert_eq!(at.to_string(), "2026-01-01T00:00:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339(&at.to_string()), Some(at));
        assert_eq!(
            Timestamp::parse_rfc3339("2026-01-01T01:00:00.123+01:00"),
            Some(at)
        );
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn an_instant_no_calendar_holds_is_still_written() {
        assert_eq!(
            Timestamp::from_millis(i64::MAX).to_string(),
            format!("{}ms", i64::MAX)
        );
        assert_eq!(Timestamp::from_millis(i64::MAX).to_utc(), None);
    }

    #[test]
    fn instants_are_ordered_as_their_milliseconds_are_and_none_takes_no_room() {
        let all = [i64::MIN + 1, -1_767_225_600_123, -1, 0, 1, i64::MAX];
        let instants = all.map(Timestamp::from_millis);
        assert!(instants.is_sorted());
        assert_eq!(instants.map(Timestamp::as_millis), all);
        assert_eq!(Timestamp::from_millis(i64::MIN), instants[0]);
        assert_eq!(Timestamp::default(), instants[3]);
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<Timestamp>());
    }

    #[test]
    fn time_never_runs_backwards() {
        let early = Timestamp::from_millis(1_000);
        let late = Timestamp::from_millis(3_500);
        assert_eq!(late.since(early), Elapsed::from_millis(2_500));
        assert_eq!(early.since(late), Elapsed::ZERO);
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_its_sleepers_when_their_time_comes() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let sleeper = tokio::spawn(clock.sleep_until(Timestamp::from_millis(50)));
        clock.advance(Elapsed::from_millis(49));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Elapsed::from_millis(1));
        sleeper.await.expect("the sleeper ends");
    }
}
