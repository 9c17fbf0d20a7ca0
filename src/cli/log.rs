//! The log of the program: warnings and errors, a line each.

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};

/// Writes the log to `writer`, without colors.
pub(super) fn to<W>(writer: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let base: Layered<LevelFilter, Registry> =
        tracing_subscriber::registry().with(LevelFilter::WARN);
    base.with(filter_fn(is_for_people)).with(
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(writer),
    )
}

/// Whether a line says something that needs a person.
///
/// Our own keeper of the line to NATS connects again and lets the client do it not even
/// once, so that the client calls each loss an error of having tried too often.
fn is_for_people(metadata: &Metadata<'_>) -> bool {
    let of_the_client = metadata.target().starts_with("async_nats");
    !(of_the_client && metadata.fields().field("max_reconnects").is_some())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_client_of_nats_is_heard_but_for_what_our_own_keeper_does() {
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::subscriber::with_default(to(move || writer.clone()), || {
            tracing::error!(
                target: "async_nats::connector",
                attempts = 2,
                max_reconnects = 1,
                "max reconnection attempts reached"
            );
            tracing::error!(target: "async_nats::connector", "authorization violation");
            tracing::warn!(max_reconnects = 1, "our own words");
            tracing::info!("a detail");
        });
        let text = String::from_utf8(kept.0.lock().expect("no panic").clone()).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("authorization violation"), "{text}");
        assert!(lines[1].contains("our own words"), "{text}");
    }
}
