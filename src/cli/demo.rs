//! `capdeck demo`: a whole control plane and a console in one process.
//!
//! The two meet on the bus and over HTTP only, as they would between machines.

use std::sync::Arc;

use crate::bus::Bus;
use crate::bus::local::LocalBus;
use crate::cli::attach::{self, ScreenArgs};
use crate::cli::operate::client;
use crate::cli::up::{PlaneArgs, start_error};
use crate::cli::{CliError, config};
use crate::config::GatewayServer;
use crate::config::Secret;
use crate::config::servers::environment;
use crate::control_plane::ControlPlane;
use crate::runtime::{Runtime, Sources};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::time::{Clock, SystemClock};
use crate::tui::screen::Context;
use crate::tui::theme::Role;

/// What `capdeck demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    plane: PlaneArgs,
    #[command(flatten)]
    screen: ScreenArgs,
}

/// Runs both until the operator quits.
pub(super) fn run(args: &DemoArgs) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut options = args.plane.options(&*clock)?;
    // Somebody who only wants to look must not have to choose a port.
    options.http.next_free_port = true;
    let config = config::load_with(args.screen.themes())?;
    let screen = args.screen.over(&config, None)?;
    let mut look = screen.look(Context {
        name: "demo".to_owned(),
        ground: Role::Panel,
        addresses: [Some("in this process".to_owned()), None, None],
    })?;
    attach::start_log();
    attach::block_on(async {
        let bus: Arc<dyn Bus> = Arc::new(LocalBus::new());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock)));
        let plane = ControlPlane::start(
            Arc::clone(&bus),
            Arc::clone(&store),
            Arc::clone(&clock),
            options,
        )
        .await
        .map_err(start_error)?;
        let url = format!("http://{}", plane.http_addr());
        look.context.name = format!("demo {}", plane.http_addr());
        look.context.addresses[1] = Some(url.clone());
        let server = GatewayServer {
            url,
            api_key: environment("CORDUM_API_KEY").map(Secret::new),
            tenant: None,
            ca: None,
        };
        let sources = Sources {
            bus: Some(bus),
            gateway: Some(Arc::new(client(&server)?)),
            keep_view: config::keep_view(),
            ..Sources::default()
        };
        let runtime = Runtime::start(sources, screen.identity(), Arc::clone(&clock));
        let shown = attach::show(runtime, look, &screen, clock).await;
        plane.shutdown().await;
        shown
    })
}
