//! What lists are sorted by.

macro_rules! sort_keys {
    ($( $(#[$doc:meta])* $key:ident = $name:literal, $word:literal; )*) => {
        /// What the rows of a list are sorted by: a column, or what needs a person.
        ///
        /// Rows in which the column is unknown come last.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum SortKey {
            $( $(#[$doc])* $key, )*
        }

        impl SortKey {
            /// The name that `:sort` takes.
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$key => $name, )*
                }
            }

            /// What a title calls it.
            pub fn word(self) -> &'static str {
                match self {
                    $( Self::$key => $word, )*
                }
            }
        }
    };
}

sort_keys! {
    /// What needs a person first: the default of every list.
    Attention = "attention", "attention first";
    /// Time in the present state, longest first.
    Age = "age", "longest first";
    /// State, those that need a person first, then age.
    State = "state", "by state";
    /// Topic, then age.
    Topic = "topic", "by topic";
    /// How far it is, furthest first.
    Progress = "progress", "furthest first";
    /// Worker, then age.
    Worker = "worker", "by worker";
    /// What policy decided.
    Verdict = "verdict", "by verdict";
    /// How often it was handed over, most first.
    Tries = "tries", "most tries first";
    /// Tenant.
    Tenant = "tenant", "by tenant";
    /// The rule that decided.
    Rule = "rule", "by rule";
    /// Last change, newest first.
    Updated = "updated", "latest first";
    /// Time to the deadline, shortest first.
    Sla = "sla", "nearest deadline first";
    /// Jobs held up, most first.
    Held = "held", "most held first";
    /// Risk tags.
    Risk = "risk", "by risk";
    /// What cannot be undone first.
    Undo = "undo", "no undo first";
    /// Who asked.
    Requester = "requester", "by requester";
    /// Pressure, highest first.
    Pressure = "pressure", "highest pressure first";
    /// Pool, then name.
    Pool = "pool", "by pool";
    /// Region, then name.
    Region = "region", "by region";
    /// Load of the processors, highest first.
    Cpu = "cpu", "highest cpu first";
    /// Load of the memory, highest first.
    Memory = "memory", "highest memory first";
    /// Load of the accelerators, highest first.
    Gpu = "gpu", "highest gpu first";
    /// Share of the slots in use, highest first.
    Slots = "slots", "fullest first";
    /// What was undone of what is to be undone, least first.
    Undone = "undone", "least undone first";
    /// How often it decided, most first.
    Hits = "hits", "most hits first";
    /// The cause, by its code.
    Reason = "reason", "by reason";
    /// Silence, longest first.
    Heard = "heard", "longest silent first";
    /// The thing that it would be done to.
    Resource = "resource", "by resource";
    /// The policy that judged it.
    Snapshot = "snapshot", "by snapshot";
    /// Live workers, most first.
    Live = "live", "most live first";
    /// Late workers, most first.
    Late = "late", "most late first";
    /// Lost workers, most first.
    Lost = "lost", "most lost first";
    /// Draining workers, most first.
    Draining = "draining", "most draining first";
    /// Zombies, most first.
    Zombie = "zombie", "most zombies first";
    /// How often it allowed, most first.
    Allowed = "allow", "most allowed first";
    /// How often it allowed with limits, most first.
    Limited = "limit", "most limited first";
    /// How often it asked for a person, most first.
    Asked = "ask", "most asked first";
    /// How often it throttled, most first.
    Throttled = "throttle", "most throttled first";
    /// How often it denied, most first.
    Denied = "deny", "most denied first";
    /// Name or id.
    Name = "name", "by name";
}
