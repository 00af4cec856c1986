//! `agentry serve`: every HTTP face, until a signal says stop.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agentry_gateway::{Gateway, Observer, Policies, checks};
use agentry_server::{Drained, Metrics};
use anyhow::{Context as _, anyhow};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cli::{Context, Ended, Exit};
use crate::config::Config;
use crate::graphs;
use crate::instance::{Instance, Parts};
use crate::signals::{self, Signals};
use crate::terminal::Terminal;
use crate::wiring::graphs::{Outside, Project, Refresh};
use crate::wiring::identity::{self, Access};
use crate::wiring::models::Upstreams;
use crate::wiring::policies::{self, Background, Company};
use crate::wiring::storage::Stores;
use crate::wiring::{self, incident, reload, watching};

pub(crate) fn run(cx: &Context) -> Result<Exit, Ended> {
    let config = cx.config()?;
    let metrics = Arc::new(Metrics::new());
    let usage = |error| Ended { exit: Exit::Usage, error };
    if identity::nobody_can_be_known(&config) {
        return Err(usage(identity::open_to_strangers(&config)));
    }
    let definitions = graphs::load(cx, &config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let (hangups, listener) = (signals::hangups(), listen(config.server.listen).await?);
        let Stores { runs, archive, log, keys, ledger, requests, batches, threads, instance } =
            Stores::open(&config).await?;
        let batches = wiring::batches::Parts {
            requests,
            batches,
            settings: config.batches.clone(),
            instance: instance.clone(),
        };
        let company = Company::open(&config, instance.clone()).map_err(usage)?;
        let outside = Outside::new(cx, &config, company.shared.clone());
        let refresh = Refresh::new(cx, &config);
        let threads = wiring::threads::Parts {
            stores: threads,
            project: Some(Project {
                source: graphs::Source::of(cx, &config),
                definitions,
                outside,
                refreshed: refresh.listen(),
            }),
            hooks: config.server.hooks(),
            retention: config.retention,
            instance,
        };
        let access = Access::open(&config, keys, Arc::clone(&ledger), &company).await?;
        if access.is_open() && !config.server.listen.ip().is_loopback() {
            return Err(usage(identity::open_to_strangers(&config)));
        }
        cx.terminal.note(format_args!("access         {}", access.describe(&config)));
        let beside = (company.shared.clone(), company.instance.clone());
        let watching = watching::Parts::new(&config, Arc::clone(&ledger), beside);
        let (watching, tracer) = watching.map_err(usage)?;
        let (policies, background) =
            policies::open(&config, ledger, company, Arc::clone(&metrics)).await?;
        let heard = watching::heard(Arc::clone(&metrics), tracer);
        let called = models(cx, &config, (heard, policies), (background, refresh));
        let (gateway, background, reload) = called.map_err(usage)?;
        let ports = incident::ports(&config, &gateway).map_err(usage)?;
        let parts = Parts {
            server: config.server.settings.clone(),
            gateway,
            metrics,
            catalogue: config.catalogue.clone(),
            store: runs,
            archive,
            log,
            identity: Some(access),
            background,
            batches,
            threads,
            watching: Some(watching),
            reload: Some(reload::Parts { hangups, ..reload }),
            ports,
            handling: incident::settings(&config),
        };
        let instance = Box::pin(Instance::assemble(parts)).await?;
        Box::pin(serve(cx.terminal, &config, instance, listener)).await
    })
}

/// What calls go to, what keeps it going, and how it is changed while it runs.
fn models(
    cx: &Context,
    config: &Config,
    (heard, policies): (Arc<dyn Observer>, Policies),
    (background, refresh): (Background, Refresh),
) -> anyhow::Result<(Arc<Gateway>, Background, reload::Parts)> {
    let upstreams = Upstreams::open(config, background.tasks())?;
    let gateway = Arc::new(upstreams.gateway(config, heard, policies)?);
    let plans = upstreams.plans(config)?;
    let (checks, looking) = checks::Service::new(Arc::clone(&gateway), plans);
    let background = background.relieving(config.server.memory_max, &gateway).looking(looking);
    let reload = reload::Parts {
        source: cx.configuration().of(config),
        tables: config.tables.clone(),
        is_blank: config.is_blank,
        hangups: None,
        upstreams,
        checks,
        definitions: Some(refresh),
        has_issuers: !config.access.issuers.is_empty(),
    };
    Ok((gateway, background, reload))
}

async fn serve(
    terminal: Terminal,
    config: &Config,
    instance: Instance,
    listener: TcpListener,
) -> Result<Exit, Ended> {
    let address = listener.local_addr().context("read the address")?;
    let mut signals = Signals::catch()?;
    banner(terminal, config, address);

    let shutdown = CancellationToken::new();
    let mut running = std::pin::pin!(async {
        let mut running = std::pin::pin!(instance.run(listener, shutdown.clone()));
        tokio::select! {
            ended = &mut running => return ended,
            () = settle() => {}
        }
        running.await
    });
    tokio::select! {
        ended = &mut running => {
            ended?;
            return Ok(Exit::Done);
        }
        () = signals.next() => {
            terminal.note("stopping: what is in flight may finish, once more stops at once");
            shutdown.cancel();
        }
    }
    tokio::select! {
        ended = running => {
            let Drained { connections_cut } = ended?;
            if connections_cut > 0 {
                let cut = connections_cut;
                terminal.note(format_args!("{cut} connections did not finish in time and were cut"));
            }
            Ok(Exit::Done)
        }
        () = signals.next() => Ok(Exit::Interrupted),
    }
}

/// Once all that begins with the start has begun, its code is not needed any more.
async fn settle() {
    const SETTLED: Duration = Duration::from_secs(1);
    sleep(SETTLED).await;
    let released = spawn_blocking(agentry_resident::release_code).await;
    match released.map_err(io::Error::from).flatten() {
        Ok(bytes) => tracing::debug!(bytes, "gave back the code that the start needed"),
        Err(error) => tracing::debug!(%error, "keeps the code that the start needed"),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Ended> {
    let other = "choose another with AGENTRY__SERVER__LISTEN=127.0.0.1:0 (any free port)";
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        let why = match error.kind() {
            ErrorKind::AddrInUse => format!(
                "port {port} is taken: stop whoever has it (`ss -ltnp sport = :{port}` shows who), or {other}"
            ),
            ErrorKind::PermissionDenied => {
                format!("port {port} is for root only: {other}, or one above 1023")
            }
            ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
            _ => error.to_string(),
        };
        Ended { exit: Exit::Failed, error: anyhow!("cannot listen on {address}: {why}") }
    })
}

/// The first line on stdout says that requests are answered; the rest is for people.
fn banner(terminal: Terminal, config: &Config, address: SocketAddr) {
    match &config.file {
        Some(file) => terminal.note(format_args!("configuration  {}", file.display())),
        None => terminal.note("configuration  none, these are the defaults"),
    }
    for provider in &config.providers {
        let from = match provider.variable {
            Some(variable) => format!(" (because {variable} is set)"),
            None => String::new(),
        };
        terminal.note(format_args!("provider       {}{from}", provider.name));
    }
    let models: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
    match models.as_slice() {
        [] => terminal.note(
            "models         none: set OPENAI_API_KEY or another usual variable, or begin with `agentry init`",
        ),
        models => terminal.note(format_args!("models         {}", models.join(", "))),
    }
    if terminal.json {
        terminal.object(&json!({ "listening": format!("http://{address}") }));
    } else {
        terminal.data(format_args!("listening on http://{address}"));
    }
}
