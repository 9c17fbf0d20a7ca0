//! Names of things, as types.
//!
//! An id is compared, ordered and cloned often, so each is a shared string: a
//! clone costs a counter, never a copy. Nothing is validated here beyond the
//! type: what a sender wrote is what we show, and [`JobId::is_empty`] tells the
//! one case that identifies nothing.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the id as its sender wrote it.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The id, unchanged.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the sender left it empty, so that it names nothing.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.into())
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id.into())
            }
        }
    };
}

id! {
    /// A job, unique within a deployment.
    JobId
}
id! {
    /// A worker process, as it names itself in its heartbeats.
    WorkerId
}
id! {
    /// What ties packets of one request together.
    TraceId
}
id! {
    /// A group of interchangeable workers.
    PoolName
}
id! {
    /// Whoever signs a packet with its name: a worker, a gateway, a console.
    SenderId
}
