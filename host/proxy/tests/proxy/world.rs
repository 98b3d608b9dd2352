//! A proxy that serves on a port of its own, with a routing table that the test writes as the driver would.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use parking_lot::Mutex;
use router_core::{
    ErrorKind, InstanceId, Now, SlotKey,
    action::GuardedTool,
    event::Event,
    permit::BreakerSetting,
    route::{Route, Unavailable, UnavailableKind},
};
use router_proxy::{
    FinishedRequest, GuardedTools, McpPath, MeteredTools, Proxy, ProxyCount, ProxyLimits,
    ProxyObserver, ProxyParts, RevocationStore, RevokedSession, RoutingEntry, RoutingTable,
    SessionClaims, SessionOwner, SessionSeal, SharedBreaker,
};
use router_upstream::UpstreamConfig;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::{
    client::{Client, soon},
    instance::Instance,
};

pub(crate) struct World {
    pub(crate) id: InstanceId,
    pub(crate) address: SocketAddr,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) table: Arc<RoutingTable>,
    pub(crate) breaker: Arc<SharedBreaker>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) notes: Arc<Notes>,
    clock: Arc<AtomicU64>,
    is_clock_stopped: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the observer received.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) finished: Mutex<Vec<(String, Option<ErrorKind>, bool)>>,
    /// By tool: which, and whether it went wrong.
    pub(crate) called: Mutex<Vec<(Option<String>, bool)>>,
    counts: Mutex<HashMap<ProxyCount, u64>>,
    has_counted: Notify,
}

impl Notes {
    pub(crate) fn count(&self, what: ProxyCount) -> u64 {
        self.counts.lock().get(&what).copied().unwrap_or(0)
    }

    /// Waits until a condition holds that something counted makes true.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let wait = async {
            loop {
                let more = self.has_counted.notified();
                if holds() {
                    return;
                }
                more.await;
            }
        };
        soon(what, wait).await;
    }

    pub(crate) fn errors(&self) -> Vec<ErrorKind> {
        self.finished
            .lock()
            .iter()
            .filter_map(|(_, kind, _)| *kind)
            .collect()
    }
}

impl ProxyObserver for Notes {
    fn finished(&self, finished: &FinishedRequest<'_>) {
        let tool = finished.tool.map(str::to_owned);
        self.called.lock().push((tool, finished.error.is_some()));
        self.finished.lock().push((
            finished.instance.to_owned(),
            finished.error,
            finished.is_instance_fault,
        ));
    }

    fn count(&self, what: ProxyCount) {
        *self.counts.lock().entry(what).or_default() += 1;
        self.has_counted.notify_waiters();
    }
}

/// What outlives a router: two that share this value share their sessions, and know which of them were ended.
#[derive(Default)]
pub(crate) struct Seals {
    claims: Mutex<HashMap<String, SessionClaims>>,
    pub(crate) ended: Mutex<Vec<RevokedSession>>,
}

impl RevocationStore for Seals {
    fn load(&self) -> Vec<RevokedSession> {
        self.ended.lock().clone()
    }

    fn add(&self, session: RevokedSession) {
        self.ended.lock().push(session);
    }
}

impl SessionSeal for Seals {
    fn seal(&self, claims: &SessionClaims) -> String {
        let token = claims
            .nonce
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        self.claims.lock().insert(token.clone(), claims.clone());
        token
    }

    fn open(&self, token: &str) -> Option<SessionClaims> {
        self.claims.lock().get(token).cloned()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ProxyLimits::default(), Arc::default(), "e1").await
    }

    pub(crate) async fn with(limits: ProxyLimits, seals: Arc<Seals>, epoch: &str) -> Self {
        let id = InstanceId::parse("demo").unwrap();
        let table = Arc::new(RoutingTable::new());
        let (sender, events) = mpsc::channel(64);
        let notes = Arc::new(Notes::default());
        let clock = Arc::new(AtomicU64::new(1_000));
        let is_clock_stopped = Arc::new(AtomicBool::new(false));
        let (begun, base) = (Instant::now(), clock.clone());
        let is_stopped = is_clock_stopped.clone();
        let parts = ProxyParts {
            table: table.clone(),
            seal: seals.clone(),
            revocations: seals,
            observer: notes.clone(),
            events: sender,
            clock: Arc::new(move || {
                if is_stopped.load(Ordering::Relaxed) {
                    return Now::at(base.load(Ordering::Relaxed));
                }
                let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap();
                Now::at(base.load(Ordering::Relaxed) + elapsed)
            }),
            epoch: epoch.to_owned(),
            limits,
        };
        let proxy = Proxy::new(parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = proxy.clone();
        let app = Router::new().fallback(async move |request| serve(&served, request).await);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let running = tokio::spawn(proxy.clone().run());
        Self {
            id,
            address,
            proxy,
            table,
            breaker: Arc::default(),
            events,
            notes,
            clock,
            is_clock_stopped,
            tasks: vec![serving, running],
        }
    }

    /// A world with a ready instance.
    pub(crate) async fn ready() -> (Self, Instance) {
        let world = Self::new().await;
        let instance = world.start_run(1).await;
        (world, instance)
    }

    pub(crate) async fn start_run(&self, run: u64) -> Instance {
        self.start_run_with(run, |_| {}).await
    }

    pub(crate) async fn start_run_with(
        &self,
        run: u64,
        adjust: impl FnOnce(&mut UpstreamConfig),
    ) -> Instance {
        let instance = Instance::start(&self.id, run, adjust).await;
        self.route_to(&instance);
        instance
    }

    pub(crate) fn route_to(&self, instance: &Instance) {
        self.set_ready(self.id.clone(), instance, self.breaker.clone());
    }

    /// Another instance beside the one that the clients of this world use.
    pub(crate) async fn start_other(&self, id: &str, breaker: Arc<SharedBreaker>) -> Instance {
        let id = InstanceId::parse(id).unwrap();
        let instance = Instance::start(&id, 1, |_| {}).await;
        self.set_ready(id, &instance, breaker);
        instance
    }

    fn set_ready(&self, id: InstanceId, instance: &Instance, breaker: Arc<SharedBreaker>) {
        let key = SlotKey::first(id);
        let route = Route::Ready {
            key: key.clone(),
            run: instance.upstream.run(),
        };
        self.table.set(RoutingEntry::new(
            key,
            route,
            Some(instance.upstream.clone()),
            breaker,
        ));
    }

    /// From now on these tools of the instance have breakers of their own.
    pub(crate) fn guard(&self, instance: &Instance, tools: Vec<GuardedTool>) -> Arc<GuardedTools> {
        let tools = Arc::new(GuardedTools::new(tools, None));
        let key = SlotKey::first(self.id.clone());
        let route = Route::Ready {
            key: key.clone(),
            run: instance.upstream.run(),
        };
        let upstream = Some(instance.upstream.clone());
        let entry = RoutingEntry::new(key, route, upstream, self.breaker.clone());
        self.table.set(entry.with_tools(Some(tools.clone())));
        tools
    }

    /// Counts calls of these tools apart.
    pub(crate) fn meter(&self, instance: &Instance, tools: &[&str], guarded: Vec<GuardedTool>) {
        let metered = MeteredTools::new(tools.iter().map(|tool| (*tool).into()));
        self.guard(instance, guarded);
        let entry = self.table.get(self.id.as_str()).unwrap();
        let (key, route) = (entry.key.clone(), entry.route.clone());
        let upstream = entry.upstream.clone();
        let renewed = RoutingEntry::new(key, route, upstream, self.breaker.clone())
            .with_tools(entry.tools.clone())
            .with_metered(Some(Arc::new(metered)));
        self.table.set(renewed);
    }

    pub(crate) fn route(&self, route: Route) {
        let key = SlotKey::first(self.id.clone());
        self.table
            .set(RoutingEntry::new(key, route, None, self.breaker.clone()));
    }

    pub(crate) fn unavailable(
        &self,
        kind: UnavailableKind,
        reason: &str,
        retry_after_ms: Option<u64>,
    ) {
        let retry_at_ms = retry_after_ms.map(|ms| self.now_ms() + ms);
        self.route(Route::Unavailable(Unavailable {
            kind,
            reason: reason.into(),
            retry_at_ms,
        }));
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// From now on it is [`World::now_ms`].
    pub(crate) fn stop_clock(&self) {
        self.is_clock_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_breaker(&self, setting: BreakerSetting) {
        self.breaker.cell().apply(&setting);
    }

    /// Lets time pass on the clock of the router.
    pub(crate) fn pass(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) async fn next_event(&mut self) -> Event {
        soon("an event for the driver", self.events.recv())
            .await
            .unwrap()
    }

    /// A client that has initialized.
    pub(crate) async fn client(&self) -> Client {
        self.client_of("2025-11-25").await
    }

    pub(crate) async fn client_of(&self, version: &str) -> Client {
        let mut client = self.raw_client();
        client.initialize(version).await;
        client
    }

    pub(crate) fn raw_client(&self) -> Client {
        Client::new(format!("http://{}/mcp/{}", self.address, self.id))
    }
}

/// As the product does it, but that the access rules in front believe every caller.
async fn serve(proxy: &Proxy, mut request: Request) -> Response {
    if let Some(caller) = request.headers().get("x-caller") {
        let name = caller.to_str().unwrap().into();
        let owner = SessionOwner { via: "token", name };
        request.extensions_mut().insert(owner);
    }
    match McpPath::parse(request.uri().path()) {
        Some(path) => proxy.answer(&path, request).await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
