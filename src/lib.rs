//! capdeck: the terminal console for the Cordum Agent Protocol.
//!
//! Modules in reading order: [`ids`] and [`time`] name things and instants;
//! [`bus`] and [`store`] are the seams to the outside; [`wire`] makes packets of
//! bytes; [`state`] is the pure model that packets, answers and keys move;
//! [`text`] makes words of outsiders safe to show; [`nearest`] finds what was meant; [`view`] selects rows;
//! [`runtime`] feeds the model and runs its effects;
//! [`gateway_client`] speaks HTTP to any CAP gateway; [`audit`] is the operator's
//! log; [`headless`] prints the model and [`tui`] draws it. [`control_plane`] is
//! a whole small CAP deployment that meets the console only on the wire.
//! [`config`] and [`cli`] put it together.

pub mod audit;
pub mod bus;
pub mod cli;
pub mod config;
pub mod control_plane;
pub mod gateway_client;
pub mod headless;
pub mod ids;
pub mod nearest;
pub mod runtime;
pub mod state;
pub mod store;
pub mod text;
pub mod time;
pub mod tui;
pub mod view;
pub mod wire;
